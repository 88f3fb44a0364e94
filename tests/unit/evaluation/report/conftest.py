"""Reports of made-up pairs with a gap."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.core import canonical
from isthmus.core.aligners import Label
from isthmus.core.gap import Corpus, measure_gap
from isthmus.core.guard import GuardLimits
from isthmus.core.recipe import RawPairs, fit_and_judge
from isthmus.evaluation.report import ReportContents, View, compared_contents, render_report

SUBJECT = "photos.npz"


def pairs_with_gap(count: int, *, text_dimension: int = 24) -> RawPairs:
    """Make pairs whose modalities lie apart, in one space or in two."""
    rng = np.random.default_rng(0)
    meaning, gap = rng.normal(size=(count, 24)), rng.normal(size=24)
    images = canonical(meaning + 0.4 * rng.normal(size=meaning.shape) + gap)
    texts = meaning + 0.4 * rng.normal(size=meaning.shape) - gap
    if text_dimension != 24:
        texts = texts @ rng.normal(size=(24, text_dimension))
    keys = [f"thing-{row}" for row in range(count)]
    one = text_dimension == 24
    return RawPairs(
        images=images,
        texts=canonical(texts),
        image_keys=keys,
        text_keys=keys,
        image_space="made@00000000",
        text_space="made@00000000" if one else "other@00000000",
    )


def measured(pairs: RawPairs) -> ReportContents:
    """Return the contents that `isthmus measure` gathers."""
    gap = measure_gap(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)
    corpus = Corpus.of(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)
    return ReportContents(subject=SUBJECT, before=View.of(corpus, gap=gap))


def compared(pairs: RawPairs, limits: dict[str, GuardLimits], *, refused: dict[str, str]) -> ReportContents:
    """Return the contents that `isthmus align compare` gathers."""
    judged = {
        method: fit_and_judge(method, pairs, label=Label(aligner_id=method, created_by="test"), limits=one)
        for method, one in limits.items()
    }
    return compared_contents(SUBJECT, pairs, judged, refused=refused)


@pytest.fixture(scope="session")
def alone() -> ReportContents:
    """Give a report of embeddings alone."""
    return measured(pairs_with_gap(120))


@pytest.fixture(scope="session")
def full() -> ReportContents:
    """Give a report of a comparison in which one method passes, one is refused and one could not be fitted."""
    limits = {"center": GuardLimits(), "standardize": GuardLimits(structure_least=1.0)}
    return compared(pairs_with_gap(500), limits, refused={"spectral": "dimension: must be from 1 to 23"})


@pytest.fixture(scope="session")
def apart() -> ReportContents:
    """Give a report of two spaces that two methods join."""
    limits = dict.fromkeys(("ridge", "cca"), GuardLimits())
    return compared(pairs_with_gap(300, text_dimension=18), limits, refused={})


@pytest.fixture(scope="session")
def pages(alone: ReportContents, full: ReportContents, apart: ReportContents) -> dict[str, str]:
    """Render each once."""
    return {"alone": render_report(alone), "full": render_report(full), "apart": render_report(apart)}
