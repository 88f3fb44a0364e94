"""The demo's photographs: which are taken, what was written about them, and the copies made of them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tools.demo.pictures import CAPTIONS_FILE, load_pictures, mirrored_crop, thumbnail

_WRITTEN_BEFORE_THE_FIRST_RUN = "39c3cbcf05181014238d0b27a29d5e82ea4da8b8e42a8291c4dfff42888c9e6f"


def _captions_file(folder: Path, **changes: object) -> Path:
    """Write a captions file of one line: the first real one with some keys replaced, or removed when None."""
    entry = json.loads(CAPTIONS_FILE.read_text(encoding="utf-8").splitlines()[0]) | changes
    file = folder / "captions.jsonl"
    file.write_text(json.dumps({k: v for k, v in entry.items() if v is not None}) + "\n", encoding="utf-8")
    return file


def test_captions_are_the_ones_written_before_the_first_run() -> None:
    """No caption may be tuned to a result: the file's digest is the one it had before any model saw a picture."""
    assert hashlib.sha256(CAPTIONS_FILE.read_bytes()).hexdigest() == _WRITTEN_BEFORE_THE_FIRST_RUN


def test_every_described_photograph_is_in_the_installed_wheels() -> None:
    """The wheels that the project pins carry all 21 pictures, byte for byte as they were described."""
    selection = load_pictures()
    assert selection.left_out == ()
    assert len(selection.pictures) == 21
    assert len({p.key for p in selection.pictures}) == 21


def test_no_sentence_is_used_twice() -> None:
    """The 63 captions differ, so that a sentence has one right photograph."""
    captions = [c for p in load_pictures().pictures for c in p.captions]
    assert len(captions) == 63
    assert len(set(captions)) == 63


def test_item_ids_are_distinct_and_name_their_picture() -> None:
    """Photographs and sentences share one collection, so all 84 ids differ."""
    pictures = load_pictures().pictures
    ids = [i for p in pictures for i in (p.image_id, *p.caption_ids())]
    assert len(set(ids)) == 84
    assert all(p.path.name in i for p in pictures for i in (p.image_id, *p.caption_ids()))


def test_a_picture_that_differs_from_the_described_one_is_left_out(tmp_path: Path) -> None:
    """A wheel with another picture under the same name is noticed by the digest, and said."""
    selection = load_pictures(_captions_file(tmp_path, sha256="0" * 64))
    assert selection.pictures == ()
    assert selection.left_out == (
        ("skimage/data/astronaut.png", "the installed scikit-image carries another picture by this name"),
    )


@pytest.mark.parametrize("file", ["skimage/data/nothing.png", "nopackage/nothing.png"])
def test_a_picture_that_is_not_installed_is_left_out(tmp_path: Path, file: str) -> None:
    """A missing file and a missing package are both left out with the reason."""
    selection = load_pictures(_captions_file(tmp_path, file=file))
    assert selection.left_out == ((file, "not carried by the installed scikit-image"),)


@pytest.mark.parametrize("captions", [["one", "two"], ["one", "two", "two"], ["one", "two", "three", "four"]])
def test_other_than_three_different_captions_are_refused(tmp_path: Path, captions: list[str]) -> None:
    """Three different captions a picture is the rule of the set; the error names the line."""
    with pytest.raises(ValueError, match=r"line 1: .* needs 3 different ones"):
        load_pictures(_captions_file(tmp_path, captions=captions))


def test_a_line_without_a_key_is_refused(tmp_path: Path) -> None:
    """The error names the line and the key that it lacks."""
    with pytest.raises(ValueError, match="line 1: lacks sha256"):
        load_pictures(_captions_file(tmp_path, sha256=None))


def test_mirrored_crop_is_the_middle_of_the_picture_mirrored() -> None:
    """The crop equals the mirrored middle 70 %, up to what JPEG loses."""
    path = next(p.path for p in load_pictures().pictures if p.key == "chelsea")
    with Image.open(path) as whole:  # 451 x 300
        wanted = ImageOps.mirror(whole.convert("RGB").crop((68, 45, 383, 255)))
    with Image.open(io.BytesIO(mirrored_crop(path))) as made:
        assert made.format == "JPEG"
        assert made.size == wanted.size == (315, 210)
        difference = np.abs(np.asarray(made, dtype=float) - np.asarray(wanted, dtype=float)).mean()
    assert difference < 5  # measured 3.1 of 255; against the same crop unmirrored 37.8


def test_thumbnail_is_a_small_jpeg_inside_its_address() -> None:
    """The address decodes to a JPEG no longer than asked, with the size that is stated."""
    path = next(p.path for p in load_pictures().pictures if p.key == "retina")
    small = thumbnail(path, side_px=120)
    head, _, body = small.uri.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(body, validate=True))) as made:
        assert made.size == (small.width_px, small.height_px) == (120, 120)


def test_thumbnail_never_enlarges() -> None:
    """A picture of 102 x 102 pixels keeps its size, given as a file's bytes too."""
    path = next(p.path for p in load_pictures().pictures if p.key == "microaneurysms")
    small = thumbnail(path.read_bytes(), side_px=240)
    assert (small.width_px, small.height_px) == (102, 102)
