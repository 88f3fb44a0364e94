"""A searcher under an aligner that corrects hubness: what it holds for an item is not what it asks with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.core.aligners import FitOptions, Label, load_aligner
from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.core.recipe import RawPairs, fit_calibrated
from isthmus.index.aligner_files import accept_aligner
from isthmus.runtime.base.errors import InvalidArgumentError
from tests.unit.index.support import (
    ONE_SPACE,
    SPACE,
    TENANT,
    create,
    files,
    images,
    running_searcher,
    running_writer,
    texts,
    upsert,
    vectors,
)

COUNT = 240


def _pairs() -> RawPairs:
    """Return pairs with a gap between their modalities."""
    shared, noise = vectors(0, COUNT), vectors(1, COUNT)
    keys = [f"pair-{number}" for number in range(COUNT)]
    gap = np.full(shared.shape[1], 0.2, np.float32)
    return RawPairs(
        images=canonical(shared + gap),
        texts=canonical(shared + 0.5 * noise - gap),
        image_keys=keys,
        text_keys=keys,
        image_space=SPACE,
        text_space=SPACE,
    )


async def test_answers_are_those_of_query_rows_against_item_rows(tmp_path: Path) -> None:
    """Order and scores equal brute force over the aligner's own query and item rows, merged by its calibration."""
    pairs = _pairs()
    artefact = fit_calibrated(
        "center", pairs, label=Label(aligner_id="hub", created_by="test"), options=FitOptions(hubness=True)
    )
    aligner = load_aligner(artefact)
    assert aligner.calibration is not None
    stored = {Modality.IMAGE: pairs.images[:60], Modality.TEXT: pairs.texts[:60]}
    items = [*images([f"image-{n}" for n in range(60)]), *texts([f"text-{n}" for n in range(60)])]
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await create(writer, aligner=files(artefact))
        stored_at = await upsert(writer, items, np.concatenate(list(stored.values())))
        queries = pairs.texts[60:64]
        found = await searcher.search(
            TENANT,
            "things",
            modality=Modality.TEXT,
            space=SPACE,
            queries=queries,
            top_k=120,
            item_modality=None,
            min_revision=stored_at.revision,
            timeout_s=5.0,
        )
    asked = aligner.query_rows(queries, Modality.TEXT)
    for row, neighbors in enumerate(found.neighbors):
        expected: dict[str, tuple[float, float]] = {}
        for modality, raw in stored.items():
            scores = aligner.item_rows(raw, modality) @ asked[row]
            merged = aligner.calibration.merge_scores(scores, query=Modality.TEXT, item=modality)
            expected |= {f"{modality}-{n}": (float(merged[n]), float(scores[n])) for n in range(len(scores))}
        assert [neighbor.item.id for neighbor in neighbors] == sorted(expected, key=lambda key: -expected[key][0])
        np.testing.assert_allclose(
            [neighbor.score for neighbor in neighbors],
            [expected[neighbor.item.id][1] for neighbor in neighbors],
            atol=1e-5,
        )


def test_a_hubness_correction_without_a_calibration_is_refused() -> None:
    """Nothing could be estimated from items alone, so the writer does not take it."""
    artefact = fit_calibrated(
        "center", _pairs(), label=Label(aligner_id="hub", created_by="test"), options=FitOptions(hubness=True)
    )
    with pytest.raises(InvalidArgumentError, match="hubness needs a fitted calibration") as refused:
        accept_aligner(files(artefact.with_findings(calibration=None, report={})), ONE_SPACE)
    assert refused.value.reason == "INVALID_FIELD"
