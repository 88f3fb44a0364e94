"""Vectors in lists, of which a query looks into some: as bytes a component, or by a product quantizer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.index.structures.base import SHORTLIST_MIN_COUNT, Effort, Floats, Structure, raised, selector_of
from isthmus.index.structures.coarse import Coarse
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["NUMBER_BYTES", "Inverted", "TrainedLists", "pq_bytes"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

_PQ_COMPONENTS: Final = 8
"""Components that a byte stands for (Jegou, Douze and Schmid 2011, product quantization)."""
_PQ_BITS: Final = 8
_PQ_TRAINING_ROWS: Final = 32_768
_PQ_ROUNDS: Final = 10
_PQ_CENTROIDS: Final = 2**_PQ_BITS
_SHORTLISTS: Final = {Kind.IVF_SQ8: (1,), Kind.IVF_PQ: (1, 4, 16)}
"""In units of SHORTLIST_MIN_COUNT."""
_RESCORED_WORK: Final = 4.0
"""Vectors in a list that take as long as scoring one exactly, which lies anywhere."""
_SELECTED_WORK: Final = 2.0
"""Vectors scored alone that take as long as a code that passed a selector."""
_SPREAD_MAX: Final = 1.5
"""So many times as many lists as without regard to what is asked, and a filter has taken away what a query looks at."""
NUMBER_BYTES: Final = 8 + 2
"""Of a vector: its row in FAISS, its list here."""
_ADD_ROWS: Final = 8_192


def pq_bytes(dimension: int) -> int:
    """Return the bytes of a vector of a product quantizer."""
    return -(-dimension // _PQ_COMPONENTS)


@dataclass(frozen=True, slots=True)
class TrainedLists:
    """What segments of one modality share.

    Attributes:
        kind: IVF_SQ8 or IVF_PQ.
        coarse: The lists.
        quantizer: The same centroids as FAISS holds them; never changed.
        encoder: The scalar or the product quantizer.
    """

    kind: Kind
    coarse: Coarse
    quantizer: Any
    encoder: Any

    @classmethod
    def train(cls, kind: Kind, coarse: Coarse, rows: Floats) -> TrainedLists:
        """Learn how vectors are rounded.

        Args:
            kind: IVF_SQ8 or IVF_PQ.
            coarse: The lists.
            rows: (n, d) float32, a sample of the vectors.
        """
        quantizer = _faiss.IndexFlatIP(_padded(coarse.centroids, kind).shape[1])
        quantizer.add(_padded(coarse.centroids, kind))
        if kind is Kind.IVF_SQ8:
            encoder = _faiss.ScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_8bit)
            encoder.train(np.ascontiguousarray(rows))
        else:
            rows = rows[np.random.default_rng(0).permutation(len(rows))[:_PQ_TRAINING_ROWS]]
            rest = _padded(rows - coarse.centroids[coarse.assign(rows)], kind)
            encoder = _product_quantizer(rest)
        return cls(kind, coarse, quantizer, encoder)

    @property
    def nbytes(self) -> int:
        """Memory of it."""
        return self.coarse.nbytes + int(self.quantizer.ntotal * self.quantizer.d * 4)

    def empty_index(self) -> Any:
        """Return lists with nothing in them."""
        arguments = (self.quantizer, self.quantizer.d, self.coarse.count)
        if self.kind is Kind.IVF_SQ8:
            index = _faiss.IndexIVFScalarQuantizer(
                *arguments, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
            )
            index.sq = self.encoder
        else:
            index = _faiss.IndexIVFPQ(*arguments, self.encoder.M, _PQ_BITS, faiss.METRIC_INNER_PRODUCT)
            index.pq = self.encoder
        index.own_fields = False
        index.is_trained = True
        return index


class Inverted(Structure):
    """Lists of codes.

    Attributes:
        index: As FAISS holds them.
        coarse: The lists themselves.

    Args:
        kind: IVF_SQ8 or IVF_PQ.
        coarse: The lists.
        index: What is in them.
        trained: What it shares with others and does not own; None where it owns all.
    """

    def __init__(self, kind: Kind, coarse: Coarse, index: Any, *, trained: TrainedLists | None = None) -> None:
        self.kind = kind
        self.rows = int(index.ntotal)
        self.coarse = coarse
        self.index = index
        self._trained = trained
        self._list_of = _lists_of_rows(index)

    @classmethod
    def of(cls, trained: TrainedLists, vectors: Floats) -> Self:
        """Put vectors into lists.

        Args:
            trained: What they share with others.
            vectors: (n, d) float32.
        """
        index = trained.empty_index()
        for start in range(0, len(vectors), _ADD_ROWS):
            checkpoint()
            part = vectors[start : start + _ADD_ROWS]
            lists, rows = trained.coarse.assign(part), _padded(part, trained.kind)
            numbers = np.arange(start, start + len(part), dtype=np.int64)
            index.add_core(len(part), *map(_faiss.swig_ptr, (rows, numbers, lists)))
        return cls(trained.kind, trained.coarse, index, trained=trained)

    @property
    def nbytes(self) -> int:
        """Its codes, row numbers and the list of each row."""
        return int(self.rows * (self.index.code_size + NUMBER_BYTES))

    def candidates(
        self, queries: Floats, count: int, *, probes: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Return the rows that seem best of those in the lists whose routes are."""
        count, probes = min(count, self.rows), min(max(probes, 1), self.coarse.count)
        lists = self.coarse.probe(queries, probes) if allowed is None else self._lists_with(queries, probes, allowed)
        shared = np.zeros(lists.shape, dtype=np.float32)
        if self.kind is Kind.IVF_PQ:
            # A code says how a vector differs from its list's centroid; what a query has in common with that is added.
            shared = np.einsum("nd,npd->np", queries, self.coarse.centroids[np.maximum(lists, 0)], dtype=np.float32)
        asked = _padded(queries, self.kind)
        scores, rows = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
        selector = None if allowed is None else selector_of(allowed)
        params = _faiss.SearchParametersIVF(sel=selector, nprobe=lists.shape[1])
        pointers = [_faiss.swig_ptr(array) for array in (asked, lists, shared, scores, rows)]
        self.index.search_preassigned_c(len(asked), pointers[0], count, *pointers[1:], False, params)
        return rows

    def _lists_with(self, queries: Floats, probes: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return lists that together hold as many allowed rows as `probes` lists do on average; -1 beyond, (n, p).

        A filter need not be independent of what is asked. Where it leaves much of what a query would look at, fewer
        lists do; where it takes that away, what is left lies at the edge of many lists, and the query gets none.
        """
        counts = np.bincount(self._list_of[allowed], minlength=self.coarse.count)
        wanted = probes * float(counts.mean())
        lists = self.coarse.probe(queries, self.coarse.count)
        held = counts[lists]
        looked = (np.cumsum(held, axis=1) - held < wanted) & (held > 0)
        looked &= lists >= 0
        reached = np.argmax(np.cumsum(looked, axis=1), axis=1) + 1
        looked[reached > _SPREAD_MAX * probes] = False
        width = int(reached.max())
        return np.ascontiguousarray(np.where(looked, lists, -1)[:, :width])

    def filtered_work(self, probes: int, share: float) -> float:
        """What is left of the lists that are looked into."""
        return _SELECTED_WORK * share * self._looked_at(probes)

    def _looked_at(self, probes: int) -> float:
        return self.rows * min(1.0, probes / self.coarse.count)

    def efforts(self) -> Iterator[Effort]:
        """Yield more and more lists with shortlists of several lengths, by what they cost."""
        efforts = [
            Effort(probes, factor * SHORTLIST_MIN_COUNT)
            for probes, factor in itertools.product(raised(self.coarse.count), _SHORTLISTS[self.kind])
        ]
        yield from sorted(
            efforts, key=lambda effort: self._looked_at(effort.probes) + _RESCORED_WORK * effort.shortlist
        )


def _product_quantizer(rows: Floats) -> Any:
    """Return a product quantizer of rows, trained one part after the other, so that it can be given up in between."""
    if len(rows) < _PQ_CENTROIDS:
        rows = np.tile(rows, (-(-_PQ_CENTROIDS // len(rows)), 1))
    parts = []
    for first in range(0, rows.shape[1], _PQ_COMPONENTS):
        checkpoint()
        clustering = _faiss.Kmeans(
            _PQ_COMPONENTS,
            _PQ_CENTROIDS,
            niter=_PQ_ROUNDS,
            min_points_per_centroid=1,
            max_points_per_centroid=len(rows),
        )
        clustering.train(np.ascontiguousarray(rows[:, first : first + _PQ_COMPONENTS]))
        parts.append(clustering.centroids)
    encoder = _faiss.ProductQuantizer(rows.shape[1], len(parts), _PQ_BITS)
    _faiss.copy_array_to_vector(np.ascontiguousarray(parts, dtype=np.float32).ravel(), encoder.centroids)
    return encoder


def _lists_of_rows(index: Any) -> NDArray[np.int16]:
    """Return the list that each row was put into, (n,)."""
    found = np.empty(index.ntotal, dtype=np.int16)
    held = index.invlists
    for number in range(index.nlist):
        count = held.list_size(number)
        if count:
            found[_faiss.rev_swig_ptr(held.get_ids(number), count)] = number
    return found


def _padded(rows: Floats, kind: Kind) -> Floats:
    """Return rows, for a product quantizer with zeros up to a whole number of bytes."""
    missing = -rows.shape[1] % _PQ_COMPONENTS if kind is Kind.IVF_PQ else 0
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, missing))) if missing else rows)
