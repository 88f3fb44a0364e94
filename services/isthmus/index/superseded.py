"""The end of a writer: another one has taken over its store."""

from __future__ import annotations

from isthmus.runtime.base.errors import UnavailableError

__all__ = ["SupersededError"]


class SupersededError(UnavailableError):
    """NOT_READY; this writer acknowledges nothing more in this turn. The request may be repeated at the new one."""

    def __init__(self) -> None:
        super().__init__("another writer has taken over this store", reason="NOT_READY", retry_after_s=1.0)
