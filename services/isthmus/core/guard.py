"""The guard: may this aligner replace what is served now? Decided on held-out pairs, by intervals, never by points.

Every figure is the mean difference after minus before over the same queries; its 95 % interval comes from resampling
pair keys (paired bootstrap). An aligner passes when

- graded nDCG@10 over both modalities rises, or mixed R@10 rises and nDCG@10 falls by no more than epsilon;
- cross-modal R@1, both ways, and own-modality R@10 fall by no more than epsilon;
- enough of each item's own-modality neighbours stay its neighbours;
- hubness does not grow by more than a margin,

each by the bound of its interval, not by its middle. Where the middle would pass and the bound does not, the pairs are
too few to tell: refused as well, with the number that would tell. A closed gap is no criterion: gap figures fall while
retrieval gets worse (Sato et al., "When Modality Gap Reduction Fails").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import OptionError
from isthmus.core.gap import ClusterBootstrap, Corpus, gini
from isthmus.core.gap.overlap import shared_neighbors
from isthmus.core.held_out import NEIGHBOURS, QueryFigures
from isthmus.core.modality import Modality

__all__ = ["GuardCheck", "GuardLimits", "GuardVerdict", "judge_guard"]

_TAIL: Final = 0.025
_GINI_REPLICATES: Final = 100
_PAIRS_ROUNDED_TO: Final = 10


@dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """What an aligner may cost.

    Raises:
        OptionError: A limit is not in [0, 1].
    """

    epsilon: float = 0.02
    """How far a recall or nDCG@10 may fall."""
    structure_least: float = 0.5
    """Share of an item's ten nearest of its own modality that must stay among them."""
    hubness_growth: float = 0.02
    """How far the Gini coefficient of hubness may grow."""

    def __post_init__(self) -> None:
        """Check the limits."""
        if not all(0.0 <= limit <= 1.0 for limit in (self.epsilon, self.structure_least, self.hubness_growth)):
            msg = "guard: every limit must be from 0 to 1"
            raise OptionError(msg)


@dataclass(frozen=True, kw_only=True)
class GuardCheck:
    """One figure against its limit."""

    name: str
    """What is compared."""
    value: float
    """Mean difference after minus before, or the share that is kept."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""
    limit: float
    """What `low` must reach; for hubness what `high` must not pass."""
    upper: bool = False
    """Whether the limit is an upper one."""
    strict: bool = False
    """Whether reaching the limit is not enough."""

    @property
    def passed(self) -> bool:
        """Whether the bound of the interval keeps the limit."""
        bound = self.limit - self.high if self.upper else self.low - self.limit
        return bound > 0.0 if self.strict else bound >= 0.0

    @property
    def undecided(self) -> bool:
        """Whether the middle keeps the limit and the bound does not: more pairs could tell."""
        return not self.passed and (self.limit - self.value if self.upper else self.value - self.limit) > 0.0

    def pairs_needed(self, pair_count: int) -> int:
        """Return how many held-out pairs would bring the bound to the limit.

        Were the middle to stay; or, where it is nearer to the limit than no change at all is, were there none. But
        never as few as there are, which did not tell.
        """
        reach = self.high - self.value if self.upper else self.value - self.low
        middle = abs(self.value - self.limit)
        room = max(middle, abs(self.limit))
        if room >= reach:
            room = middle
        needed = pair_count * (reach / room) ** 2
        return _PAIRS_ROUNDED_TO * math.ceil(needed / _PAIRS_ROUNDED_TO)

    def __str__(self) -> str:
        """Say the figure, its interval and its limit."""
        sign = "at most" if self.upper else ("above" if self.strict else "at least")
        return f"{self.name}: {self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}], must be {sign} {self.limit:+.3f}"


@dataclass(frozen=True, kw_only=True)
class GuardVerdict:
    """Whether an aligner may be promoted, and why not."""

    ok: bool
    reasons: tuple[str, ...]
    """Why not, with figures; empty when it may."""
    checks: tuple[GuardCheck, ...]
    """Every figure."""
    pair_count: int
    """Held-out pairs behind them."""
    pairs_needed: int | None
    """Held-out pairs that would tell, where there are too few; None where the figures themselves refuse or pass."""
    limits: GuardLimits
    """What it was held to."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "ok": self.ok,
            "reasons": list(self.reasons),
            "n": self.pair_count,
            "pairs_needed": self.pairs_needed,
            "limits": asdict(self.limits),
            "checks": [
                {"name": c.name, "value": c.value, "low": c.low, "high": c.high, "limit": c.limit, "passed": c.passed}
                for c in self.checks
            ],
        }


def judge_guard(
    before: Mapping[Modality, QueryFigures],
    after: Mapping[Modality, QueryFigures],
    *,
    corpus: Corpus,
    limits: GuardLimits | None = None,
    seed: int = 0,
) -> GuardVerdict:
    """Compare two ways of serving the same held-out items.

    Args:
        before: What is served now.
        after: What would be served.
        corpus: The held-out items, whose pair keys are resampled.
        limits: None takes the defaults.
        seed: Of the resampling.
    """
    limits = limits or GuardLimits()
    compared = _Compared(before, after, ClusterBootstrap(corpus, seed=seed))
    ndcg = compared.difference("nDCG@10 over both modalities", lambda f: f.ndcg10, limit=0.0, strict=True)
    mixed = compared.difference("mixed R@10", lambda f: _within(f.mixed_rank, NEIGHBOURS), limit=0.0, strict=True)
    ndcg_kept = compared.difference("nDCG@10 kept", lambda f: f.ndcg10, limit=-limits.epsilon)
    costs = [
        compared.difference(
            f"cross-modal R@1, {query} queries",
            lambda f: _within(f.cross_rank, 1),
            limit=-limits.epsilon,
            sides=(query,),
        )
        for query in Modality
    ]
    costs += [
        compared.difference(
            f"own-modality R@10, {query} queries",
            lambda f: _within(f.own_rank, NEIGHBOURS),
            limit=-limits.epsilon,
            sides=(query,),
        )
        for query in Modality
        if np.isfinite(before[query].own_rank).any()
    ]
    costs += [compared.structure(query, limit=limits.structure_least) for query in Modality]
    costs.append(compared.hubness(limit=limits.hubness_growth))
    rises = [ndcg] if ndcg.passed or not mixed.passed else [mixed, ndcg_kept]
    gained = ndcg.passed or (mixed.passed and ndcg_kept.passed)
    failed = [check for check in costs if not check.passed]
    if not gained:
        failed = [*([ndcg, mixed] if not mixed.passed else [ndcg_kept]), *failed]
    reasons = [str(check) for check in failed]
    pair_count = len(corpus.paired_keys)
    needed = _pairs_needed(ndcg, mixed, ndcg_kept, costs, gained=gained, pair_count=pair_count)
    if needed is not None:
        reasons.append(f"too few pairs to tell: {pair_count} held out, about {needed} would")
    return GuardVerdict(
        ok=not failed,
        reasons=tuple(reasons),
        checks=tuple(dict.fromkeys([*rises, ndcg, mixed, *costs])),
        pair_count=pair_count,
        pairs_needed=needed,
        limits=limits,
    )


def _pairs_needed(
    ndcg: GuardCheck,
    mixed: GuardCheck,
    ndcg_kept: GuardCheck,
    costs: list[GuardCheck],
    *,
    gained: bool,
    pair_count: int,
) -> int | None:
    """Return the pairs that would tell, or None when all is decided or something is refused by its middle."""
    missed = [check for check in costs if not check.passed]
    if any(not check.undecided for check in missed):
        return None
    if not gained:
        ways = [[ndcg], [check for check in (mixed, ndcg_kept) if not check.passed]]
        open_ways = [way for way in ways if all(check.undecided for check in way)]
        if not open_ways:
            return None
        missed += min(open_ways, key=lambda way: max(check.pairs_needed(pair_count) for check in way))
    return max((check.pairs_needed(pair_count) for check in missed), default=None)


class _Compared:
    """Differences of the same queries under one resampling."""

    def __init__(
        self,
        before: Mapping[Modality, QueryFigures],
        after: Mapping[Modality, QueryFigures],
        bootstrap: ClusterBootstrap,
    ) -> None:
        self._before, self._after, self._bootstrap = before, after, bootstrap

    def difference(
        self,
        name: str,
        figure: Any,
        *,
        limit: float,
        strict: bool = False,
        sides: tuple[Modality, ...] = tuple(Modality),
    ) -> GuardCheck:
        """Compare a figure, each modality's queries weighing the same."""
        values, replicates = [], []
        for query in sides:
            change = figure(self._after[query]) - figure(self._before[query])
            known = change[np.isfinite(change)]
            values.append(float(known.mean()) if len(known) else 0.0)
            replicates.append(self._bootstrap.replicate_means(change, query))
        return _check(name, float(np.mean(values)), np.mean(replicates, axis=0), limit=limit, strict=strict)

    def structure(self, query: Modality, *, limit: float) -> GuardCheck:
        """Compare the neighbours inside a modality."""
        kept = shared_neighbors(
            self._before[query].own_neighbours.astype(np.int32), self._after[query].own_neighbours.astype(np.int32)
        )
        replicates = self._bootstrap.replicate_means(kept, query)
        return _check(f"{query} neighbours kept", float(kept.mean()), replicates, limit=limit)

    def hubness(self, *, limit: float) -> GuardCheck:
        """Compare the Gini coefficients, resampling queries."""
        values, replicates = [], []
        for item in Modality:
            count = len(self._after[item].cross_rank)
            weights = np.concatenate([*self._bootstrap.item_weights(item.other, replicate_count=_GINI_REPLICATES)])
            both = []
            for figures in (self._before, self._after):
                answers = figures[item.other].other_neighbours
                if np.isinf(figures[item.other].cross_rank).all():
                    both.append((1.0, np.ones(len(weights))))  # nothing joins the modalities yet: nothing is found
                    continue
                drawn = np.stack([_drawn_counts(answers, row, count) for row in weights])
                both.append((float(gini(np.bincount(answers.ravel(), minlength=count))), gini(drawn)))
            values.append(both[1][0] - both[0][0])
            replicates.append(both[1][1] - both[0][1])
        growth, spread = float(np.mean(values)), np.mean(replicates, axis=0)
        # Resampling queries raises both coefficients: centre the replicates on what was measured.
        return _check("hubness growth", growth, spread - spread.mean() + growth, limit=limit, upper=True)


def _drawn_counts(answers: NDArray[np.intp], weights: NDArray[np.float64], item_count: int) -> NDArray[np.float64]:
    """Return (item_count,) how often each item is an answer, when (n, k) answers of n queries weigh (n,)."""
    checkpoint()
    repeated = np.repeat(weights, answers.shape[1])
    counts: NDArray[np.float64] = np.bincount(answers.ravel(), repeated, item_count).astype(np.float64, copy=False)
    return counts


def _check(
    name: str,
    value: float,
    replicates: NDArray[np.float64],
    *,
    limit: float,
    upper: bool = False,
    strict: bool = False,
) -> GuardCheck:
    low, high = np.quantile(replicates, [_TAIL, 1.0 - _TAIL])
    return GuardCheck(
        name=name,
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        limit=limit,
        upper=upper,
        strict=strict,
    )


def _within(ranks: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    within: NDArray[np.float64] = np.where(np.isnan(ranks), np.nan, ranks < depth)
    return within
