"""Reading photos with captions from parquet."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isthmus.training.data import TrainingDataError, read_pairs


def picture(colour: str, *, fmt: str = "PNG", **options: Any) -> bytes:
    """Return a small picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (8, 4), colour).save(file, fmt, **options)
    return file.getvalue()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as parquet."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_hugging_face_file_is_read(tmp_path: Path) -> None:
    """Structs of bytes and path, lists of captions; the path is the pair key, blank captions are left out."""
    rows = [
        {"image": {"bytes": picture("red"), "path": "a.png"}, "captions": ["a red thing", " ", "red"]},
        {"image": {"bytes": picture("blue"), "path": "b.png"}, "captions": ["blue"]},
    ]
    data = read_pairs([write(tmp_path / "x.parquet", rows)])
    assert data.pair_keys == ["a.png", "b.png"]
    assert data.captions == [["a red thing", "red"], ["blue"]]
    assert [image.getpixel((0, 0)) for image in data.pictures()] == [(255, 0, 0), (0, 0, 255)]


def test_plain_bytes_and_one_text_are_read(tmp_path: Path) -> None:
    """Without a path the key is the place in the file; a folder is read in the order of its files' names."""
    write(tmp_path / "2.parquet", [{"image": picture("blue"), "text": "blue"}])
    write(tmp_path / "1.parquet", [{"image": picture("red"), "caption": "red"}])
    data = read_pairs([tmp_path])
    assert data.captions == [["red"], ["blue"]]
    assert data.pair_keys == ["1.parquet:0", "2.parquet:0"]


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    """What a camera notes in EXIF is what a person sees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = read_pairs(
        [write(tmp_path / "x.parquet", [{"image": picture("red", fmt="JPEG", exif=exif), "text": "red"}])]
    )
    assert next(data.pictures()).size == (4, 8)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"picture": b"x", "text": "a"}], "needs a column image"),
        ([{"image": b"x", "words": "a"}], "needs a column image and one of captions, caption, text"),
        ([{"image": b"", "text": "a"}], "row 0 has no image bytes or no caption"),
        ([{"image": b"x", "captions": ["", " "]}], "row 0 has no image bytes or no caption"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(rows: list[dict[str, Any]], problem: str, tmp_path: Path) -> None:
    """File, row and reason are named: this is a person's own file."""
    with pytest.raises(TrainingDataError, match=problem):
        read_pairs([write(tmp_path / "x.parquet", rows)])


def test_no_file_and_no_parquet_are_refused(tmp_path: Path) -> None:
    """An empty folder, a missing file and a file of something else each say so."""
    with pytest.raises(TrainingDataError, match="no parquet file"):
        read_pairs([tmp_path])
    with pytest.raises(TrainingDataError, match="cannot be read as parquet"):
        read_pairs([tmp_path / "none.parquet"])
    (tmp_path / "x.parquet").write_text("words")
    with pytest.raises(TrainingDataError, match="cannot be read as parquet"):
        read_pairs([tmp_path / "x.parquet"])


def test_a_broken_photo_is_named_by_its_row(tmp_path: Path) -> None:
    """Decoding happens while encoding; the row is enough to find it."""
    rows = [{"image": picture("red"), "text": "a"}, {"image": picture("red")[:30], "text": "b"}]
    data = read_pairs([write(tmp_path / "x.parquet", rows)])
    with pytest.raises(TrainingDataError, match="photo 1 cannot be decoded"):
        list(data.pictures())
