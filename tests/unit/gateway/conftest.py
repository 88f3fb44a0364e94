"""What several of the gateway's tests need."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.gateway.redis_process import RedisProcess


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    """A redis-server that runs."""
    with tempfile.TemporaryDirectory(prefix="isthmus-redis-") as folder:
        process = RedisProcess(Path(folder))
        process.start()
        try:
            yield process
        finally:
            process.kill()
