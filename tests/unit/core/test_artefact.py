"""Artefacts: sealed, verified on load, refused when anything is off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from isthmus.core import ArtefactError
from isthmus.core.aligners import MANIFEST_NAME, TENSORS_NAME, Artefact, Manifest
from isthmus.core.calibration import Calibration

SPACE = "clip@00112233445566aa"


def manifest(**changes: object) -> Manifest:
    """Return a valid manifest with some fields changed."""
    fields: dict[str, object] = {
        "aligner_id": "center-1",
        "method": "center",
        "image_space": SPACE,
        "text_space": SPACE,
        "dimension": 4,
        "created_by": "a test",
        "pair_count": 3,
        "seed": 0,
        "report": {"n": 3, "recall": {"t2i": {"r1": 0.5}}},
        "calibration": Calibration.default(),
    }
    return Manifest(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def artefact() -> Artefact:
    """An artefact of two small tensors."""
    mean = np.arange(4, dtype=np.float32)
    return Artefact.create(manifest(), {"image.mean": mean, "text.mean": -mean})


def test_bytes_come_back_as_the_same_artefact(artefact: Artefact) -> None:
    """Manifest, tensors and revision survive the trip through bytes."""
    again = Artefact.from_bytes(*artefact.to_bytes())
    assert again == artefact
    assert again.manifest == artefact.manifest
    assert again.revision == artefact.revision
    assert all((again.tensors[name] == artefact.tensors[name]).all() for name in artefact.tensors)


def test_a_folder_comes_back_as_the_same_artefact(artefact: Artefact, tmp_path: Path) -> None:
    """Saving and loading gives the same revision, and leaves nothing else in the parent folder."""
    artefact.save(tmp_path / "one")
    assert Artefact.load(tmp_path / "one", expected_revision=artefact.revision).manifest == artefact.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_the_revision_is_the_content(artefact: Artefact) -> None:
    """Equal content has an equal revision, another report or another tensor has another one."""
    mean = np.arange(4, dtype=np.float32)
    tensors = {"image.mean": mean, "text.mean": -mean}
    assert Artefact.create(manifest(), tensors).revision == artefact.revision
    assert Artefact.create(manifest(seed=1), tensors).revision != artefact.revision
    assert Artefact.create(manifest(), tensors | {"text.mean": mean}).revision != artefact.revision
    assert artefact.with_findings(calibration=None, report={}).revision != artefact.revision


def test_every_flipped_bit_of_the_tensors_is_found(artefact: Artefact) -> None:
    """No single flipped bit of `aligner.safetensors` loads."""
    text, tensors = artefact.to_bytes()
    for position in range(len(tensors)):
        damaged = bytearray(tensors)
        damaged[position] ^= 1 << (position % 8)
        with pytest.raises(ArtefactError):
            Artefact.from_bytes(text, bytes(damaged))


def test_every_flipped_bit_of_the_manifest_is_found(artefact: Artefact) -> None:
    """No single flipped bit of `manifest.json` loads: it holds its own revision."""
    text, tensors = artefact.to_bytes()
    for position in range(len(text)):
        for bit in range(8):
            damaged = bytearray(text)
            damaged[position] ^= 1 << bit
            with pytest.raises(ArtefactError):
                Artefact.from_bytes(bytes(damaged), tensors)


def test_a_cut_file_is_refused(artefact: Artefact) -> None:
    """Neither file loads when it is cut short, at any length."""
    text, tensors = artefact.to_bytes()
    for length in range(0, len(tensors), 7):
        with pytest.raises(ArtefactError):
            Artefact.from_bytes(text, tensors[:length])
    for length in range(0, len(text) - 2, 7):
        with pytest.raises(ArtefactError):
            Artefact.from_bytes(text[:length], tensors)


def test_files_of_two_artefacts_do_not_mix(artefact: Artefact) -> None:
    """Tensors of another artefact do not match the digest in the manifest."""
    other = Artefact.create(manifest(), {"image.mean": np.ones(4, dtype=np.float32)})
    with pytest.raises(ArtefactError, match="tensors: do not match the digest"):
        Artefact.from_bytes(artefact.to_bytes()[0], other.to_bytes()[1])


def test_a_header_over_one_mebibyte_is_refused_before_it_is_parsed(artefact: Artefact) -> None:
    """A safetensors header may not be larger than 1 MiB, digest or no digest."""
    names = {f"{'x' * 2000}{number}": np.zeros(1, dtype=np.float32) for number in range(600)}
    with pytest.raises(ArtefactError, match="header must be whole and at most 1048576 bytes"):
        Artefact.create(manifest(), names)


def test_a_manifest_over_one_mebibyte_is_refused() -> None:
    """The manifest has a limit of its own."""
    with pytest.raises(ArtefactError, match="at most 1048576"):
        Artefact.create(manifest(settings={"x": "y" * (1 << 20)}), {})


def test_a_missing_file_is_refused(artefact: Artefact, tmp_path: Path) -> None:
    """A folder without its tensors is no artefact."""
    artefact.save(tmp_path / "one")
    (tmp_path / "one" / TENSORS_NAME).unlink()
    with pytest.raises(ArtefactError, match=r"aligner\.safetensors cannot be read"):
        Artefact.load(tmp_path / "one")


def test_another_revision_than_expected_is_refused(artefact: Artefact, tmp_path: Path) -> None:
    """A whole artefact in the wrong place is still the wrong artefact."""
    artefact.save(tmp_path / "one")
    with pytest.raises(ArtefactError, match="not the expected one"):
        Artefact.load(tmp_path / "one", expected_revision="0" * 16)


def test_saving_touches_no_folder_that_holds_something_else(artefact: Artefact, tmp_path: Path) -> None:
    """A folder of the user's is refused and stays as it is; the same artefact again is fine."""
    artefact.save(tmp_path / "one")
    artefact.save(tmp_path / "one")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("precious")
    with pytest.raises(FileExistsError):
        artefact.save(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("aligner_id", "Not A Name"),
        ("method", "../evil"),
        ("image_space", "clip"),
        ("text_space", "clip@xyz"),
        ("dimension", 0),
        ("dimension", True),
        ("dimension", 4.0),
        ("pair_count", -1),
        ("seed", "0"),
    ],
)
def test_a_malformed_field_is_refused_by_name(field: str, value: object) -> None:
    """A manifest that was wrong from the beginning is refused although its digest fits."""
    with pytest.raises(ArtefactError, match=f"manifest: {field} "):
        Artefact.create(manifest(**{field: value}), {})


def test_an_unknown_field_is_refused(artefact: Artefact) -> None:
    """A field that this version does not know cannot be ignored: it might matter."""
    document = json.loads(artefact.to_bytes()[0])
    document["extra"] = 1
    with pytest.raises(ArtefactError):
        Artefact.from_bytes(json.dumps(document).encode(), artefact.to_bytes()[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    """Neither a report nor a tensor may hold NaN or Inf."""
    with pytest.raises(ArtefactError):
        Artefact.create(manifest(report={"r1": bad}), {})
    with pytest.raises(ArtefactError, match="finite"):
        Artefact.create(manifest(), {"image.mean": np.array([bad], dtype=np.float32)})


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'])
def test_bytes_that_are_no_manifest_are_refused(text: bytes, artefact: Artefact) -> None:
    """Whatever comes from outside ends in one error class."""
    with pytest.raises(ArtefactError):
        Artefact.from_bytes(text, artefact.to_bytes()[1])


def test_tensors_other_than_floats_are_refused() -> None:
    """Only float16 and float32 hold an aligner."""
    with pytest.raises(ArtefactError, match="float16 or float32"):
        Artefact.create(manifest(), {"image.mean": np.arange(4)})  # type: ignore[dict-item]


def test_no_tensor_can_be_changed_after_loading(artefact: Artefact) -> None:
    """What was verified stays what it was."""
    with pytest.raises(ValueError, match="read-only"):
        artefact.tensors["image.mean"][0] = 1.0


def test_the_manifest_file_is_json_with_its_revision(artefact: Artefact, tmp_path: Path) -> None:
    """People and tools can read the manifest without Isthmus."""
    artefact.save(tmp_path / "one")
    document = json.loads((tmp_path / "one" / MANIFEST_NAME).read_text())
    assert document["revision"] == artefact.revision
    assert artefact.space == f"center-1@{artefact.revision}"
