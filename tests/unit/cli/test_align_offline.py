"""`isthmus align fit|verify|compare` on a file of embeddings: no mesh is running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.core import canonical
from isthmus.core.aligners import FITTED_METHODS, Artefact
from isthmus.core.aligners.reference import without_reference
from tests.unit.cli.conftest import Isthmus

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of 600 pairs with a gap, or a changed one."""

    def made(name: str = "pairs.npz", *, count: int = 600, text_dimension: int = 24, **changes: Any) -> Path:
        rng = np.random.default_rng(0)
        meaning, gap = rng.normal(size=(count, 24)), rng.normal(size=24)
        images = canonical(meaning + 0.4 * rng.normal(size=meaning.shape) + gap)
        texts = meaning + 0.4 * rng.normal(size=meaning.shape) - gap
        if text_dimension != 24:
            texts = texts @ rng.normal(size=(24, text_dimension))
        np.savez(tmp_path / name, **({"image": images, "text": canonical(texts)} | changes))
        return tmp_path / name

    return made


def test_an_aligner_is_fitted_verified_and_loaded(isthmus: Isthmus, write: Write, tmp_path: Path) -> None:
    """The artefact verifies, and `align verify` on the same file judges on the same held-out pairs."""
    pairs = write()
    fitted = isthmus(
        "align", "fit", "--method", "center", "--strength", "0.9", "--out", "made", "--embeddings", pairs, "--json"
    ).json()
    artefact = Artefact.load(tmp_path / "made")
    assert fitted["aligner"] == artefact.space
    assert artefact.manifest.settings["strength"] == 0.9
    verified = isthmus("align", "verify", "--aligner", "made", "--embeddings", pairs, "--json").json()
    assert set(verified) == {"aligner", "against", "before", "after", "guard", "calibration"}
    assert verified["guard"] == fitted["guard"]
    assert verified["guard"]["ok"] is True
    assert verified["guard"]["reasons"] == []
    assert verified["after"]["mixed"]["text_query"]["r10"] > verified["before"]["mixed"]["text_query"]["r10"]
    assert 0.0 < verified["calibration"]["ece"] < 0.1  # .02 measured
    every = isthmus("align", "verify", "--aligner", "made", "--embeddings", pairs, "--all-pairs", "--json").json()
    assert every["guard"]["n"] == 600


def test_a_fit_on_top_of_an_aligner_keeps_its_maps(isthmus: Isthmus, write: Write, tmp_path: Path) -> None:
    """It is judged against the aligner that it is built on, and says which that was."""
    pairs = write()
    base = isthmus("align", "fit", "--method", "center", "--out", "base", "--embeddings", pairs, "--json").json()
    made = isthmus(
        "align", "fit", "--on-top-of", "base", "--hubness", "--out", "made", "--embeddings", pairs, "--json"
    ).json()
    artefact = Artefact.load(tmp_path / "made")
    assert (artefact.manifest.method, artefact.manifest.settings["on_top_of"]) == ("center", base["aligner"])
    assert without_reference(artefact.tensors).keys() == {"image.mean", "text.mean", "hubness.image", "hubness.text"}
    assert made["against"] == base["aligner"]
    assert made["before"] == base["after"]


def test_people_see_a_table_and_the_verdict(isthmus: Isthmus, write: Write) -> None:
    """Before and after on stdout; the guard's word and the next step on stderr."""
    done = isthmus("align", "fit", "--method", "center", "--embeddings", write())
    assert (done.status, "before" in done.stdout, "center" in done.stdout) == (0, True, True)
    assert "the guard lets it pass" in done.stderr
    assert "isthmus align import center" in done.stderr
    shown = isthmus("align", "verify", "--aligner", "center", "--embeddings", write())
    assert "nDCG@10" in shown.stdout


def test_methods_are_compared_on_the_same_pairs(isthmus: Isthmus, write: Write) -> None:
    """Every method is judged or says why not; one that breaks the guard is told with its figures."""
    found = isthmus("align", "compare", "--embeddings", write(), "--json").json()
    assert set(found["methods"]) | set(found["refused"]) == set(FITTED_METHODS)
    assert found["methods"]["identity"]["guard"]["ok"] is False
    assert found["methods"]["center"]["guard"]["ok"] is True
    assert set(found["refused"]) == {"spectral"}  # 60 dimensions of 24
    done = isthmus("align", "compare", "--methods", "center,identity", "--embeddings", write())
    assert "passes" in done.stdout
    assert "identity: nDCG@10 over both modalities: -0.0" in done.stderr


def test_two_encoders_are_joined(isthmus: Isthmus, write: Write) -> None:
    """Texts of another dimension: methods of one space say so, the others are judged."""
    found = isthmus("align", "compare", "--embeddings", write(text_dimension=18), "--hubness", "--json").json()
    assert set(found["methods"]) == {"procrustes", "cca", "ridge"}
    assert all("one raw space" in reason for reason in found["refused"].values())


@pytest.mark.parametrize(
    ("changes", "options", "reason", "says"),
    [
        ({"count": 70}, ["--method", "spectral"], "INVALID_OPTION", "dimension"),
        ({"count": 40}, ["--method", "cca", "--dimension", "24"], "NOT_ENOUGH_PAIRS", "at least 48"),
        ({"count": 20}, ["--method", "center"], "NOT_ENOUGH_PAIRS", "add pairs"),
        ({}, ["--method", "ridge", "--strength", "0.5"], "INVALID_OPTION", "ridge has none"),
        ({}, ["--method", "magic"], "INVALID_OPTION", "must be one of"),
        ({"text": np.zeros((600, 24), np.float32)}, ["--method", "center"], "INVALID_VECTOR", "row 0 has zero length"),
        ({"text": np.full((600, 24), np.nan)}, ["--method", "center"], "INVALID_VECTOR", "not finite"),
        ({"text_dimension": 18}, ["--method", "center"], "SPACE_MISMATCH", "one raw space"),
        (
            {"image_space": np.array(["clip@00112233"] * 300 + ["clip@44556677"] * 300)},
            ["--method", "center"],
            "SPACE_MISMATCH",
            "2 encoder revisions; embed all",
        ),
        (
            {"text_space": np.array("minilm@00112233")},
            ["--method", "center"],
            "SPACE_MISMATCH",
            "one raw space",
        ),
    ],
)
def test_bad_input_says_what_to_do(
    isthmus: Isthmus, write: Write, tmp_path: Path, changes: dict[str, Any], options: list[str], reason: str, says: str
) -> None:
    """A typed reason, one line for people, and no artefact."""
    done = isthmus("align", "fit", *options, "--out", "made", "--embeddings", write(**changes), "--json")
    assert done.status == 1
    error = done.json()["error"]
    assert error["reason"] == reason
    assert says in error["message"]
    assert not (tmp_path / "made").exists()


def test_a_missing_modality_is_refused(isthmus: Isthmus, tmp_path: Path) -> None:
    """A file of images alone has no pairs."""
    np.savez(tmp_path / "images.npz", image=np.ones((4, 3), np.float32))
    done = isthmus("align", "fit", "--method", "center", "--embeddings", tmp_path / "images.npz", "--json")
    assert (done.status, done.json()["error"]["reason"]) == (1, "INVALID_DATA")
    assert "no array text" in done.stderr


def test_a_flipped_bit_is_refused(isthmus: Isthmus, write: Write, tmp_path: Path) -> None:
    """A damaged artefact is never judged."""
    pairs = write()
    isthmus("align", "fit", "--method", "center", "--out", "made", "--embeddings", pairs)
    tensors = tmp_path / "made" / "aligner.safetensors"
    damaged = bytearray(tensors.read_bytes())
    damaged[-1] ^= 1
    tensors.write_bytes(bytes(damaged))
    done = isthmus("align", "verify", "--aligner", "made", "--embeddings", pairs, "--json")
    assert (done.status, done.json()["error"]["reason"]) == (1, "INVALID_ALIGNER")
    assert "do not match the digest" in done.stderr


def test_slips_are_usage_errors(isthmus: Isthmus, write: Write, tmp_path: Path) -> None:
    """A folder that is there, and a method that is not."""
    (tmp_path / "made").mkdir()
    done = isthmus("align", "fit", "--method", "center", "--out", "made", "--embeddings", write())
    assert (done.status, "--out" in done.stderr) == (2, True)
    done = isthmus("align", "compare", "--methods", "center,magic", "--embeddings", write())
    assert (done.status, "--methods: magic" in done.stderr) == (2, True)


def test_a_repeated_image_is_kept_once(isthmus: Isthmus, write: Write) -> None:
    """Five captions of a photo, row by row: one photo, and a note that says so."""
    rng = np.random.default_rng(1)
    images = np.repeat(canonical(rng.normal(size=(200, 24))), 3, axis=0)
    keys = np.repeat([f"photo-{number}" for number in range(200)], 3)
    pairs = write(image=images, text=canonical(images + 0.1 * rng.normal(size=images.shape)), pair_key=keys)
    done = isthmus("align", "compare", "--methods", "identity", "--embeddings", pairs, "--json")
    assert done.status == 0
    assert "400 rows repeat an image" in done.stderr
