"""Choose, build and tune the structures of one modality of a snapshot (docs/adr/0029-structures.md)."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.cache.container import DamagedContainerError
from isthmus.index.segments import LiveSegment
from isthmus.index.snapshot import Merge, Snapshot
from isthmus.index.structure_state import StructureReport, StructureState
from isthmus.index.structures import (
    Arranged,
    Effort,
    Part,
    Structure,
    Trained,
    Tuned,
    estimated_bytes,
    train,
    training_rows,
    truth_of,
    tuned,
)
from isthmus.index.structures.mapped import mapped_copy
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["Arrangement", "ArrangementTerms", "OverBudgetError", "arrange", "held_bytes", "is_large", "is_outdated"]

log = logging.getLogger("isthmus.index")

AUTO_KINDS: Final = (Kind.IVF_SQ8, Kind.IVF_PQ, Kind.HNSW)
"""What is chosen from, by what it takes to build."""
_PILOT_ROWS: Final = 16_384
_PILOT_CALLS: Final = 32
_PILOT_GAIN: Final = 2.0
"""A kind that takes more to build must answer so many times as quickly."""
_TRAINING_QUERIES: Final = 8_192
_TUNING_QUERIES: Final = 128
_CROSS_MIN_QUERIES: Final = 32
"""With fewer items of the other modality, effort is tuned on the modality's own."""
_GROWTH_MAX: Final = 4
"""Structures are trained anew when there are so many times as many vectors, or queries of the other modality."""
_SEED: Final = 0


class OverBudgetError(Exception):
    """Structures do not fit.

    Args:
        kind: The one that takes least.
        needed: Bytes that the searcher would take in all.
    """

    def __init__(self, kind: Kind, needed: int) -> None:
        super().__init__(f"{kind} needs {needed} bytes")
        self.kind = kind
        self.needed = needed


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrangementTerms:
    """What structures must be like.

    Attributes:
        wanted: Their kind; None chooses one.
        recall_min: Recall@10 to be met, a fraction.
        segment_min_rows: Rows from which a segment has a structure.
        held_bytes: What the searcher takes now.
        limit_bytes: What it may take.
        folder: Where vectors lie beside structures; None keeps them in memory.
        reserve_bytes: What is left free there.
    """

    wanted: Kind | None
    recall_min: float
    segment_min_rows: int
    held_bytes: int
    limit_bytes: int
    folder: Path | None
    reserve_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What was built.

    Attributes:
        trained: What the structures share, to build those of later segments from.
        merges: Each puts a segment with its structure in the place of the same without.
        report: What to tell of it.
    """

    trained: Trained
    merges: tuple[Merge, ...]
    report: StructureReport


@dataclass(frozen=True, slots=True)
class _Sample:
    """What is trained and tuned on.

    Attributes:
        items: (n, d) float32 of the modality.
        queries: (m, d) float32 that training is told of; None where nothing of the other modality compares.
        asked: (k, d) float32 that effort is tuned on; none of `queries`.
        is_cross_modal: Whether `asked` are of the other modality.
    """

    items: NDArray[np.float32]
    queries: NDArray[np.float32] | None
    asked: NDArray[np.float32]
    is_cross_modal: bool

    @classmethod
    def of(cls, snapshot: Snapshot, modality: Modality, count: int) -> _Sample:
        """Draw a sample; seeded."""
        rng = np.random.default_rng(_SEED)
        own = _drawn(snapshot.segments[modality], count + _TUNING_QUERIES, rng)
        others = snapshot.segments[modality.other] if _compares(snapshot) else ()
        other = _drawn(others, _TRAINING_QUERIES + _TUNING_QUERIES, rng) if others else own[:0]
        if len(other) < _CROSS_MIN_QUERIES:
            asked = own[:_TUNING_QUERIES]
            return cls(own[_TUNING_QUERIES:] if len(own) > 2 * _TUNING_QUERIES else own, None, asked, False)
        aligner = snapshot.aligner
        if aligner is not None:
            # An item's own row may hold what only items have; this is what its vector would be asked with.
            other = np.ascontiguousarray(aligner.asked_rows(other[:, : aligner.dimension], modality.other))
        held_out = min(_TUNING_QUERIES, len(other) // 2)
        return cls(own[:count], other[held_out:], other[:held_out], True)


def is_large(part: LiveSegment, min_rows: int) -> bool:
    """Return whether a segment is to have a structure."""
    return part.segment.rows >= min_rows


def is_outdated(trained: Trained, snapshot: Snapshot, modality: Modality) -> bool:
    """Return whether structures know few of the queries that they could know by now."""
    other = snapshot.count(modality.other) if _compares(snapshot) else 0
    return min(other, _TRAINING_QUERIES) >= max(_CROSS_MIN_QUERIES, _GROWTH_MAX * (trained.queries + 1))


def held_bytes(snapshot: Snapshot) -> int:
    """Return the memory of a snapshot's vectors and structures."""
    return sum(_segment_bytes(part) for parts in snapshot.segments.values() for part in parts)


def arrange(
    snapshot: Snapshot, modality: Modality, terms: ArrangementTerms, *, known: Trained | None = None
) -> Arrangement:
    """Build the structures that the large segments of a modality lack; blocks.

    Args:
        snapshot: Whose segments they are.
        modality: Of them.
        terms: What they must be like.
        known: What the structures there are share; trained anew when it was for far fewer vectors.

    Raises:
        OverBudgetError: building would take more memory than there may be.
    """
    parts = snapshot.segments[modality]
    large = [part for part in parts if is_large(part, terms.segment_min_rows)]
    rows = sum(part.segment.rows for part in large)
    if known is not None and (rows > _GROWTH_MAX * known.rows or terms.wanted not in (None, known.kind)):
        known = None
    if known is not None and is_outdated(known, snapshot, modality) and known.kind.has_lists:
        known = None
    lacking = [part for part in large if known is None or part.segment.arranged is None]
    dimension = large[0].segment.vectors.shape[1]
    kinds = [known.kind] if known else [terms.wanted] if terms.wanted else list(AUTO_KINDS)
    lacking_rows = sum(part.segment.rows for part in lacking)
    fitting = _fitting(kinds, lacking_rows, dimension, terms, sampled=0 if known else training_rows(rows))
    sample = _Sample.of(snapshot, modality, _PILOT_ROWS if known else max(_PILOT_ROWS, training_rows(rows)))
    if known is None:
        kind = fitting[0] if len(fitting) == 1 else _quickest(fitting, sample, terms.recall_min)
        known = train(kind, sample.items, queries=sample.queries, rows=rows)
    structures: dict[int, Structure] = {
        id(part): part.segment.arranged.structure for part in large if part.segment.arranged is not None
    }
    structures |= {id(part): known.build(part.segment.vectors) for part in lacking}
    measured = tuned(
        [_part(part, structures.get(id(part))) for part in parts], sample.asked, recall_min=terms.recall_min
    )
    merges = tuple(
        _swap(part, Arranged(structures[id(part)], measured.effort), terms)
        for part in large
        if id(part) in {id(one) for one in lacking} or _effort(part) != measured.effort
    )
    known = replace(known, queries=max(known.queries, 0 if sample.queries is None else len(sample.queries)))
    return Arrangement(known, merges, _report(large, merges, known, measured, sample, terms))


def _fitting(kinds: Sequence[Kind], rows: int, dimension: int, terms: ArrangementTerms, *, sampled: int) -> list[Kind]:
    """Return the kinds that can be built within the budget."""
    # The sample is held once as it is and once as k-means scales it.
    sample_bytes = 2 * sampled * dimension * np.dtype(np.float32).itemsize
    needed = {kind: terms.held_bytes + sample_bytes + estimated_bytes(kind, rows, dimension) for kind in kinds}
    fitting = [kind for kind in kinds if needed[kind] <= terms.limit_bytes]
    if not fitting:
        least = min(kinds, key=needed.__getitem__)
        raise OverBudgetError(least, needed[least])
    return fitting


def _quickest(kinds: Sequence[Kind], sample: _Sample, recall_min: float) -> Kind:
    """Return the kind that is worth most on a part of the sample: see _PILOT_GAIN."""
    vectors = sample.items[:_PILOT_ROWS]
    truth = truth_of([Part(vectors)], sample.asked)
    best, best_s = kinds[0], np.inf
    for kind in kinds:
        structure = train(kind, vectors, queries=sample.queries).build(vectors)
        found = tuned([Part(vectors, Arranged(structure, Effort()))], sample.asked, recall_min=recall_min, truth=truth)
        if found.recall < recall_min:
            continue
        arranged, times_s = Arranged(structure, found.effort), []
        for query in sample.asked[:_PILOT_CALLS]:
            started_s = time.perf_counter()
            arranged.search(vectors, query[None], truth.shape[1])
            times_s.append(time.perf_counter() - started_s)
        median_s = statistics.median(times_s)
        if median_s * _PILOT_GAIN < best_s or best_s == np.inf:
            best, best_s = kind, median_s
    return best


def _compares(snapshot: Snapshot) -> bool:
    """Return whether queries of the other modality mean anything to a modality."""
    return snapshot.aligner is not None or not snapshot.settings.needs_aligner


def _drawn(parts: Sequence[LiveSegment], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the vectors of live rows, (n, d), drawn from all segments alike."""
    live = [part.live_rows for part in parts]
    firsts = np.cumsum([0, *map(len, live)])
    chosen = rng.permutation(int(firsts[-1]))[:count]
    order = np.sort(chosen)
    found = [
        part.segment.vectors[rows[order[(order >= first) & (order < first + len(rows))] - first]]
        for part, rows, first in zip(parts, live, firsts, strict=False)
    ]
    together = np.concatenate(found)
    return together[rng.permutation(len(together))]


def _part(part: LiveSegment, structure: Structure | None) -> Part:
    return Part(part.segment.vectors, None if structure is None else Arranged(structure, Effort()), part.live)


def _effort(part: LiveSegment) -> Effort | None:
    return None if part.segment.arranged is None else part.segment.arranged.effort


def _swap(part: LiveSegment, arranged: Arranged, terms: ArrangementTerms) -> Merge:
    segment, mapped = part.segment, None
    if terms.folder is not None and segment.vector_bytes:
        try:
            mapped = mapped_copy(segment.vectors, terms.folder, reserve_bytes=terms.reserve_bytes)
        except (OSError, DamagedContainerError) as error:  # there is room for them where they are
            log.warning("vectors stay in memory", extra=fields(bytes=segment.vector_bytes, why=str(error)))
    return Merge((part,), LiveSegment(segment.arranged_as(arranged, mapped=mapped), part.live, part.dead_count))


def _segment_bytes(part: LiveSegment) -> int:
    arranged = part.segment.arranged
    return part.segment.vector_bytes + (0 if arranged is None else arranged.structure.nbytes)


def _report(
    large: Sequence[LiveSegment],
    merges: Sequence[Merge],
    trained: Trained,
    measured: Tuned,
    sample: _Sample,
    terms: ArrangementTerms,
) -> StructureReport:
    after = {id(merge.parts[0]): merge.merged for merge in merges}
    parts = [after.get(id(part)) or part for part in large]
    return StructureReport(
        state=StructureState.READY,
        kind=trained.kind,
        recall=measured.recall,
        is_cross_modal=sample.is_cross_modal,
        probes=measured.effort.probes,
        shortlist=measured.effort.shortlist,
        rows=sum(part.live_count for part in parts),
        memory_bytes=trained.nbytes + sum(_segment_bytes(part) for part in parts),
        limit_bytes=terms.limit_bytes,
    )
