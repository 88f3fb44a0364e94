"""`isthmus measure` and `isthmus compare encoders` on files, with no mesh behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.core.gap import measure_gap
from tests.unit.cli.conftest import Isthmus


def write(name: str, *, count: int = 60, noise: float = 0.6, **more: Any) -> dict[str, Any]:
    """Write a file of pairs with a gap, and return its arrays."""
    rng = np.random.default_rng(4)
    meaning = rng.normal(size=(count, 8))
    arrays: dict[str, Any] = {
        "image": (meaning + noise * rng.normal(size=meaning.shape) + 1).astype(np.float32),
        "text": (meaning + noise * rng.normal(size=meaning.shape) - 1).astype(np.float32),
    }
    arrays |= more
    np.savez(name, **arrays)
    return arrays


def test_the_document_is_the_report_of_the_numerics(isthmus: Isthmus) -> None:
    """One JSON document with the promised keys, equal to what `measure_gap` gives for the same seed."""
    arrays = write("pairs.npz")
    done = isthmus("measure", "--embeddings", "pairs.npz", "--seed", 3, "--sample", 32, "--json")
    assert done.status == 0, done.stderr
    found = done.json()
    assert found == measure_gap(arrays["image"], arrays["text"], seed=3, sample_limit=32).to_dict()
    assert (found["n"], found["sample_count"], found["seed"]) == (60, 32, 3)
    assert {"centroid", "rmg", "fid", "sliced_w2", "separability", "itr", "tir", "tmr", "imr"} <= set(found["gap"])
    assert {"hubness", "paired_cosine"} <= set(found["gap"])
    assert set(found["recall"]["t2i"]) == {"r1", "r5", "r10"}


def test_people_read_values_with_intervals_and_what_they_mean(isthmus: Isthmus) -> None:
    """One line a measure with its interval, floor and reading, then retrieval, then what it was taken from."""
    write("pairs.npz")
    done = isthmus("measure", "--embeddings", "pairs.npz", "--sample", 32, "--distances")
    assert done.status == 0, done.stderr
    for words in ("centroid gap", "…", "noise floor", "ITR", "find their own modality first", "rSum", "chi-square"):
        assert words in done.stdout
    assert "60 pairs (60 images, 60 texts), costly measures on 32 of them, seed 0" in done.stderr


def test_captions_of_one_photo_pair_by_key(isthmus: Isthmus) -> None:
    """A row a caption with the photo repeated, or photos and captions of their own keys: the same figures."""
    rng = np.random.default_rng(0)
    keys = np.repeat([f"photo-{number}" for number in range(40)], 3)
    photos = rng.normal(size=(40, 8)).astype(np.float32)
    captions = np.repeat(photos, 3, axis=0) + rng.normal(size=(120, 8)).astype(np.float32)
    np.savez("rows.npz", image=np.repeat(photos, 3, axis=0), text=captions, pair_key=keys)
    np.savez("keys.npz", image=photos, text=captions, image_pair_key=keys[::3], text_pair_key=keys)
    one, other = (isthmus("measure", "--embeddings", name, "--json") for name in ("rows.npz", "keys.npz"))
    assert one.json() == other.json()
    assert (one.json()["n"], one.json()["image_count"], one.json()["text_count"]) == (40, 40, 120)
    assert "80 rows repeat an image" in one.stderr


def test_labels_are_judged_where_the_file_has_them(isthmus: Isthmus) -> None:
    """Clusters in the label and in the modality; with a vector a label, zero-shot accuracy; without names a refusal."""
    rng = np.random.default_rng(0)
    labels = np.array(["cat", "dog"] * 30)
    classes = np.where(labels[:, None] == "cat", np.eye(8)[0], np.eye(8)[1])
    image, text = (classes + 0.1 * rng.normal(size=(2, 60, 8))).astype(np.float32)
    write("pairs.npz", image=image, text=text, label=labels, label_name=["cat", "dog"], label_vector=np.eye(8)[:2])
    measures = isthmus("measure", "--embeddings", "pairs.npz", "--json").json()["measures"]
    assert measures["zero_shot"]["accuracy"]["value"] == 1.0
    assert measures["homogeneity"]["by_label"] == pytest.approx(1.0)
    shown = isthmus("measure", "--embeddings", "pairs.npz").stdout
    assert "zero-shot accuracy" in shown
    assert "clusters by modality" in shown
    write("nameless.npz", label=labels, label_vector=np.eye(8)[:2])
    assert "label_name must have one name" in isthmus("measure", "--embeddings", "nameless.npz").stderr


def test_a_refused_row_keeps_its_number_when_photos_repeat(isthmus: Isthmus) -> None:
    """Rows that repeat a photo are left out, but never before the others are counted."""
    image = np.repeat(np.random.default_rng(0).normal(size=(20, 4)), 3, axis=0)
    image[41] = 0.0
    keys = np.repeat(np.arange(20), 3)
    np.savez("pairs.npz", image=image, text=image + 1.0, pair_key=keys)
    assert "row 41 of image has zero length" in isthmus("measure", "--embeddings", "pairs.npz").stderr


def test_two_spaces_are_measured_by_what_needs_no_cosine(isthmus: Isthmus) -> None:
    """Texts of another dimension: the overlap of neighbours stands, the rest is null with its reason."""
    write("pairs.npz", text=np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    found = isthmus("measure", "--embeddings", "pairs.npz", "--json").json()
    assert found["gap"]["neighbor_overlap"] > 0
    assert found["gap"]["centroid"] is None
    assert "fit an aligner" in found["missing"]["centroid"]
    shown = isthmus("measure", "--embeddings", "pairs.npz")
    assert shown.status == 0
    assert "not measured: centroid" in shown.stderr


def _spoilt(row: int, value: float) -> Any:
    rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    rows[row] = value
    return rows


@pytest.mark.parametrize(
    ("more", "reason", "message"),
    [
        ({"image": _spoilt(7, 0.0)}, "INVALID_VECTOR", "row 7 of image has zero length"),
        ({"text": _spoilt(9, float("nan"))}, "INVALID_VECTOR", "row 9 of text holds a value that is not finite"),
        ({"image": _spoilt(0, 1.0)[:10], "text": _spoilt(0, 1.0)[:10]}, "NOT_ENOUGH_PAIRS", "at least 16"),
        ({"image": _spoilt(0, 1.0)[:50]}, "INVALID_DATA", "50 images and 60 texts cannot pair row by row"),
        ({"image": np.arange(60)}, "INVALID_DATA", "image must be (n, d) floats"),
        ({"pair_key": np.arange(7)}, "INVALID_DATA", "pair_key must have a key for each of 60 rows"),
        ({"label": np.arange(7)}, "INVALID_DATA", "label must have one for each of 60 images"),
    ],
)
def test_what_cannot_be_measured_is_one_line(more: dict[str, Any], reason: str, message: str, isthmus: Isthmus) -> None:
    """Status 1, a line that names array, row or number, and with --json the same as a document."""
    write("pairs.npz", **more)
    done = isthmus("measure", "--embeddings", "pairs.npz")
    assert (done.status, done.stdout) == (1, "")
    assert message in done.stderr
    assert f"({reason})" in done.stderr
    assert isthmus("measure", "--embeddings", "pairs.npz", "--json").json()["error"]["reason"] == reason


def test_files_that_are_none_are_refused(isthmus: Isthmus) -> None:
    """Not there, not an npz, or without one of the modalities."""
    Path("words.npz").write_text("no archive")
    np.savez("half.npz", image=np.ones((20, 3)))
    for name, reason in (
        ("nowhere.npz", "UNREADABLE_FILE"),
        ("words.npz", "INVALID_DATA"),
        ("half.npz", "INVALID_DATA"),
    ):
        done = isthmus("measure", "--embeddings", name)
        assert (done.status, done.stdout) == (1, "")
        assert f"({reason})" in done.stderr
    assert "no array text; it has image" in isthmus("measure", "--embeddings", "half.npz").stderr
    assert isthmus("measure", "--embeddings", "half.npz", "--sample", 3).status == 2


def test_encoders_are_compared_side_by_side(isthmus: Isthmus) -> None:
    """Every measure of each, who is ahead by how much, and which to build on."""
    write("blurred.npz", noise=2.0)
    write("sharp.npz", noise=0.5)
    done = isthmus("compare", "encoders", "--embeddings", "blurred.npz", "sharp.npz")
    assert done.status == 0, done.stderr
    assert "Encoders, best recall first" in done.stdout
    assert "build on sharp: sharp finds clearly more matches" in done.stderr
    found = isthmus("compare", "encoders", "--embeddings", "blurred.npz", "--embeddings", "sharp.npz", "--json").json()
    assert found["choice"]["chosen"] == "sharp"
    assert found["choice"]["ahead_of"][0]["paired"] is True
    assert set(found["encoders"]) == {"blurred", "sharp"}
    assert found["encoders"]["sharp"]["gap"]["centroid"] > 0


def test_a_comparison_needs_two_files_of_different_names(isthmus: Isthmus) -> None:
    """One file, or two of one name, is a usage error."""
    write("one.npz")
    done = isthmus("compare", "encoders", "--embeddings", "one.npz")
    assert (done.status, "at least 2" in done.stderr) == (2, True)
    assert isthmus("compare", "encoders", "--embeddings", "one.npz", "one.npz").status == 2
