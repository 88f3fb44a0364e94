"""The measures that the page lists: what each asks in plain words, and where to read its figure in a result.

Each is one line of a table; its figure is named by its path in a `GapReport`, `centroid.distance`, or
`retrieval.i2t.intervals.r1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from isthmus.core.gap import Figure, GapReport
from isthmus.evaluation.report.words import Unit

__all__ = ["MEASURES", "Measure"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table."""

    path: str
    """Where its figure is; the first name is the field of `GapReport` whose `missing` says why there is none."""
    unit: Unit
    """What it counts in."""
    better: str
    """Which way is better."""
    source: str
    """Key of its publication; empty where it is this project's own."""
    name: str
    """Its name, as the literature has it."""
    question: str
    """What it asks, for someone who never met it."""

    @property
    def field(self) -> str:
        """Return the field of `GapReport` that holds it."""
        return self.path.partition(".")[0]

    def pick(self, gap: GapReport) -> Figure | None:
        """Return its figure; None where it was not measured."""
        found: Any = gap
        for step in self.path.split("."):
            found = found[step] if isinstance(found, Mapping) else getattr(found, step)
            if found is None:
                return None
        assert isinstance(found, Figure), "a path ends at a figure"
        return found


_NUMBER, _SHARE, _RANK = Unit.NUMBER, Unit.SHARE, Unit.RANK
_OTHER_WAY: Final = "The same the other way round."
_LOWER, _HIGHER, _HALF = "lower", "higher", "nearer 50 %"
_FILL, _VSEPP, _UNIFORMITY, _HUBS = "role:25:fill", "faghri:18:vsepp", "wang:20:uniformity", "radovanovic:10:hubs"
_I2T, _T2I = "retrieval.i2t.intervals", "retrieval.t2i.intervals"

# fmt: off
_APART = (
    Measure("centroid.distance", _NUMBER, _LOWER, "liang:22:gap", "Centroid gap",
            "How far is the average image from the average text? Two opposite points are 2 apart."),
    Measure("separability.accuracy", _SHARE, _HALF, _FILL, "Separability",
            "How often can a simple rule tell an image's vector from a text's? Guessing is right half the time."),
    Measure("rmg.ratio", _NUMBER, _LOWER, "schrodi:25:two", "Relative modality gap",
            "Is an image nearer to its own text than to other images? Above 0.5 it is not."),
    Measure("paired_cosine.cosine", _NUMBER, "higher than strangers", "", "Similarity of a pair",
            "How alike are an image and its own text? 1 is identical; strangers stand beside it."),
    Measure("fid.fid", _NUMBER, _LOWER, "heusel:17:fid", "Fréchet distance (FID), squared",
            "How different are the place and the shape of both clouds, if each were a bell curve?"),
    Measure("sliced_w2.w2", _NUMBER, _LOWER, "bonneel:15:sliced", "Sliced Wasserstein distance",
            "How far must points move, along many random directions, to turn one cloud into the other?"),
    Measure("sinkhorn.divergence", _NUMBER, _LOWER, "feydy:19:sinkhorn", "Sinkhorn divergence",
            "The same effort in all directions at once, in squared distance."),
    Measure("mmd.squared", _NUMBER, _LOWER, "gretton:12:mmd", "Mean discrepancy (MMD), squared",
            "How well could any smooth rule tell both clouds apart? 0 is not at all."),
    Measure("uniformity.alignment", _NUMBER, _LOWER, _UNIFORMITY, "Alignment",
            "Squared distance of an image from its own text, on average. 0 is the same place, 2 a right angle."),
    Measure("uniformity.joint_uniformity", _NUMBER, _LOWER, _UNIFORMITY, "Uniformity",
            "How evenly do all items fill the space? 0 is one point; the more negative, the more even."),
)
_FOUND = (
    Measure(f"{_I2T}.r1", _SHARE, _HIGHER, _VSEPP, "Image → text, right answer first",
            "Ask with an image, look among texts only: how often does its own text come first? (recall at 1)"),
    Measure(f"{_T2I}.r1", _SHARE, _HIGHER, _VSEPP, "Text → image, right answer first", _OTHER_WAY),
    Measure(f"{_I2T}.mixed_r10", _SHARE, _HIGHER, _FILL, "Image → everything, own text in the first ten",
            "Ask with an image, look among images and texts together. (mixed recall at 10)"),
    Measure(f"{_T2I}.mixed_r10", _SHARE, _HIGHER, _FILL, "Text → everything, own image in the first ten", _OTHER_WAY),
    Measure(f"{_I2T}.mixed_ndcg10", _SHARE, _HIGHER, _FILL, "Image → everything, quality of the first ten",
            "Are all items that belong to the image near the top? 100 % is the perfect order. (nDCG at 10)"),
    Measure(f"{_T2I}.mixed_ndcg10", _SHARE, _HIGHER, _FILL, "Text → everything, quality of the first ten", _OTHER_WAY),
    Measure(f"{_I2T}.mixed_own_share", _SHARE, _HALF, _FILL, "Images in the first ten of an image's search",
            "How much of the list is the kind that was asked with? 100 % shuts the other kind out."),
    Measure(f"{_T2I}.mixed_own_share", _SHARE, _HALF, _FILL, "Texts in the first ten of a text's search", _OTHER_WAY),
    Measure("retrieval.rsum", Unit.POINTS, _HIGHER, _VSEPP, "Sum of recalls (rSum)",
            "Right answer in the first 1, 5 and 10, both ways, in percent and added up. 600 is perfect."),
)
_AROUND = (
    Measure("heterogeneity.image_query.mean_rank", _RANK, _LOWER, _FILL, "Nearest text of an image, its place (TMR)",
            "Going through everything from the nearest on: at which place does the first text turn up?"),
    Measure("heterogeneity.text_query.mean_rank", _RANK, _LOWER, _FILL, "Nearest image of a text, its place (IMR)",
            _OTHER_WAY),
    Measure("neighbor_overlap.overlap", _SHARE, _HIGHER, "", "Agreement of neighbourhoods",
            "Of an image's nearest images, how many have texts that are among its text's nearest texts?"),
    Measure("hubness.images", _NUMBER, _LOWER, _HUBS, "Hubness of images",
            "Do a few images turn up in everybody's answers? 0 all equally often, 1 always the same ones."),
    Measure("hubness.texts", _NUMBER, _LOWER, _HUBS, "Hubness of texts", "The same for texts."),
)
# fmt: on

MEASURES: Final[Mapping[str, tuple[Measure, ...]]] = {
    "How far apart images and texts are": _APART,
    "What a search finds": _FOUND,
    "Who is whose neighbour": _AROUND,
}
"""By the heading above them, in the order of the page."""
