"""Immutable pieces of a snapshot: some items of one modality, their aligned vectors in FAISS, their columns in Arrow.

FAISS and PyTorch each bring an OpenMP runtime. Both import orders work with the wheels in `constraints/`;
`tests/integration/test_index_faiss_torch.py` holds them to it.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.core.calibration import calibration_sample
from isthmus.core.modality import Modality
from isthmus.index import flat
from isthmus.index.attributes import AttributeColumns
from isthmus.index.keywords import KeywordColumns
from isthmus.index.structures import Arranged
from isthmus.runtime.base.filters import Filter

__all__ = ["CALIBRATION_SEED", "ITEM_COLUMNS", "SEGMENT_MAX_ROWS", "Chosen", "LiveSegment", "Segment", "merge_segments"]

SEGMENT_MAX_ROWS: Final = 131_072
"""Rows of the largest segment: bounds what a merge copies, and so how long a searcher is behind."""

ITEM_COLUMNS: Final = ("id", "attributes", "pair_key", "content_digest", "revision", "_rowid")
"""What a segment keeps of each item beside its vector."""

CALIBRATION_SEED: Final = 0
"""Of the sample that a calibration is estimated from."""

_OVERFETCH_MAX_ROWS: Final = 1_000
"""Dead rows up to which as many more neighbours are asked for. On 100,000 x 512 that is as quick as a selector for one
query and 10 % quicker for 32."""


class Segment:
    """Some items of one modality. Immutable.

    Args:
        modality: Of its items.
        vectors: Parts of (n, d) float32, item rows of the aligner, n at least 1; FAISS keeps the only copy.
        items: n rows with ITEM_COLUMNS.
        attributes: Of the items, when they are known already.
        keywords: Terms of their kept texts, likewise.
        held: All vectors, where they need not be copied; there are no parts then.
        is_mapped: Whether these lie in a file.
    """

    def __init__(
        self,
        modality: Modality,
        vectors: Sequence[NDArray[np.float32]],
        items: pa.Table,
        *,
        attributes: AttributeColumns | None = None,
        keywords: KeywordColumns | None = None,
        held: NDArray[np.float32] | None = None,
        is_mapped: bool = False,
    ) -> None:
        self.modality = modality
        self.items = items.select(ITEM_COLUMNS).combine_chunks()
        self._columns = {name: self.items[name].chunk(0) for name in ITEM_COLUMNS}
        self._held, self._is_mapped = held, is_mapped
        self._index: Any = None
        if held is None:
            self._index = faiss.IndexFlatIP(vectors[0].shape[1])
            for part in vectors:
                self._index.add(np.ascontiguousarray(part, dtype=np.float32))
        self.arranged: Arranged | None = None
        """What it is searched by; None means exactly, all vectors."""
        self.row_ids: NDArray[np.int64] = self.items["_rowid"].to_numpy().astype(np.int64)
        """(n,) where the items lie in the store."""
        self.attributes = AttributeColumns.parse(self._columns["attributes"]) if attributes is None else attributes
        self.keywords = KeywordColumns.parse(self._columns["attributes"]) if keywords is None else keywords
        self._ids: pa.StringArray = self._columns["id"]
        hashes = _hashes(self._ids.to_pylist())
        self._hash_order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._hash_order]

    @property
    def rows(self) -> int:
        """Items, dead ones included."""
        return len(self.row_ids)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(n, d) float32: a view of memory or of a file; never write to it."""
        if self._held is not None:
            return self._held
        flat: NDArray[np.float32] = faiss.rev_swig_ptr(self._index.get_xb(), self.rows * self._index.d)
        return flat.reshape(self.rows, self._index.d)

    @property
    def pair_keys(self) -> pa.StringArray:
        """(n,) pair keys of the items; empty where there is none."""
        return self._columns["pair_key"]

    @property
    def has_pair_key(self) -> NDArray[np.bool_]:
        """(n,) which items have a pair key."""
        keyed: NDArray[np.bool_] = pc.not_equal(self.items["pair_key"], "").to_numpy()
        return keyed

    @functools.cached_property
    def sample_order(self) -> NDArray[np.intp]:
        """(n,) rows in the order in which a calibration's sample takes them."""
        return calibration_sample(self._ids.to_pylist(), seed=CALIBRATION_SEED, limit=self.rows)

    @functools.cached_property
    def row_ids_digest(self) -> bytes:
        """SHA-256 of where the items lie in the store: as good as a name for them, for a row never changes."""
        return hashlib.sha256(self.row_ids.astype("<i8").tobytes()).digest()

    def value(self, name: str, row: int) -> Any:
        """Return one value of ITEM_COLUMNS."""
        return self._columns[name][row].as_py()

    def id_at(self, row: int) -> str:
        """Return the id of one item."""
        item_id: str = self._ids[row].as_py()
        return item_id

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each id, -1 where it is not here; n log rows, no Python work for each row."""
        hashes = _hashes(ids)
        places = np.searchsorted(self._hashes, hashes)
        rows = np.full(len(ids), -1, dtype=np.int64)
        candidates = np.flatnonzero(self._hashes[np.minimum(places, self.rows - 1)] == hashes)
        for position in candidates.tolist():
            place = int(places[position])
            # Different ids may share a hash; they lie side by side.
            while place < self.rows and self._hashes[place] == hashes[position]:
                row = int(self._hash_order[place])
                if self.id_at(row) == ids[position]:
                    rows[position] = row
                    break
                place += 1
        return rows

    @property
    def vector_bytes(self) -> int:
        """Memory of its vectors; nothing where they lie in a file."""
        return 0 if self._is_mapped else self.vectors.nbytes

    def arranged_as(self, arranged: Arranged | None, *, mapped: NDArray[np.float32] | None = None) -> Segment:
        """Return the same items, searched by a structure.

        Args:
            arranged: The structure of its vectors; None means exactly.
            mapped: Its vectors in a file, which take the place of those in memory.
        """
        other = copy.copy(self)
        other.arranged = arranged
        if mapped is not None:
            other._held, other._is_mapped, other._index = mapped, True, None  # noqa: SLF001 - of its own kind
        return other

    def search(
        self, queries: NDArray[np.float32], count: int, *, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search all rows exactly, or some.

        Args:
            queries: (n, d) float32.
            count: Neighbours wanted.
            among: Rows to search, ascending; None means all.

        Returns:
            Scores and rows, best first, (n, k); k is less than `count` only where there are no more.
        """
        return flat.exactly(self.vectors, queries, count, rows=among, norm_max=lambda: self.norm_max)

    @functools.cached_property
    def norm_max(self) -> float:
        """Largest norm of its vectors."""
        return flat.largest_norm(self.vectors)


def _hashes(ids: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of a segment that may be answers.

    Attributes:
        mask: (rows,) which; None means all.
        count: How many.
    """

    mask: NDArray[np.bool_] | None
    count: int

    @property
    def rows(self) -> NDArray[np.int64]:
        """(count,) them, ascending."""
        return np.arange(self.count) if self.mask is None else np.flatnonzero(self.mask)


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment as one snapshot sees it: some of its rows may be dead. Immutable.

    Attributes:
        segment: Shared by snapshots.
        live: (rows,) bool, read-only; None while every row is live.
        dead_count: Rows that are dead.
    """

    segment: Segment
    live: NDArray[np.bool_] | None = None
    dead_count: int = 0

    @property
    def live_count(self) -> int:
        """Rows that are live."""
        return self.segment.rows - self.dead_count

    @property
    def live_rows(self) -> NDArray[np.int64]:
        """Rows that are live, ascending."""
        rows = np.arange(self.segment.rows) if self.live is None else np.flatnonzero(self.live)
        return rows.astype(np.int64)

    def without(self, rows: NDArray[np.int64]) -> Self:
        """Return this with `rows` dead too (-1 means none); the mask is copied, for readers may hold this one."""
        rows = rows[rows >= 0]
        if not len(rows):
            return self
        live = np.ones(self.segment.rows, dtype=np.bool_) if self.live is None else self.live.copy()
        live[rows] = False
        live.flags.writeable = False
        return type(self)(
            segment=self.segment,
            live=live,
            dead_count=self.segment.rows - int(live.sum()),
        )

    def ids_dead_in(self, later: LiveSegment) -> list[str]:
        """Return the ids of rows that are live here and dead in `later`, a newer state of the same segment."""
        if later.live is None or later.live is self.live:
            return []
        died = ~later.live if self.live is None else self.live & ~later.live
        return [self.segment.id_at(row) for row in np.flatnonzero(died).tolist()]

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the live row of each id, -1 where there is none."""
        rows = self.segment.find(ids)
        if self.live is not None:
            rows[(rows >= 0) & ~self.live[rows]] = -1
        return rows

    def sample(self, limit: int) -> NDArray[np.intp]:
        """Return the first `limit` live rows in the order of a calibration's sample."""
        order = self.segment.sample_order
        return (order if self.live is None else order[self.live[order]])[:limit]

    def chosen(self, where: Filter | None) -> Chosen:
        """Return the live rows that a filter holds for."""
        if where is None:
            return Chosen(self.live, self.live_count)
        mask = self.segment.attributes.mask(where)
        mask = mask if self.live is None else mask & self.live
        return Chosen(mask, int(mask.sum()))

    def is_arranged_for(self, top_k: int, chosen: Chosen) -> bool:
        """Return whether the segment has a structure, and that is quicker than scoring all that are chosen."""
        arranged = self.segment.arranged
        return arranged is not None and arranged.effort_for(top_k, chosen.count) is not None

    def search(
        self,
        queries: NDArray[np.float32],
        top_k: int,
        where: Filter | None = None,
        *,
        exact: bool = False,
        chosen: Chosen | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search the live rows: by the segment's structure where it has one and that pays, exactly otherwise.

        Args:
            queries: (n, d) float32.
            top_k: Neighbours wanted.
            where: Search only rows that it holds for; there are `top_k` neighbours whenever so many do.
            exact: Go past the structure.
            chosen: What `where` leaves, if it is known.

        Returns:
            (n, k) float32 scores and (n, k) int64 rows; a place that holds no neighbour has score -inf. Places are in
            no promised order.
        """
        chosen = self.chosen(where) if chosen is None else chosen
        allowed, count = chosen.mask, chosen.count
        if self.segment.arranged is not None and not exact:
            vectors = self.segment.vectors
            found = self.segment.arranged.search(vectors, queries, top_k, allowed=allowed, allowed_count=count)
            if found is not None:
                return found
        if allowed is not None and count < self.live_count:
            return self.segment.search(queries, top_k, among=chosen.rows)
        if self.live is None:
            return self.segment.search(queries, top_k)
        if self.dead_count <= _OVERFETCH_MAX_ROWS:
            scores, rows = self.segment.search(queries, top_k + self.dead_count)
            scores[~self.live[rows]] = -np.inf
            return scores, rows
        return self.segment.search(queries, top_k, among=self.live_rows)


def merge_segments(parts: Sequence[LiveSegment]) -> LiveSegment | None:
    """Copy the live rows of segments of one modality into one; None when none is left."""
    rows = [part.live_rows for part in parts]
    if not sum(map(len, rows)):
        return None
    vectors = [part.segment.vectors[live] for part, live in zip(parts, rows, strict=True)]
    items = pa.concat_tables(part.segment.items.take(pa.array(live)) for part, live in zip(parts, rows, strict=True))
    attributes = AttributeColumns.merged(
        [(part.segment.attributes, live) for part, live in zip(parts, rows, strict=True)]
    )
    keywords = KeywordColumns.merged([(part.segment.keywords, live) for part, live in zip(parts, rows, strict=True)])
    return LiveSegment(Segment(parts[0].segment.modality, vectors, items, attributes=attributes, keywords=keywords))
