"""The life of an aligner through the public API, on a collection of its own vectors: no encoder takes part."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.client import (
    Client,
    FailedPreconditionError,
    GuardLimits,
    InvalidArgumentError,
    Item,
    Modality,
    SearchResult,
    SpacedVector,
)
from isthmus.core.aligners import FITTED_METHODS
from isthmus.core.canonical import canonical
from isthmus.core.gap import measure_gap
from tests.harness.shared import SHARED_DATA, needs

COCO = SHARED_DATA / "clip_coco" / "clip_vitb16_coco_val2017_250.npz"
SPACE = "clip-vit-b-16@00c0c0a250c0c0a2"

pytestmark = [needs(COCO), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def vectors() -> dict[Modality, NDArray[np.float32]]:
    """250 COCO photos and one caption of each, embedded by CLIP ViT-B/16."""
    with np.load(COCO) as arrays:
        return {"image": arrays["image"].astype(np.float32), "text": arrays["text"].astype(np.float32)}


@pytest.fixture
def collection(client: Client, vectors: dict[Modality, NDArray[np.float32]]) -> Iterator[str]:
    """A fresh collection that holds them as pairs."""
    name = f"coco-{uuid.uuid4().hex[:8]}"
    dimension = vectors["image"].shape[1]
    client.create_collection(
        name,
        image_space=SPACE,
        text_space=SPACE,
        image_dimension=dimension,
        text_dimension=dimension,
        # 55 pairs are held out: too few to tell a fall of 0.02 from none.
        guard=GuardLimits(epsilon=0.15),
    )
    client.upsert(
        name,
        (
            Item(id=f"{modality}-{row}", vector=SpacedVector(vector, modality=modality, space=SPACE), pair_key=f"{row}")
            for modality, rows in vectors.items()
            for row, vector in enumerate(rows)
        ),
    )
    yield name
    client.delete_collection(name)


def _answers(result: SearchResult) -> list[tuple[object, ...]]:
    return [(found.id, found.score, found.calibrated_score, found.probability) for found in result.neighbors]


def _search(
    client: Client, collection: str, vectors: dict[Modality, NDArray[np.float32]]
) -> list[list[tuple[object, ...]]]:
    """Return the answers to ten image queries and ten text queries, over both modalities."""
    return [
        _answers(client.search(collection, vector=SpacedVector(row, modality=modality, space=SPACE), top_k=50))
        for modality, rows in vectors.items()
        for row in rows[:10]
    ]


def test_the_gap_is_measured_on_the_collection_s_pairs(
    client: Client, collection: str, vectors: dict[Modality, NDArray[np.float32]]
) -> None:
    """As the pure numerics measure the same rows; in an aligner's space the gap is smaller."""
    raw = client.measure_gap(collection, seed=3)
    rows = {modality: canonical(found) for modality, found in vectors.items()}
    expected = measure_gap(
        rows["image"],
        rows["text"],
        image_keys=[f"{row}" for row in range(250)],
        text_keys=[f"{row}" for row in range(250)],
        seed=3,
    )
    assert (raw.pairs, raw.image_count, raw.text_count, raw.share, raw.aligner) == (250, 250, 250, 1.0, "")
    assert raw.gap == pytest.approx(expected.headline(), rel=1e-4)
    document = json.loads(raw.report_json)
    assert document["measures"].keys() == expected.to_dict()["measures"].keys()
    fitted = client.fit_aligner(collection, aligner_id=f"m{collection}", method="center")
    aligned = client.measure_gap(collection, seed=3, aligner=fitted.aligner)
    assert aligned.aligner == fitted.aligner
    # 0.85 raw, 0.09 centred
    assert (raw.gap["centroid"] or 0.0) > 0.8
    assert (aligned.gap["centroid"] or 1.0) < 0.2


def test_too_few_pairs_are_not_measured(client: Client, collection: str) -> None:
    """The refusal says how many there are and how many are needed."""
    client.delete(collection, [f"text-{row}" for row in range(240)])
    with pytest.raises(FailedPreconditionError, match="10 pair keys have items of both modalities, at least 16") as no:
        client.measure_gap(collection)
    assert no.value.reason == "NOT_ENOUGH_PAIRS"
    with pytest.raises(InvalidArgumentError, match="sample_count must be 16 to 5000"):
        client.measure_gap(collection, sample_count=15)


def test_the_winner_is_promoted_and_after_its_rollback_every_answer_is_as_before(
    client: Client, collection: str, vectors: dict[Modality, NDArray[np.float32]], tmp_path: Path
) -> None:
    """Compare, fit, verify, promote, search, roll back: scores and probabilities are equal bit for bit."""
    compared = client.compare_aligners(collection)
    assert {report.method for report in compared.reports} == set(FITTED_METHODS)
    assert compared.refused == {}
    judged = {report.method: report for report in compared.reports}
    assert judged[compared.best].guard_ok
    assert not judged["transport"].guard_ok
    fitted = client.fit_aligner(collection, aligner_id=f"a{collection}", method=compared.best)
    verified = client.verify_aligner(collection, fitted.aligner)
    assert verified.guard_ok
    assert json.loads(verified.report_json)["after"] == json.loads(judged[compared.best].report_json)["after"]
    assert client.get_aligner(fitted.aligner) == fitted
    client.export_aligner(fitted.aligner, tmp_path)
    assert client.import_aligner(tmp_path) == fitted
    before = _search(client, collection, vectors)
    promoted = client.promote_aligner(collection, fitted.aligner)
    assert promoted.aligner == fitted.aligner
    assert _search(client, collection, vectors) != before
    rolled_back = client.rollback_aligner(collection)
    assert (rolled_back.aligner, rolled_back.revision) == ("", promoted.revision + 1)
    assert _search(client, collection, vectors) == before


def test_a_method_that_breaks_the_guard_is_refused_with_its_figures(client: Client, collection: str) -> None:
    """Transport at full strength costs cross-modal recall; nothing changes until somebody says why it should."""
    before = client.get_collection(collection)
    assert before.guard == GuardLimits(epsilon=0.15)
    fitted = client.fit_aligner(collection, aligner_id=f"t{collection}", method="transport")
    report = json.loads(fitted.manifest_json)["report"]
    assert report["guard"]["limits"]["epsilon"] == 0.15
    # cross-modal R@1 falls by 0.20 and 0.16, hubness grows by 0.16
    with pytest.raises(FailedPreconditionError, match=r"hubness growth: \+0\.\d+ .*, must be at most \+0.020") as no:
        client.promote_aligner(collection, fitted.aligner, allow_unverified=True)
    assert no.value.reason == "GUARD_BROKEN"
    assert client.get_collection(collection) == before
    promoted = client.promote_aligner(collection, fitted.aligner, override_reason="to see what it looks like")
    assert (promoted.aligner, promoted.revision) == (fitted.aligner, before.revision + 1)


def test_a_collection_that_never_had_another_aligner_is_not_rolled_back(client: Client, collection: str) -> None:
    """The refusal has its reason, and nothing changes."""
    revision = client.get_collection(collection).revision
    with pytest.raises(FailedPreconditionError) as caught:
        client.rollback_aligner(collection)
    assert caught.value.reason == "NO_PREVIOUS_ALIGNER"
    assert client.get_collection(collection).revision == revision


def test_the_mesh_draws_a_page_of_each_judgement(client: Client, collection: str) -> None:
    """Measured, verified or compared: whole pages that name the collection, and none where nobody asks."""
    aligner = client.fit_aligner(collection, aligner_id=f"{collection}-page", method="center").aligner
    pages = {
        "measured": client.measure_gap(collection, page=True).page,
        "verified": client.verify_aligner(collection, aligner, page=True).page,
        "compared": client.compare_aligners(collection, methods=("center", "standardize"), page=True).page,
    }
    for name, page in pages.items():
        assert f"Modality gap of {collection}</title>" in page, name
        assert page.rstrip().endswith("</html>"), name
    assert "<b>standardize</b>" in pages["compared"]
    assert client.measure_gap(collection).page == ""
