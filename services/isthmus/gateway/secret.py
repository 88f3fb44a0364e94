"""The key of the cache's message authentication code: given, kept in a file, or made for this process."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from isthmus.gateway.config import GatewayConfig

__all__ = ["cache_secret"]

_SECRET_BYTES: Final = 32
_OTHERS: Final = 0o077


def cache_secret(config: GatewayConfig) -> bytes:
    """Return the 32-byte key that `config` asks for.

    Raises:
        ValueError: the secret's file may be read by others, or does not hold 32 bytes.
        OSError: the file cannot be made or read.
    """
    if config.cache_secret is not None:
        return hashlib.sha256(config.cache_secret.get_secret_value().encode()).digest()
    if config.secret_file is None:
        return secrets.token_bytes(_SECRET_BYTES)
    _make(config.secret_file)
    return _read(config.secret_file)


def _make(path: Path) -> None:
    """Make the file unless it is there; of two processes that try at once, one wins and both read the same."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes it 0600 from the start; the link appears whole or not at all.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            return
    finally:
        fresh.unlink()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & _OTHERS:
            msg = "secret_file may be read by others; its mode must be 0600"
            raise ValueError(msg)
        secret = file.read(_SECRET_BYTES + 1)
    if len(secret) != _SECRET_BYTES:
        msg = f"secret_file holds {len(secret)} bytes or more; it must hold {_SECRET_BYTES}"
        raise ValueError(msg)
    return secret
