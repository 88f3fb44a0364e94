"""The measures that the page lists: what each asks in plain words, and where to read its figure in a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from isthmus.core.gap import DirectionRetrieval, Figure, GapReport
from isthmus.evaluation.report.words import Unit

__all__ = ["MEASURES", "Measure"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One row of the table."""

    field: str
    """Field of `GapReport` that holds it, whose `missing` says why there is none."""
    group: str
    """Heading above it."""
    name: str
    """Its name, as the literature has it."""
    question: str
    """What it asks, for someone who never met it."""
    better: str
    """Which way is better."""
    unit: Unit
    """What it counts in."""
    source: str
    """Key of its publication; empty where it is this project's own."""
    pick: Callable[[GapReport], Figure | None]
    """Where its figure is."""


def _direction(name: str, *, image_query: bool) -> Callable[[GapReport], Figure | None]:
    def pick(gap: GapReport) -> Figure | None:
        if gap.retrieval is None:
            return None
        found: DirectionRetrieval = gap.retrieval.i2t if image_query else gap.retrieval.t2i
        return found.intervals[name]

    return pick


_GAP: Final = "How far apart images and texts are"
_SEARCH: Final = "What a search finds"
_AROUND: Final = "Who is whose neighbour"

MEASURES: Final = (
    Measure(
        field="centroid",
        group=_GAP,
        name="Centroid gap",
        question="How far is the average image from the average text? Two opposite points are 2 apart.",
        better="lower",
        unit=Unit.NUMBER,
        source="liang:22:gap",
        pick=lambda gap: gap.centroid.distance if gap.centroid else None,
    ),
    Measure(
        field="separability",
        group=_GAP,
        name="Separability",
        question="How often can a simple rule tell an image's vector from a text's? Guessing is right half the time.",
        better="nearer 50 %",
        unit=Unit.SHARE,
        source="role:25:fill",
        pick=lambda gap: gap.separability.accuracy if gap.separability else None,
    ),
    Measure(
        field="rmg",
        group=_GAP,
        name="Relative modality gap",
        question="Is an image nearer to its own text than to other images? Above 0.5 it is not.",
        better="lower",
        unit=Unit.NUMBER,
        source="schrodi:25:two",
        pick=lambda gap: gap.rmg.ratio if gap.rmg else None,
    ),
    Measure(
        field="paired_cosine",
        group=_GAP,
        name="Similarity of a pair",
        question="How alike are an image and its own text? 1 is identical; strangers stand beside it.",
        better="higher than strangers",
        unit=Unit.NUMBER,
        source="",
        pick=lambda gap: gap.paired_cosine.cosine if gap.paired_cosine else None,
    ),
    Measure(
        field="fid",
        group=_GAP,
        name="Fréchet distance (FID), squared",
        question="How different are the place and the shape of both clouds, if each were a bell curve?",
        better="lower",
        unit=Unit.NUMBER,
        source="heusel:17:fid",
        pick=lambda gap: gap.fid.fid if gap.fid else None,
    ),
    Measure(
        field="sliced_w2",
        group=_GAP,
        name="Sliced Wasserstein distance",
        question="How far must points move, along many random directions, to turn one cloud into the other?",
        better="lower",
        unit=Unit.NUMBER,
        source="bonneel:15:sliced",
        pick=lambda gap: gap.sliced_w2.w2 if gap.sliced_w2 else None,
    ),
    Measure(
        field="sinkhorn",
        group=_GAP,
        name="Sinkhorn divergence",
        question="The same effort in all directions at once, in squared distance.",
        better="lower",
        unit=Unit.NUMBER,
        source="feydy:19:sinkhorn",
        pick=lambda gap: gap.sinkhorn.divergence if gap.sinkhorn else None,
    ),
    Measure(
        field="mmd",
        group=_GAP,
        name="Mean discrepancy (MMD), squared",
        question="How well could any smooth rule tell both clouds apart? 0 is not at all.",
        better="lower",
        unit=Unit.NUMBER,
        source="gretton:12:mmd",
        pick=lambda gap: gap.mmd.squared if gap.mmd else None,
    ),
    Measure(
        field="uniformity",
        group=_GAP,
        name="Alignment",
        question="Squared distance of an image from its own text, on average. 0 is the same place, 2 a right angle.",
        better="lower",
        unit=Unit.NUMBER,
        source="wang:20:uniformity",
        pick=lambda gap: gap.uniformity.alignment if gap.uniformity else None,
    ),
    Measure(
        field="uniformity",
        group=_GAP,
        name="Uniformity",
        question="How evenly do all items fill the space? 0 is one point; the more negative, the more even.",
        better="lower",
        unit=Unit.NUMBER,
        source="wang:20:uniformity",
        pick=lambda gap: gap.uniformity.joint_uniformity if gap.uniformity else None,
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Image → text, right answer first",
        question="Ask with an image, look among texts only: how often does its own text come first? (recall at 1)",
        better="higher",
        unit=Unit.SHARE,
        source="faghri:18:vsepp",
        pick=_direction("r1", image_query=True),
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Text → image, right answer first",
        question="The same the other way round.",
        better="higher",
        unit=Unit.SHARE,
        source="faghri:18:vsepp",
        pick=_direction("r1", image_query=False),
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Image → everything, own text in the first ten",
        question="Ask with an image, look among images and texts together. (mixed recall at 10)",
        better="higher",
        unit=Unit.SHARE,
        source="role:25:fill",
        pick=_direction("mixed_r10", image_query=True),
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Text → everything, own image in the first ten",
        question="The same the other way round.",
        better="higher",
        unit=Unit.SHARE,
        source="role:25:fill",
        pick=_direction("mixed_r10", image_query=False),
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Image → everything, quality of the first ten",
        question="Are all items that belong to the image near the top? 100 % is the perfect order. (nDCG at 10)",
        better="higher",
        unit=Unit.SHARE,
        source="role:25:fill",
        pick=_direction("mixed_ndcg10", image_query=True),
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Text → everything, quality of the first ten",
        question="The same the other way round.",
        better="higher",
        unit=Unit.SHARE,
        source="role:25:fill",
        pick=_direction("mixed_ndcg10", image_query=False),
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Images in the first ten of an image's search",
        question="How much of the list is the kind that was asked with? 100 % shuts the other kind out.",
        better="nearer 50 %",
        unit=Unit.SHARE,
        source="role:25:fill",
        pick=_direction("mixed_own_share", image_query=True),
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Texts in the first ten of a text's search",
        question="The same the other way round.",
        better="nearer 50 %",
        unit=Unit.SHARE,
        source="role:25:fill",
        pick=_direction("mixed_own_share", image_query=False),
    ),
    Measure(
        field="retrieval",
        group=_SEARCH,
        name="Sum of recalls (rSum)",
        question="Right answer in the first 1, 5 and 10, both ways, in percent and added up. 600 is perfect.",
        better="higher",
        unit=Unit.POINTS,
        source="faghri:18:vsepp",
        pick=lambda gap: gap.retrieval.rsum if gap.retrieval else None,
    ),
    Measure(
        field="heterogeneity",
        group=_AROUND,
        name="Nearest text of an image, its place (TMR)",
        question="Going through everything from the nearest on: at which place does the first text turn up?",
        better="lower",
        unit=Unit.RANK,
        source="role:25:fill",
        pick=lambda gap: gap.heterogeneity.image_query.mean_rank if gap.heterogeneity else None,
    ),
    Measure(
        field="heterogeneity",
        group=_AROUND,
        name="Nearest image of a text, its place (IMR)",
        question="The same the other way round.",
        better="lower",
        unit=Unit.RANK,
        source="role:25:fill",
        pick=lambda gap: gap.heterogeneity.text_query.mean_rank if gap.heterogeneity else None,
    ),
    Measure(
        field="neighbor_overlap",
        group=_AROUND,
        name="Agreement of neighbourhoods",
        question="Of an image's nearest images, how many have texts that are among its text's nearest texts?",
        better="higher",
        unit=Unit.SHARE,
        source="",
        pick=lambda gap: gap.neighbor_overlap.overlap if gap.neighbor_overlap else None,
    ),
    Measure(
        field="hubness",
        group=_AROUND,
        name="Hubness of images",
        question="Do a few images turn up in everybody's answers? 0 all equally often, 1 always the same ones.",
        better="lower",
        unit=Unit.NUMBER,
        source="radovanovic:10:hubs",
        pick=lambda gap: gap.hubness.images if gap.hubness else None,
    ),
    Measure(
        field="hubness",
        group=_AROUND,
        name="Hubness of texts",
        question="The same for texts.",
        better="lower",
        unit=Unit.NUMBER,
        source="radovanovic:10:hubs",
        pick=lambda gap: gap.hubness.texts if gap.hubness else None,
    ),
)
"""In the order of the page."""
