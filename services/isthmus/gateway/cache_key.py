"""The key of a cached embedding: a digest over everything the embedding depends on.

A change of tenant, encoder, revision (which covers weights and preprocessing), dimension or numeric type changes every
key, so a model upgrade never needs a flush and nobody finds the embeddings of another.
"""

from __future__ import annotations

import hashlib
from typing import Final

from isthmus.gateway.domain import ROW_TYPE, EncoderInfo

__all__ = ["KEY_BYTES", "CacheKeys"]

KEY_BYTES: Final = 32
"""Length of a key (SHA-256)."""

_SCHEMA: Final = b"isthmus embedding 1"
_LENGTH_BYTES: Final = 8


def _part(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "little") + data


class CacheKeys:
    """Makes the keys of one tenant's embeddings by one encoder.

    Args:
        tenant: Whose embeddings.
        encoder: Made by whom.
    """

    __slots__ = ("_prefix",)

    def __init__(self, tenant: str, encoder: EncoderInfo) -> None:
        self._prefix = hashlib.sha256()
        for part in (
            _SCHEMA,
            tenant.encode(),
            encoder.space.encode(),
            encoder.modality.value.encode(),
            str(encoder.dimension).encode(),
            ROW_TYPE.encode(),
        ):
            self._prefix.update(_part(part))

    def key(self, content_digest: bytes) -> bytes:
        """Return the key of the embedding of that content: 32 bytes."""
        digest = self._prefix.copy()
        digest.update(_part(content_digest))
        return digest.digest()
