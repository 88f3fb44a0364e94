"""Several encoders on one corpus: which one to build on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import NotEnoughItemsError, SpacesMismatchError
from isthmus.core.gap.bootstrap import REPLICATE_COUNT, Figure, percentile_figure
from isthmus.core.gap.report import GapReport
from isthmus.core.gap.retrieval import GapRetrieval

__all__ = ["EncoderChoice", "EncoderDifference", "choose_encoder"]

_ENCODERS_MIN = 2


@dataclass(frozen=True, kw_only=True)
class EncoderDifference:
    """How far the first encoder is ahead of another one."""

    name: str
    """The other encoder."""
    recall: Figure
    """Mean of R@1, R@5, R@10 over both directions: the first's minus the other's."""
    paired: bool
    """Whether both were judged on the same pair keys, so that luck with the keys cancels out."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.recall.low > 0.0


@dataclass(frozen=True, kw_only=True)
class EncoderChoice:
    """Which encoder to build on, and why."""

    chosen: str
    """Its name."""
    mean_recall: dict[str, float]
    """Mean of R@1, R@5, R@10 over both directions, by encoder, best first."""
    ahead_of: tuple[EncoderDifference, ...]
    """The best by recall against each other one."""
    level: tuple[str, ...]
    """Encoders that are not clearly worse than the best: among these the smallest relative gap was chosen."""
    reason: str
    """In words."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "chosen": self.chosen,
            "mean_recall": dict(self.mean_recall),
            "ahead_of": [
                {"name": other.name, "recall": other.recall.to_dict(), "paired": other.paired, "clear": other.clear}
                for other in self.ahead_of
            ],
            "level": list(self.level),
            "reason": self.reason,
        }


def choose_encoder(reports: Mapping[str, GapReport], *, seed: int) -> EncoderChoice:
    """Choose by cross-modal recall, and by the smaller relative gap where recall does not tell.

    Recall comes first because an aligner and the calibrated merge mend a gap afterwards, while no map brings back an
    order that the encoder never had. Encoders of the same pair keys are compared by the paired bootstrap.

    Args:
        reports: By encoder; all with retrieval.
        seed: Seed of the bootstrap.

    Raises:
        NotEnoughItemsError: There are fewer than 2 encoders.
        SpacesMismatchError: An encoder's images and texts have no common space, so its recall is not known.
    """
    if len(reports) < _ENCODERS_MIN:
        msg = f"encoders: {len(reports)} to compare, at least {_ENCODERS_MIN}"
        raise NotEnoughItemsError(msg)
    found: dict[str, GapRetrieval] = {}
    for name, report in reports.items():
        if report.retrieval is None:
            msg = f"encoders: {name} has images and texts of two spaces; fit an aligner and compare its vectors"
            raise SpacesMismatchError(msg)
        found[name] = report.retrieval
    order = sorted(found, key=lambda name: -float(found[name].key_recall.mean()))
    best = order[0]
    ahead = tuple(_difference(found[best], found[name], name=name, seed=seed) for name in order[1:])
    level = (best, *(other.name for other in ahead if not other.clear))
    gaps = {name: _relative_gap(reports[name]) for name in level}
    chosen = min(level, key=lambda name: gaps[name])
    return EncoderChoice(
        chosen=chosen,
        mean_recall={name: float(found[name].key_recall.mean()) for name in order},
        ahead_of=ahead,
        level=level,
        reason=_reason(chosen, best, level),
    )


def _difference(best: GapRetrieval, other: GapRetrieval, *, name: str, seed: int) -> EncoderDifference:
    paired = best.keys == other.keys
    rng = np.random.default_rng(seed)
    value = float(best.key_recall.mean() - other.key_recall.mean())
    if paired:
        drawn = _drawn_means(best.key_recall - other.key_recall, rng)
    else:
        drawn = _drawn_means(best.key_recall, rng) - _drawn_means(other.key_recall, rng)
    return EncoderDifference(name=name, recall=percentile_figure(value, drawn), paired=paired)


def _drawn_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    count = len(values)
    return np.array([values[rng.integers(0, count, size=count)].mean() for _ in range(REPLICATE_COUNT)])


def _relative_gap(report: GapReport) -> float:
    return report.rmg.ratio.value if report.rmg is not None else np.inf


def _reason(chosen: str, best: str, level: tuple[str, ...]) -> str:
    if len(level) == 1:
        return f"{chosen} finds clearly more matches across the modalities than every other one"
    rivals = ", ".join(name for name in level if name != chosen)
    if chosen == best:
        return f"{chosen} finds most matches, not clearly more than {rivals}, and has the smallest relative gap of them"
    return f"{chosen} is level with {rivals} in recall and has the smallest relative gap of them"
