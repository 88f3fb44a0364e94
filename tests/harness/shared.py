"""Real data for measuring. It lies beside the checkout and never in it."""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["FLICKR8K_DEV", "SHARED_DATA", "needs"]

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FLICKR8K_DEV = SHARED_DATA / "flickr8k" / "dev.parquet"


def needs(path: Path) -> pytest.MarkDecorator:
    """Skip a test, saying so, where the shared data is not there. In CI it is there, and a skip counts as a failure."""
    return pytest.mark.skipif(not path.exists(), reason=f"needs {path.name} beside the checkout, in shared/data")
