"""What a writer tells searchers of its commits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CollectionNews", "News", "NewsSource"]


@dataclass(frozen=True, slots=True)
class CollectionNews:
    """A collection that has changed.

    Attributes:
        tenant: Whose it is.
        name: Its name.
        uid: Told apart from an earlier collection of the same name by this.
        revision: Its newest committed one.
    """

    tenant: str
    name: str
    uid: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One message of the stream: what has changed, or that nothing has."""

    origin: str
    """Names the writer's process; positions of another one mean nothing."""
    sequence: int
    """Position in the stream: ask for what comes after it."""
    catalogs: int
    """How often a collection has come or gone; another number means that the catalogs hold news."""
    holds_store: bool
    """Whether this writer is the one that writes, as far as it knows. Of what another one commits it knows nothing."""
    next_within_s: float
    """The next message comes within this time; after three times that the stream is as good as dead."""
    collections: tuple[CollectionNews, ...] = ()
    """At most 1,000, each at its newest revision only."""


class NewsSource(Protocol):
    """Where searchers hear of commits."""

    def stream(self, *, origin: str, after: int) -> AsyncGenerator[News, None]:
        """Yield news, heartbeats among them, until the stream ends.

        Args:
            origin: Of the last message that the caller took; empty for none.
            after: Its position; 0 for none.

        Raises:
            IsthmusError: the writer cannot be reached, or refuses.
        """
        ...
