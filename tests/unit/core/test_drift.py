"""Statistics of a fit: the numbers by a second route, inside artefacts and out, and what they say of real vectors."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core import Modality, NotEnoughItemsError, ShapeError, canonical
from isthmus.core.aligners import (
    Artefact,
    FitOptions,
    FitReference,
    Label,
    ProbeRecall,
    fit_artefact,
    load_aligner,
)
from isthmus.core.errors import ArtefactError
from isthmus.core.gap import CLOUD_RANK, CloudStatistics, cloud_drift
from isthmus.core.probe import probe_recall
from isthmus.core.recipe import RawPairs, fit_and_judge, fit_calibrated
from isthmus.core.reference import with_reference
from isthmus.core.watch import Breach, WatchFigures, WatchLimits, find_breaches, watch_pairs
from tests.harness.shared import SHARED_DATA, needs
from tests.unit.core.conftest import SPACE, Pairs
from tests.unit.core.test_guard import raw_pairs

COCO = SHARED_DATA / "clip_coco" / "clip_vitb16_coco_val2017_250.npz"
LABEL = Label(aligner_id="a", created_by="a test")
LIMITS = WatchLimits()

MakePairs = Callable[..., Pairs]


def keys_of(count: int) -> NDArray[np.str_]:
    """Return distinct keys."""
    return np.array([f"{number:04}" for number in range(count)])


def test_the_numbers_are_those_of_numpy(rng: np.random.Generator) -> None:
    """Mean, spread, covariance and distances against plain formulas, one item a key."""
    rows, later = rng.normal(size=(200, 40)), rng.normal(size=(150, 40)) + 0.2
    then = CloudStatistics.of(rows, keys_of(200))
    now = cloud_drift(then, later, keys_of(150))
    np.testing.assert_allclose(then.mean, rows.mean(0), atol=1e-6)
    assert then.spread == pytest.approx(np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean()), rel=1e-6)
    assert then.mean_noise == pytest.approx(np.trace(np.cov(rows.T)) / 200, rel=1e-6)
    np.testing.assert_allclose(then.directions @ then.directions.T, np.eye(CLOUD_RANK), atol=2e-3)
    covariance = np.cov(later.T)
    along = then.directions @ covariance @ then.directions.T
    rest = np.trace(covariance) - np.trace(along)
    squared = np.square(along - then.covariance).sum() + (rest - then.rest) ** 2 / (40 - CLOUD_RANK)
    assert now.spectrum.distance == pytest.approx(np.sqrt(squared), rel=1e-5)
    assert now.mean.distance == pytest.approx(float(np.linalg.norm(later.mean(0) - rows.mean(0))), rel=1e-5)
    floor = np.trace(np.cov(rows.T)) / 200 + np.trace(covariance) / 150
    assert now.mean.noise_floor == pytest.approx(np.sqrt(floor), rel=1e-5)


def test_the_noise_floor_is_what_halves_show(rng: np.random.Generator) -> None:
    """A second route: the mean squared distance of 200 random splits in halves, mean and covariance alike."""
    rows = rng.normal(size=(120, 40)) / (1.0 + np.arange(40))
    then = CloudStatistics.of(rows, keys_of(120))
    means, spectra, floors = [], [], []
    for _ in range(200):
        order = rng.permutation(120)
        one, other = rows[order[:60]], rows[order[60:]]
        means.append(np.square(one.mean(0) - other.mean(0)).sum())
        along = [then.directions @ np.cov(half.T) @ then.directions.T for half in (one, other)]
        spectra.append(np.square(along[0] - along[1]).sum())
        half = CloudStatistics.of(one, keys_of(60))
        floors.append(cloud_drift(half, other, keys_of(60)).mean.noise_floor ** 2)
    assert np.mean(floors) == pytest.approx(np.mean(means), rel=0.05)
    # The covariance of all 120 is known to half as much as that of two halves of 60, of which each is known.
    assert np.mean(spectra) == pytest.approx(2 * then.covariance_noise, rel=0.5)


def test_too_few_keys_and_other_dimensions_are_refused(rng: np.random.Generator) -> None:
    """Nothing is said of 15 keys, however many items they have, nor across dimensions."""
    rows = rng.normal(size=(60, 8))
    with pytest.raises(NotEnoughItemsError, match="15 pair keys, at least 16"):
        CloudStatistics.of(rows, np.resize(keys_of(15), 60))
    then = CloudStatistics.of(rows, keys_of(60))
    assert cloud_drift(then, rows[:16], keys_of(16)).key_count == 16
    with pytest.raises(ShapeError, match="dimension must be 8, got 7"):
        cloud_drift(then, rows[:, :7], keys_of(60))
    with pytest.raises(ShapeError, match="one for each of 60 vectors, got 59"):
        cloud_drift(then, rows, keys_of(59))


def test_a_fit_s_artefact_carries_the_statistics_and_applies_as_without(make_pairs: MakePairs) -> None:
    """They survive the two files bit for bit, and change no aligned vector, with a hubness correction too."""
    pairs = raw_pairs(make_pairs(count=300))
    learned, judged = pairs.split()
    plain = fit_calibrated("center", learned, label=LABEL, options=FitOptions(hubness=True))
    artefact = with_reference(plain, learned=learned, judged=judged)
    again = load_aligner(Artefact.from_bytes(*artefact.to_bytes()))
    assert again.reference is not None
    assert again.reference.clouds[Modality.IMAGE].key_count == len(learned.paired_keys)
    assert again.reference.probe is not None
    assert again.reference.probe.gallery_count == len(judged.paired_keys) // 2
    assert again.reference.probe.recall > 0.5
    for name, value in again.reference.to_tensors().items():
        np.testing.assert_array_equal(value, artefact.tensors[name])
    rows = pairs.images[:20]
    np.testing.assert_array_equal(
        again.item_rows(rows, Modality.IMAGE), load_aligner(plain).item_rows(rows, Modality.IMAGE)
    )


def test_an_artefact_from_before_has_no_statistics_and_its_drift_is_unknown(make_pairs: MakePairs) -> None:
    """Unknown is None and absent, never 0; the gap and the probe of today are told all the same."""
    pairs = raw_pairs(make_pairs(count=200))
    aligner = load_aligner(fit_artefact("center", pairs.fit_pairs(), label=LABEL))
    assert aligner.reference is None
    found = watch_pairs(pairs, aligner)
    assert (found.drift, found.fit_probe, found.recall_drop) == ({}, None, None)
    assert found.raw_gap is not None
    assert found.aligned_gap is not None
    assert found.aligned_gap < found.raw_gap
    assert found.probe is not None
    assert find_breaches(found, LIMITS) == ()
    assert WatchFigures.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_statistics_that_do_not_fit_together_are_refused(make_pairs: MakePairs) -> None:
    """A missing part, a wrong shape: the artefact is damaged. A part that a later version adds is passed over."""
    pairs = raw_pairs(make_pairs(count=200))
    learned, judged = pairs.split()
    artefact = with_reference(fit_calibrated("center", learned, label=LABEL), learned=learned, judged=judged)
    tensors = dict(artefact.tensors)
    for name in (name for name in tensors if name.startswith("drift.")):
        cut = tensors | {name: tensors[name][:-1].copy()}
        with pytest.raises(ArtefactError, match="drift"):
            load_aligner(Artefact.create(artefact.manifest, cut))
        if name != "drift.probe":
            less = {other: value for other, value in tensors.items() if other != name}
            with pytest.raises(ArtefactError, match=r"drift\.\w+\.mean.* or none of them"):
                load_aligner(Artefact.create(artefact.manifest, less))
    more = tensors | {"drift.later": np.zeros(3, dtype=np.float32)}
    assert load_aligner(Artefact.create(artefact.manifest, more)).reference is not None


def test_a_probe_is_asked_in_galleries_of_one_size(rng: np.random.Generator) -> None:
    """Recall@10 by brute force; what fills no gallery is left out; another size is another figure."""
    meaning = rng.normal(size=(100, 12))
    pairs = {
        Modality.IMAGE: canonical(meaning + 1.3 * rng.normal(size=meaning.shape)),
        Modality.TEXT: canonical(meaning + 1.3 * rng.normal(size=meaning.shape)),
    }
    keys = [f"{number:03}" for number in range(100)]
    whole = probe_recall(None, pairs, keys, gallery_count=100)
    scores = pairs[Modality.IMAGE] @ pairs[Modality.TEXT].T
    for found, table in ((whole.image_query, scores), (whole.text_query, scores.T)):
        assert found == pytest.approx(np.mean([row in np.argsort(-table[row])[:10] for row in range(100)]))
    small = probe_recall(None, pairs, keys, gallery_count=30)
    assert (small.pair_count, small.gallery_count) == (90, 30)
    assert small.recall > whole.recall
    assert probe_recall(None, pairs, keys).gallery_count == 50
    with pytest.raises(NotEnoughItemsError, match="100 held-out pairs, at least 101"):
        probe_recall(None, pairs, keys, gallery_count=101)


def test_a_fall_of_recall_must_be_large_and_sure() -> None:
    """5 points on 1,000 pairs is a breach; on 50 pairs it is chance; 4 points are never one; a rise is none."""

    def look(now: float, count: int) -> tuple[Breach, ...]:
        then = ProbeRecall(gallery_count=50, pair_count=count, image_query=0.9, text_query=0.9)
        probe = ProbeRecall(gallery_count=50, pair_count=count, image_query=now, text_query=now)
        figures = WatchFigures(pair_count=count, image_count=count, text_count=count, probe=probe, fit_probe=then)
        return find_breaches(figures, LIMITS)

    (breach,) = look(0.849, 1_000)
    assert (breach.cause, breach.limit) == ("probe_recall", 0.05)
    assert breach.figure == pytest.approx(0.051)
    assert look(0.849, 50) == look(0.86, 100_000) == look(0.99, 1_000) == ()


@needs(COCO)
def test_real_vectors_of_the_same_kind_breach_nothing_and_captions_in_place_of_photos_do() -> None:
    """CLIP vectors of COCO: 20 random halves are within the noise; captions sold as photos are not."""
    with np.load(COCO) as arrays:
        images, texts = canonical(arrays["image"]), canonical(arrays["text"])
    keys = [f"{number:03}" for number in range(250)]

    def pairs(rows: NDArray[np.intp], pictures: NDArray[np.float32]) -> RawPairs:
        named = [keys[row] for row in rows]
        return RawPairs(
            images=pictures[rows],
            texts=texts[rows],
            image_keys=named,
            text_keys=named,
            image_space=SPACE,
            text_space=SPACE,
        )

    worst = np.zeros(2)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(250)
        artefact, _ = fit_and_judge("center", pairs(order[:125], images), label=LABEL)
        aligner = load_aligner(artefact)
        found = watch_pairs(pairs(order[125:], images), aligner)
        assert find_breaches(found, LIMITS) == ()
        floors = [(one.mean.floors, one.spectrum.floors) for one in found.drift.values()]
        worst = np.maximum(worst, np.max(floors, axis=0))
    assert worst[0] < 1.5  # 1.16 measured
    assert worst[1] < 1.5  # 1.29 measured
    found = watch_pairs(pairs(order[125:], texts), aligner)
    assert WatchFigures.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    breaches = {one.cause: one for one in find_breaches(found, LIMITS)}
    assert {name: one.subject for name, one in breaches.items()} == {"mean": "image", "spectrum": "image"}
    assert breaches["mean"].figure > 1.0  # 1.26 measured


def test_no_reference_without_enough_pairs(make_pairs: MakePairs) -> None:
    """An artefact fitted to 15 pairs stays as it is; one without held-out pairs has clouds and no probe."""
    pairs = raw_pairs(make_pairs(count=100))
    few = pairs.with_keys(set(pairs.paired_keys[:15]))
    artefact = fit_artefact("center", pairs.fit_pairs(), label=LABEL)
    assert with_reference(artefact, learned=few, judged=None) is artefact
    reference = FitReference.from_tensors(with_reference(artefact, learned=pairs, judged=None).tensors)
    assert reference is not None
    assert reference.probe is None
