"""The report that gathers all measures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from isthmus.core import Modality
from isthmus.core.gap import centroid_gap, measure_gap
from tests.harness.shared import SHARED_DATA, needs
from tests.unit.core.gap.conftest import Small

CLIP_COCO = SHARED_DATA / "clip_coco" / "clip_vitb16_coco_val2017_250.npz"
PROMISED = [
    "centroid", "rmg", "fid", "sliced_w2", "separability", "itr", "tir", "tmr", "imr", "hubness", "paired_cosine",
]  # fmt: skip


def test_the_report_is_one_json_document_with_the_promised_keys(small_corpus: Callable[..., Small]) -> None:
    """`gap` holds a number a measure; `measures` the interval, sample and seed of each; the rest as in `evaluate`."""
    corpus = small_corpus(60, 3).corpus
    report = measure_gap(
        corpus.images,
        corpus.texts,
        image_keys=corpus.keys[Modality.IMAGE],
        text_keys=corpus.keys[Modality.TEXT],
        image_labels=["even" if row % 2 else "odd" for row in range(60)],
        label_vectors={"even": corpus.texts[0], "odd": corpus.texts[1]},
        seed=5,
        sample_limit=40,
        distances=True,
    )
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (document["n"], document["image_count"], document["text_count"]) == (60, 60, 180)
    assert all(isinstance(document["gap"][name], float) for name in PROMISED)
    assert set(document["recall"]) == {"t2i", "i2t"}
    assert set(document["mixed"]["image_query"]) == {"r1", "r10", "r20", "ndcg10", "own_share"}
    assert document["missing"] == {}
    for name, measure in document["measures"].items():
        assert measure["seed"] == 5, name
        assert measure["sampled"] == (measure["n"] == 40), name
    assert {"distances", "homogeneity", "zero_shot", "histograms"} <= document["measures"].keys()
    assert document["measures"]["fid"]["sampled"]
    assert not document["measures"]["centroid"]["sampled"]
    assert document["measures"]["retrieval"]["t2i"]["query_count"] == 180


def test_the_report_holds_what_each_measure_gives(small_corpus: Callable[..., Small]) -> None:
    """Gathered, not recomputed in another way; the same seed gives the same report."""
    small = small_corpus(40)
    report = measure_gap(small.corpus.images, small.corpus.texts, seed=1)
    balanced = measure_gap(small.corpus.images, small.corpus.texts, seed=1)
    assert report.to_dict() == balanced.to_dict()
    assert report.centroid is not None
    alone = centroid_gap(small.corpus, bootstrap=small.bootstrap, seed=1)
    assert report.centroid.distance.value == pytest.approx(alone.distance.value)


def test_two_spaces_leave_what_needs_no_cosine_between_them(small_corpus: Callable[..., Small]) -> None:
    """Images of 12 and texts of 5 dimensions: neighbours overlap as ever, the others say what is missing."""
    corpus = small_corpus(60).corpus
    report = measure_gap(corpus.images, corpus.texts[:, :5])
    assert report.neighbor_overlap is not None
    overlap = report.neighbor_overlap.overlap
    assert overlap.noise_floor is not None
    assert overlap.low > overlap.noise_floor  # .272 against .169 measured
    assert report.centroid is None
    assert report.retrieval is None
    document = report.to_dict()
    assert document["gap"]["centroid"] is None
    assert document["gap"]["neighbor_overlap"] > 0
    assert "recall" not in document
    assert set(document["missing"]) == {
        "centroid", "rmg", "paired_cosine", "fid", "sliced_w2", "mmd", "separability", "histograms", "sinkhorn",
        "heterogeneity", "uniformity", "hubness", "retrieval",
    }  # fmt: skip
    assert all("fit an aligner" in reason for reason in document["missing"].values())


@needs(CLIP_COCO)
def test_the_gap_of_real_clip_vectors() -> None:
    """250 COCO pairs through CLIP ViT-B/16: a full gap beside healthy recall, as an independent reference measured."""
    with np.load(CLIP_COCO) as arrays:
        report = measure_gap(arrays["image"], arrays["text"])
    gap = report.headline()
    assert gap["centroid"] == pytest.approx(0.853, abs=5e-4)  # .8530 measured, .853 elsewhere
    assert gap["separability"] == 1.0
    assert (gap["itr"], gap["tir"]) == (250.0, 250.0)
    assert report.heterogeneity is not None
    assert report.heterogeneity.image_query.saturated
    assert gap["tmr"] == pytest.approx(248.3, abs=0.1)
    assert gap["paired_cosine"] == pytest.approx(0.310, abs=1e-3)
    assert report.retrieval is not None
    assert report.retrieval.i2t.recall.r1 == pytest.approx(0.66)
    assert report.retrieval.i2t.mixed.r20 == 0.0
    assert report.retrieval.t2i.mixed.own_share == 1.0


@needs(CLIP_COCO)
def test_ten_splits_of_clip_recall_are_those_of_the_reference() -> None:
    """The last 125 of each seeded permutation: i2t R@1 73.8 %, t2i 70.6 %, mixed 0, in percent within rounding."""
    with np.load(CLIP_COCO) as arrays:
        images, texts = arrays["image"], arrays["text"]
    found = []
    for seed in range(10):
        test = np.random.default_rng(seed).permutation(250)[125:]
        retrieval = measure_gap(images[test], texts[test], sample_limit=16).retrieval
        assert retrieval is not None
        found.append([retrieval.i2t.recall.r1, retrieval.t2i.recall.r1, retrieval.i2t.mixed.r20])
    assert 100 * np.mean(found, axis=0) == pytest.approx([73.8, 70.6, 0.0], abs=0.05)


def test_measuring_loads_no_deep_learning_library() -> None:
    """POT takes torch where it finds it; a report is made without, in a process that would show it."""
    code = (
        "import sys, numpy as np; from isthmus.core.gap import measure_gap;"
        "x = np.random.default_rng(0).normal(size=(2, 20, 4));"
        "assert measure_gap(*x).sinkhorn is not None; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "ot" in loaded
    assert not {"torch", "jax", "tensorflow", "cupy"} & set(loaded)
