"""What each slice of the held-out queries says, before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.changes import Change, Difference
from isthmus.core.gap import ClusterBootstrap, Corpus
from isthmus.core.gap.bootstrap import percentile_figure
from isthmus.core.held_out import QueryFigures
from isthmus.core.metrics import MixedRetrieval, RecallAt
from isthmus.core.modality import Modality
from isthmus.core.slices import QueryList, QuerySlice, SliceKind, SlicePlan

__all__ = ["SliceFinding", "SlicesFinding", "judge_slices"]

_DIRECTIONS: Final = {Modality.IMAGE: "i2t", Modality.TEXT: "t2i"}

_Pick = Callable[[QueryFigures], NDArray[np.float64]]
_COMPARED: Final[tuple[tuple[str, _Pick], ...]] = (
    ("recall.r1", lambda found: (found.cross_rank < 1).astype(np.float64)),
    ("mixed.r10", lambda found: (found.mixed_rank < 10).astype(np.float64)),  # noqa: PLR2004 - its name says so
    ("mixed.ndcg10", lambda found: found.ndcg10),
)


@dataclass(frozen=True, kw_only=True)
class SliceFinding:
    """One slice."""

    kind: SliceKind
    value: str
    """As of the slice."""
    pair_count: int
    """Pair keys of its queries."""
    query_counts: Mapping[Modality, int]
    before: Mapping[str, Any]
    """Keys as every `--json` answer; None for a direction without queries."""
    after: Mapping[str, Any]
    differences: Mapping[str, Difference]
    """After minus before by dotted name: `recall.i2t.r1`, `mixed.image_query.r10`, `mixed.image_query.ndcg10`, and the
    same for text queries; a direction without queries is left out."""

    @property
    def too_few(self) -> bool:
        """Whether some difference cannot be told from none, nor from a fall of more than epsilon."""
        return any(one.change is Change.TOO_FEW for one in self.differences.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kind": self.kind.value,
            "value": self.value,
            "n": self.pair_count,
            "queries": {modality.value: count for modality, count in self.query_counts.items()},
            "before": dict(self.before),
            "after": dict(self.after),
            "difference": {name: one.to_dict() for name, one in self.differences.items()},
            "too_few": self.too_few,
        }


@dataclass(frozen=True, kw_only=True)
class SlicesFinding:
    """Every slice that was asked for."""

    slices: tuple[SliceFinding, ...]
    """All queries first."""
    without: Mapping[SliceKind, int]
    """By kind, queries without a value, which are in none of its slices."""
    queries: QueryList | None
    """Of the list; None where there was none."""
    epsilon: float
    """How far a figure may have fallen and still count as kept."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "slices": [one.to_dict() for one in self.slices],
            "without_value": {kind.value: count for kind, count in self.without.items()},
            "query_list": None if self.queries is None else self.queries.to_dict(),
            "epsilon": self.epsilon,
        }


def judge_slices(
    plan: SlicePlan,
    before: Mapping[Modality, QueryFigures],
    after: Mapping[Modality, QueryFigures],
    *,
    corpus: Corpus,
    epsilon: float,
    seed: int = 0,
) -> SlicesFinding:
    """Summarise each slice and compare it with itself.

    The interval of a difference comes from resampling all pair keys and looking at those queries that are in the slice
    (paired bootstrap), the same draws for every slice.

    Args:
        plan: Which queries are in which slice.
        before: What is served now, of all held-out queries.
        after: What would be served.
        corpus: The held-out items, whose pair keys are resampled.
        epsilon: How far a figure may have fallen and still count as kept.
        seed: Of the resampling.
    """
    bootstrap = ClusterBootstrap(corpus, seed=seed)
    return SlicesFinding(
        slices=tuple(
            _judged(one, before, after, corpus=corpus, bootstrap=bootstrap, epsilon=epsilon) for one in plan.slices
        ),
        without=plan.without,
        queries=plan.queries,
        epsilon=epsilon,
    )


def _judged(
    chosen: QuerySlice,
    before: Mapping[Modality, QueryFigures],
    after: Mapping[Modality, QueryFigures],
    *,
    corpus: Corpus,
    bootstrap: ClusterBootstrap,
    epsilon: float,
) -> SliceFinding:
    codes = [corpus.codes[modality][members] for modality, members in chosen.members.items()]
    differences: dict[str, Difference] = {}
    for query, members in chosen.members.items():
        pair_count = len(np.unique(corpus.codes[query][members]))
        if not pair_count:
            continue
        for name, pick in _COMPARED:
            change = np.where(members, pick(after[query]) - pick(before[query]), np.nan)
            figure = percentile_figure(float(np.nanmean(change)), bootstrap.replicate_means(change, query))
            differences[_named(name, query)] = Difference.of(figure, pair_count=pair_count, allowed=epsilon)
    return SliceFinding(
        kind=chosen.kind,
        value=chosen.value,
        pair_count=len(np.unique(np.concatenate(codes))),
        query_counts={modality: int(members.sum()) for modality, members in chosen.members.items()},
        before=_summary(before, chosen.members),
        after=_summary(after, chosen.members),
        differences=differences,
    )


def _named(name: str, query: Modality) -> str:
    group, _, figure = name.partition(".")
    side = _DIRECTIONS[query] if group == "recall" else f"{query}_query"
    return f"{group}.{side}.{figure}"


def _summary(figures: Mapping[Modality, QueryFigures], members: Mapping[Modality, NDArray[np.bool_]]) -> dict[str, Any]:
    return {"recall": dict(_recalls(figures, members)), "mixed": dict(_mixtures(figures, members))}


def _recalls(
    figures: Mapping[Modality, QueryFigures], members: Mapping[Modality, NDArray[np.bool_]]
) -> Iterator[tuple[str, dict[str, float] | None]]:
    for query, chosen in members.items():
        yield _DIRECTIONS[query], asdict(RecallAt.of(figures[query].cross_rank[chosen])) if chosen.any() else None


def _mixtures(
    figures: Mapping[Modality, QueryFigures], members: Mapping[Modality, NDArray[np.bool_]]
) -> Iterator[tuple[str, dict[str, float] | None]]:
    for query, chosen in members.items():
        found = figures[query]
        mixed = MixedRetrieval.of(
            found.mixed_rank[chosen], ndcg10=found.ndcg10[chosen], own_share=found.own_share[chosen]
        )
        yield f"{query}_query", asdict(mixed) if chosen.any() else None
