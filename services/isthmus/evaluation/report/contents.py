"""What a report is made of: results that were measured elsewhere, gathered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from isthmus.core.gap import Corpus, GapReport
from isthmus.core.recipe import Verification
from isthmus.evaluation.report.projection import Projection, project
from isthmus.evaluation.report.spectrum import Spectrum, spectrum_of

__all__ = ["MethodOutcome", "ReportContents", "View"]


@dataclass(frozen=True, kw_only=True)
class View:
    """One state of a corpus: its measures, and what its pictures show."""

    gap: GapReport
    """Every measure that could be taken."""
    projection: Projection | None = None
    """Both clouds on a plane; None where images and texts share no space."""
    spectrum: Spectrum | None = None
    """How each cloud spreads over its directions."""

    @classmethod
    def of(cls, corpus: Corpus, *, gap: GapReport) -> Self:
        """Look at a corpus that was measured.

        Args:
            corpus: Raw rows, or what an aligner made of them.
            gap: Its measures; their seed also chooses the points that are drawn.
        """
        return cls(
            gap=gap,
            projection=project(corpus, seed=gap.seed) if corpus.one_space else None,
            spectrum=spectrum_of(corpus.balanced()),
        )


@dataclass(frozen=True, kw_only=True)
class MethodOutcome:
    """What became of one way to align."""

    name: str
    """As people call it."""
    found: Verification | None = None
    """What held-out pairs said of it; None where it could not be fitted."""
    problem: str = ""
    """Why it could not be fitted."""

    @property
    def passed(self) -> bool | None:
        """Whether the guard lets it be used; None where it could not be fitted."""
        return self.found.guard.ok if self.found else None

    @property
    def quality(self) -> float:
        """Return the mean nDCG@10 of both directions in a mixed search as served; -1 where there is none."""
        if self.found is None:
            return -1.0
        return sum(float(side["ndcg10"]) for side in self.found.after["mixed"].values()) / 2.0


@dataclass(frozen=True, kw_only=True)
class ReportContents:
    """A whole report. Whatever is None is said to be missing, with the reason, never left out."""

    subject: str
    """What was measured: the name of a file or a collection."""
    before: View
    """As it is now; in a comparison, of the held-out pairs."""
    aligner: str = ""
    """The aligner that `before` is seen through; empty where that is as the encoders made it."""
    after: View | None = None
    """The same pairs after `chosen`."""
    chosen: MethodOutcome | None = None
    """The method whose output is shown beside the raw one."""
    methods: tuple[MethodOutcome, ...] = ()
    """Every method that was compared, in the order that the page keeps."""
    learned_pair_count: int | None = None
    """Pairs that the methods learned from; none of them is judged on."""
