"""The cache's secret: given, kept in a file of one's own, or made for this process."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from isthmus.gateway.config import GatewayConfig
from isthmus.gateway.secret import cache_secret


def test_a_given_secret_is_the_same_everywhere() -> None:
    """Gateways that are given one secret understand one another's values."""
    given = "correct horse battery"
    secrets = {cache_secret(GatewayConfig.load(cache_secret=given)) for _ in range(2)}
    assert len(secrets) == 1
    assert len(secrets.pop()) == 32


def test_without_a_place_it_lives_as_long_as_the_process() -> None:
    """Two processes without a file have different secrets."""
    assert cache_secret(GatewayConfig.load()) != cache_secret(GatewayConfig.load())


def test_the_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0600 from the first moment, 32 bytes, and the same again after a restart."""
    path = tmp_path / "cache" / "gateway.secret"
    first = cache_secret(GatewayConfig.load(secret_file=path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first == path.read_bytes() == cache_secret(GatewayConfig.load(secret_file=path))
    assert [entry.name for entry in path.parent.iterdir()] == ["gateway.secret"]


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """Of many that try to make the file one wins, and all read the same."""
    config = GatewayConfig.load(secret_file=tmp_path / "s")
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: cache_secret(config), range(64)))) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A secret that is none stops the start."""
    path = tmp_path / "s"
    path.write_bytes(bytes(32))
    path.chmod(mode)
    with pytest.raises(ValueError, match="0600"):
        cache_secret(GatewayConfig.load(secret_file=path))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_file_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    """A cut or a foreign file is not taken for a secret."""
    path = tmp_path / "s"
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(ValueError, match="must hold 32"):
        cache_secret(GatewayConfig.load(secret_file=path))
