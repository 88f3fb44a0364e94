"""The verdict in plain words, from the figures alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from isthmus.core.gap import GapReport
from isthmus.core.recipe import Verification
from isthmus.evaluation.report.contents import MethodOutcome, ReportContents
from isthmus.evaluation.report.words import Unit, listed, percent, share_of, shown

__all__ = ["Level", "Verdict", "level_of", "verdict_of"]

_SEPARABLE: Final = 0.9
"""Accuracy from which a simple rule tells both kinds apart reliably."""
_BLIND: Final = 0.5
"""Share of what a search in one kind finds, below which a mixed search has lost most of it."""
_GUESSING: Final = 0.55
"""Accuracy that is hardly better than guessing."""


class Level(StrEnum):
    """How bad it is."""

    NO_SPACE = "no space"
    WIDE = "wide"
    CLEAR = "clear"
    SMALL = "small"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a reader should take home."""

    level: Level
    """How wide the gap is."""
    headline: str
    """One sentence."""
    sentences: tuple[str, ...]
    """What it means here, and what was tried."""
    rule: str
    """How the level was chosen."""


_HEADLINES: Final = {
    Level.NO_SPACE: "Images and texts have no common space yet: they cannot be compared at all.",
    Level.WIDE: "There is a wide gap: a search over images and texts together loses most right answers.",
    Level.CLEAR: "There is a clear gap between images and texts.",
    Level.SMALL: "There is hardly any gap between images and texts.",
    Level.UNKNOWN: "These pairs are not enough to tell how wide the gap is.",
}
_RULE: Final = (
    f"We say wide when a mixed search finds less than half of what a search in one kind finds in its first ten, small "
    f"when a simple rule tells images from texts in at most {percent(_GUESSING)} of cases or a mixed search loses "
    "nothing that the intervals could show, and clear for everything between."
)


def verdict_of(contents: ReportContents) -> Verdict:
    """Return what the results say.

    Args:
        contents: The report.
    """
    level = level_of(contents.before.gap)
    sentences = [*_likeness(contents.before.gap), *_search(contents.before.gap), *_tried(contents)]
    return Verdict(level=level, headline=_HEADLINES[level], sentences=tuple(sentences), rule=_RULE)


def level_of(gap: GapReport) -> Level:
    """Say how wide a gap is; the rule is the one that the page states."""
    found = gap.retrieval
    if found is None:
        return Level.NO_SPACE if "retrieval" in gap.missing else Level.UNKNOWN
    alone = (found.i2t.intervals["r10"], found.t2i.intervals["r10"])
    mixed = (found.i2t.intervals["mixed_r10"], found.t2i.intervals["mixed_r10"])
    if sum(one.value for one in mixed) < _BLIND * sum(one.value for one in alone):
        return Level.WIDE
    blended = gap.separability is not None and gap.separability.accuracy.value <= _GUESSING
    if blended or all(one.high >= other.low for one, other in zip(mixed, alone, strict=True)):
        return Level.SMALL
    return Level.CLEAR


def _likeness(gap: GapReport) -> list[str]:
    """Say who is more alike than whom: the gap in one comparison."""
    scores = gap.histograms
    sentences = []
    if scores is not None:
        own = max(scores.image_image.mean, scores.text_text.mean)
        kind = "images" if own == scores.image_image.mean else "texts"
        pair = shown(scores.match.mean, Unit.NUMBER)
        strangers = f"two unrelated {kind} score {shown(own, Unit.NUMBER)}"
        comparison = (
            f"An image and its own text score {pair} on a scale of likeness that ends at 1, while "
            f"{strangers}: what is merely of the same kind looks more alike than what belongs together."
            if own > scores.match.mean
            else f"An image and its own text score {pair} on a scale of likeness that ends at 1; "
            f"{strangers}. What belongs together looks more alike than what is merely of the same kind."
        )
        sentences.append(comparison)
    if gap.separability is not None:
        accuracy = gap.separability.accuracy.value
        if accuracy >= _SEPARABLE:
            sentences.append(
                f"Images and texts lie in separate regions: a simple rule tells which is which in {percent(accuracy)} "
                "of cases that it never saw."
            )
        else:
            sentences.append(
                f"Images and texts overlap: a simple rule tells which is which in {percent(accuracy)} of cases that it "
                "never saw; guessing would be right in half of them."
            )
    return sentences


def _search(gap: GapReport) -> list[str]:
    """Say what a person who searches would notice."""
    found = gap.retrieval
    if found is None:
        return [f"A search across both kinds was not measured: {gap.missing.get('retrieval', 'not asked for')}."]
    side = found.i2t
    alone, mixed = (share_of(share, side.query_count) for share in (side.recall.r10, side.mixed.r10))
    return [
        (
            f"Ask with an image and look among texts only: the right text is in the first ten for {alone} images. Look "
            f"among images and texts together, by likeness alone, and it is there for {mixed}; "
            f"{percent(side.mixed.own_share)} of those first ten are images."
        )
    ]


def _tried(contents: ReportContents) -> list[str]:
    """Say what the methods did and which may be used."""
    if not contents.methods:
        return ["Nothing was tried against it yet: `isthmus align compare` tries every method on the same pairs."]
    judged = [one for one in contents.methods if one.found is not None]
    passed = sorted((one for one in judged if one.passed), key=lambda one: one.quality, reverse=True)
    if not judged:
        return ["None of the methods could be fitted to these pairs; the reasons stand in the table."]
    served = [] if level_of(contents.before.gap) is Level.NO_SPACE else _served(judged[0].found, contents.aligner)
    if not passed:
        refused = "the guard, which has to be passed before use, refused"
        unsure = "sure to make a mixed search better without making something else worse by more than is allowed"
        told = (
            f"{len(judged)} methods were tried, and {refused} all: none was {unsure}. Keep what you have."
            if len(judged) > 1
            else f"“{judged[0].name}” was tried, and {refused} it: it was not {unsure}. Keep what you have."
        )
        return [*served, told, *_undecided(judged)]
    best = passed[0]
    if len(judged) == 1:
        count, start = f"“{best.name}” may be used: the guard lets it pass.", "Quality"
    else:
        count = f"{len(passed)} of {len(judged)} methods may be used: {listed([one.name for one in passed])}."
        start = f"The best of them is {best.name}. Quality"
    assert best.found is not None, "only what was judged can have passed"
    before, after = best.found.before, best.found.after
    changes = [
        f"{what} {percent(old)} before and {percent(new)} after"
        for what, old, new in (
            ("asked with an image", *(found["mixed"]["image_query"]["ndcg10"] for found in (before, after))),
            ("asked with a text", *(found["mixed"]["text_query"]["ndcg10"] for found in (before, after))),
            ("right text first among texts only", *(found["recall"]["i2t"]["r1"] for found in (before, after))),
            ("right image first among images only", *(found["recall"]["t2i"]["r1"] for found in (before, after))),
        )
    ]
    gain = (
        f"{start} of the first ten answers of a mixed search, where 100 % is the "
        f"perfect order: {changes[0]}, {changes[1]}. A search in one kind only: {changes[2]}, {changes[3]}."
    )
    return [*served, count, gain]


def _served(found: Verification | None, aligner: str) -> list[str]:
    """Say what the collection does today: the gap is in the points, and the merge makes up for much."""
    assert found is not None, "only what was judged is asked for"
    image, text = (percent(found.before["mixed"][f"{query}_query"]["r10"]) for query in ("image", "text"))
    points = f"with the aligner “{aligner}”, as today" if aligner else "with the points as they are"
    return [
        (
            "Isthmus makes the likenesses of different kinds comparable before it merges answers. Served so, "
            f"{points}, a mixed search has the right partner in its first ten for {image} of images and "
            f"{text} of texts."
        )
    ]


def _undecided(judged: Sequence[MethodOutcome]) -> list[str]:
    """Name the methods that more pairs could decide about."""
    guards = {one.name: one.found.guard.pairs_needed for one in judged if one.found is not None}
    needed = {name: count for name, count in guards.items() if count is not None}
    if not needed:
        return []
    said = "; ".join(f"{name} from about {count:,} on" for name, count in needed.items())
    return [f"Too few pairs to tell for some methods. With more held-out pairs the guard could decide: {said}."]
