"""What a job found as one page for people; drawn here because the vectors are, and a caller has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Artefact
from isthmus.core.gap import Corpus, GapReport
from isthmus.core.modality import Modality
from isthmus.core.recipe import RawPairs, Verification

__all__ = ["comparison_page", "measurement_page"]

# evaluation.report brings matplotlib, which a mesh that nobody asks for a page need not hold in memory.


def measurement_page(
    subject: str,
    vectors: Mapping[Modality, NDArray[np.float32]],
    keys: Mapping[Modality, Sequence[str | None]],
    *,
    gap: GapReport,
    artefact: Artefact | None,
) -> str:
    """Return a measurement as HTML.

    Args:
        subject: Name of the collection.
        vectors: (n, d) rows that were measured, by modality.
        keys: Their pair keys.
        gap: What was measured.
        artefact: The aligner that they went through; None for raw ones.
    """
    from isthmus.evaluation.report import ReportContents, View, render_report

    corpus = Corpus.of(
        vectors[Modality.IMAGE],
        vectors[Modality.TEXT],
        image_keys=keys[Modality.IMAGE],
        text_keys=keys[Modality.TEXT],
    )
    through = "" if artefact is None else artefact.manifest.aligner_id
    return render_report(ReportContents(subject=subject, before=View.of(corpus, gap=gap), aligner=through))


def comparison_page(
    subject: str,
    pairs: RawPairs,
    judged: Mapping[str, tuple[Artefact, Verification]],
    *,
    refused: Mapping[str, str],
    active: Artefact | None,
    seed: int,
) -> str:
    """Return what held-out pairs say of one aligner or of several as HTML.

    Args:
        subject: Name of the collection.
        pairs: All of its pairs.
        judged: Artefact and verification by the name that the page shows.
        refused: Why a method could not be fitted.
        active: The collection's aligner, which all were judged against.
        seed: Of every sample and bootstrap.

    Raises:
        CoreError: The pairs cannot be split or measured.
    """
    from isthmus.evaluation.report import compared_contents, render_report

    return render_report(compared_contents(subject, pairs, judged, refused=refused, baseline=active, seed=seed))
