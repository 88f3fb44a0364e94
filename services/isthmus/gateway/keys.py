"""API keys: a file of their digests, one a line.

    # who: the search page
    sha256=9f86d081… tenant=shop role=reader name=search-page expires=2027-01-31

A key is a long random text, so its plain SHA-256 tells nothing about it and no salt is needed. `isthmus keys new` makes
one and prints its line.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from isthmus.runtime.base.errors import InvalidArgumentError, UnauthenticatedError
from isthmus.runtime.base.names import check_name
from isthmus.runtime.base.reload import UnusableFileError

__all__ = ["Key", "KeyRing", "Role", "parse_keys"]

KEYS_MAX_COUNT: Final = 1_000
"""Every call is compared with every key: a thousand take about 0.05 ms."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = frozenset({"sha256", "tenant", "role", "name", "expires"})
_REQUIRED: Final = ("sha256", "tenant", "role")


class Role(enum.IntEnum):
    """What a key's holder may do; each may do what those before it may."""

    READER = 1
    """Embed, search, get, list, evaluate."""
    WRITER = 2
    """Store and delete items too."""
    ADMIN = 3
    """Create and delete collections, fit, import and promote aligners too."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key, known by its digest.

    Attributes:
        digest: SHA-256 of the key.
        tenant: Whose data its holder sees.
        role: What its holder may do.
        name: What a person calls it.
        expires_s: When it ends to be good, in seconds since 1970; None means never.
    """

    digest: bytes
    tenant: str
    role: Role
    name: str = ""
    expires_s: float | None = None


class KeyRing:
    """All keys a gateway knows.

    Args:
        keys: Their digests all differ.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, offered: str) -> Key:
        """Return the key that `offered` is. Takes as long whichever it is, and whether it is one or none.

        Raises:
            UnauthenticatedError: KEY_UNKNOWN, KEY_EXPIRED.
        """
        digest = hashlib.sha256(offered.encode(errors="replace")).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            msg = "the API key is not known"
            raise UnauthenticatedError(msg, reason="KEY_UNKNOWN")
        if found.expires_s is not None and found.expires_s <= time.time():
            msg = "the API key has expired"
            raise UnauthenticatedError(msg, reason="KEY_EXPIRED")
        return found


def parse_keys(text: bytes, *, setting: str) -> KeyRing:
    """Read a file of keys. Empty lines, and lines that begin with `#`, say nothing.

    Args:
        text: The file.
        setting: What names it in messages.

    Raises:
        UnusableFileError: a line is wrong, a key stands there twice, or there is none; the message names the line.
    """
    keys: dict[bytes, Key] = {}
    for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = _parse_line(line)
        except (ValueError, InvalidArgumentError) as error:
            msg = f"{setting}, line {number}: {error}"
            raise UnusableFileError(msg) from error
        if key.digest in keys:
            msg = f"{setting}, line {number}: the key stands there twice"
            raise UnusableFileError(msg)
        keys[key.digest] = key
    if not 1 <= len(keys) <= KEYS_MAX_COUNT:
        msg = f"{setting} holds {len(keys)} keys; it must hold 1 to {KEYS_MAX_COUNT}"
        raise UnusableFileError(msg)
    return KeyRing(list(keys.values()))


def _parse_line(line: str) -> Key:
    """Return the key of a line; what it complains of names no value, which could be a key put there by mistake."""
    pairs = [word.partition("=") for word in line.split()]
    values: Mapping[str, str] = {name: value for name, _, value in pairs}
    if len(values) < len(pairs) or not values.keys() <= _FIELDS or not all(values.values()):
        msg = f"a line holds NAME=VALUE, each once, of {', '.join(sorted(_FIELDS))}"
        raise ValueError(msg)
    for name in _REQUIRED:
        if name not in values:
            msg = f"{name} is missing"
            raise ValueError(msg)
    if _DIGEST.fullmatch(values["sha256"]) is None:
        msg = "sha256 must have 64 hexadecimal digits in small letters"
        raise ValueError(msg)
    if values["role"].upper() not in Role.__members__:
        msg = f"role must be {', '.join(role.name.lower() for role in Role)}"
        raise ValueError(msg)
    return Key(
        digest=bytes.fromhex(values["sha256"]),
        tenant=check_name(values["tenant"], field="tenant"),
        role=Role[values["role"].upper()],
        name=values.get("name", ""),
        expires_s=_expiry(values["expires"]) if "expires" in values else None,
    )


def _expiry(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        msg = "expires must be a date or a time of ISO 8601, for example 2027-01-31"
        raise ValueError(msg) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
