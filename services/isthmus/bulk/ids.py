"""Ids that are the same on every run, made of where an item comes from."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path
from typing import Final

__all__ = ["source_name", "stable_id"]

_MAX_BYTES: Final = 240
"""An id has at most 256 bytes; what is left is for the number of a caption."""
_DIGEST_COUNT: Final = 12


def stable_id(*parts: str) -> str:
    """Join parts with `/` into an id that the mesh takes.

    An id that is too long, or holds control characters or bytes that are no UTF-8, is cut or mended and gets a digest
    of the original at its end, so that two different ones stay different.

    >>> stable_id("photos", "2021/cat.jpg")
    'photos/2021/cat.jpg'
    """
    wanted = "/".join(part for part in parts if part)
    raw = wanted.encode("utf-8", "surrogateescape")
    plain = raw.decode("utf-8", "replace")
    clean = "".join("\ufffd" if unicodedata.category(letter) == "Cc" else letter for letter in plain)
    if clean == wanted and len(raw) <= _MAX_BYTES:
        return wanted
    digest = hashlib.sha256(raw).hexdigest()[:_DIGEST_COUNT]
    room = _MAX_BYTES - _DIGEST_COUNT - 1
    return f"{clean.encode()[:room].decode(errors='ignore')}~{digest}"


def source_name(path: Path) -> str:
    """Return the name under which a folder's or a table's items are known: its own, however it was reached."""
    return path.resolve().name
