"""Measure the gap of a collection's pairs, in its raw space or in an aligner's."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.alignment.jobs import StopSignal
from isthmus.alignment.pages import measurement_page
from isthmus.alignment.pair_sample import PairSample
from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.gap import GapReport, measure_gap
from isthmus.core.modality import Modality

__all__ = ["CollectionGap", "MeasureRequest", "measure_sample"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRequest:
    """What to measure."""

    seed: int
    sample_count: int
    """Pairs that the costlier measures look at."""
    compare_distances: bool
    page_subject: str = ""
    """Name of the collection on a page for people; empty for no page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionGap:
    """What a measurement of a collection found."""

    report: GapReport
    share: float
    """Share of its pair keys that was looked at."""
    aligner: str
    """The aligned space; empty for the raw one."""
    revision: int
    """Revision of the collection."""
    page: str = ""
    """HTML; empty where it was not asked for."""


def measure_sample(
    sample: PairSample, artefact: Artefact | None, request: MeasureRequest, *, stop: StopSignal
) -> CollectionGap:
    """Take every measure of a sample's pairs.

    Args:
        sample: Of the collection.
        artefact: Measure what it makes of them; None measures them raw.
        request: What to measure.
        stop: Looked at between any two measures.

    Raises:
        NotEnoughItemsError: A modality is missing, or fewer than 16 pair keys have items of both.
    """
    aligner = None if artefact is None else load_aligner(artefact)
    vectors = {
        modality: found.vectors if aligner is None or not found.ids else aligner.align(found.vectors, modality)
        for modality, found in sample.items.items()
    }
    keys = {modality: found.pair_keys for modality, found in sample.items.items()}
    report = measure_gap(
        vectors[Modality.IMAGE],
        vectors[Modality.TEXT],
        image_keys=keys[Modality.IMAGE],
        text_keys=keys[Modality.TEXT],
        seed=request.seed,
        sample_limit=request.sample_count,
        distances=request.compare_distances,
        progress=lambda _: stop.check(),
    )
    page = ""
    if request.page_subject:
        stop.check()
        page = measurement_page(request.page_subject, vectors, keys, gap=report, artefact=artefact)
    return CollectionGap(
        report=report,
        share=sample.share,
        aligner="" if artefact is None else artefact.space,
        revision=sample.head.revision,
        page=page,
    )
