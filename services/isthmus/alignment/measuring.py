"""Measure the gap of a collection's pairs, in its raw space or in an aligner's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.jobs import StopSignal
from isthmus.alignment.pages import measurement_page
from isthmus.alignment.pair_sample import PairSample
from isthmus.core.aligners import Aligner, Artefact, load_aligner
from isthmus.core.gap import GapReport, measure_gap
from isthmus.core.modality import Modality
from isthmus.core.notes import agreed_values

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
    label_attribute: str = ""
    """An attribute that labels the images; empty for none."""
    label_vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """The (d,) raw text embedding of each label; none classifies nothing."""
    label_problem: str = ""
    """Why there are none."""


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
        ShapeError: The label vectors are of another dimension than the images.
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
        image_labels=_image_labels(sample) if request.label_attribute else None,
        label_vectors=_aligned_labels(request.label_vectors, aligner),
    )
    if request.label_problem:
        report = replace(report, missing=report.missing | {"zero_shot": request.label_problem})
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


def _image_labels(sample: PairSample) -> list[str]:
    """Return the label of each image: its own, else the one that its pair agrees on; empty where there is none."""
    values = {modality: found.values or [""] * len(found.ids) for modality, found in sample.items.items()}
    keys = {modality: found.pair_keys for modality, found in sample.items.items()}
    return agreed_values(values, keys)[Modality.IMAGE]


def _aligned_labels(
    vectors: Mapping[str, NDArray[np.float32]], aligner: Aligner | None
) -> Mapping[str, NDArray[np.float32]]:
    if aligner is None or not vectors:
        return vectors
    rows = aligner.align(np.stack([*vectors.values()]), Modality.TEXT)
    return dict(zip(vectors, rows, strict=True))
