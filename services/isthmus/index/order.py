"""What fixes the order of a collection's answers, so that pages of one search fit together."""

from __future__ import annotations

import hashlib
import json

from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import FailedPreconditionError

__all__ = ["check_order", "order_digest"]

_DIGEST_BYTES = 8


def order_digest(collection_uid: str, snapshot: Snapshot) -> bytes:
    """Return 8 bytes that are equal while every search is answered from the same order.

    The revision alone says less: a collection may have been made anew, and without a fitted calibration its estimate
    may follow some moments after the items.
    """
    aligner = "" if snapshot.aligner is None else snapshot.aligner.space
    document = [collection_uid, snapshot.revision, aligner, snapshot.calibration.to_dict()]
    return hashlib.sha256(json.dumps(document).encode()).digest()[:_DIGEST_BYTES]


def check_order(expected: bytes, order: bytes) -> None:
    """Check that a page continues the order in which its search began.

    Raises:
        FailedPreconditionError: CURSOR_EXPIRED.
    """
    if expected and expected != order:
        msg = "the collection has changed since the first page; search again without page_token"
        raise FailedPreconditionError(msg, reason="CURSOR_EXPIRED", metadata={"field": "page_token"})
