"""Read your own writes: the newest revision of each collection that this client has written."""

from __future__ import annotations

import threading

__all__ = ["Revisions"]


class Revisions:
    """Newest written revision by collection; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, int] = {}

    def wrote(self, collection: str, revision: int) -> None:
        """Remember that `collection` was written at `revision`."""
        with self._lock:
            self._newest[collection] = max(revision, self._newest.get(collection, 0))

    def forget(self, collection: str) -> None:
        """Forget a collection: it is gone, or new, and counts from the start."""
        with self._lock:
            self._newest.pop(collection, None)

    def least(self, collection: str, asked: int | None) -> int:
        """Return the revision that a read asks for: what the caller says, else the newest this client wrote."""
        if asked is not None:
            return asked
        with self._lock:
            return self._newest.get(collection, 0)
