"""What calls for searching return."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.client.inputs import Modality
from isthmus.client.items.results import StoredItem
from isthmus.client.results import Calibration, ItemError, Timings

__all__ = ["BatchSearchResult", "Neighbor", "QueryResult", "SearchResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """One search answer."""

    item: StoredItem
    """The item, without embedding."""
    score: float
    """Cosine similarity in the space that was searched, in [-1, 1]."""
    calibrated_score: float
    """What a mixed result is ordered by: logits when `probability` is set, else standard deviations."""
    probability: float | None
    """Probability of a match; only under a fitted calibration, for what was found by its vector."""
    keyword_score: float | None = None
    """BM25 score of the item's text; only where keywords were asked for and it holds at least one."""

    @property
    def id(self) -> str:
        """The item's id."""
        return self.item.id

    @property
    def modality(self) -> Modality:
        """The item's modality."""
        return self.item.modality


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answers to one query."""

    neighbors: tuple[Neighbor, ...]
    """Best first."""
    revision: int
    """Revision that was searched."""
    space: str
    """Space that was searched."""
    calibration: Calibration
    """How scores of the two modalities were made comparable."""
    truncated: bool
    """True when the query text was cut to the model's context."""
    degraded: tuple[str, ...]
    """Optional parts that were left out, for example `cache`."""
    timings: Timings
    """Where the time went."""
    next_page_token: str = ""
    """Asks for the next page; empty where there are no more answers."""
    collection: str = ""
    """The collection that answered, where an alias was asked too."""
    shards_answered: int = 0
    """Groups of searchers that answered; 0 where collections are not split."""
    shards_total: int = 0
    """Groups of searchers that hold the collection; 0 where collections are not split."""

    @property
    def is_partial(self) -> bool:
        """True when a group of searchers is missing, which only `allow_partial` permits."""
        return self.shards_answered < self.shards_total


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """The answers to one query of a batch."""

    index: int
    """Its position among all queries of the call, from 0."""
    neighbors: tuple[Neighbor, ...]
    """Best first."""
    space: str
    """Space that was searched."""
    truncated: bool
    """True when its text was cut to the model's context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSearchResult:
    """The answers to many queries."""

    results: tuple[QueryResult, ...]
    """Of those that could be answered, in the order given."""
    errors: tuple[ItemError, ...]
    """One for each that could not."""
    revision: int
    """Oldest revision that was searched; 0 when no query could be asked."""
    calibration: Calibration
    """How scores of the two modalities were made comparable."""
    degraded: tuple[str, ...]
    """Optional parts that were left out, for example `cache`."""
    timings: Timings
    """Sums over the messages it took."""
    shards_answered: int = 0
    """Groups of searchers that answered, the fewest of any query; 0 where collections are not split."""
    shards_total: int = 0
    """Groups of searchers that hold the collection; 0 where collections are not split."""
