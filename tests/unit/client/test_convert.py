"""Images, vectors and attributes in every form a person has them in."""

from __future__ import annotations

import builtins
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from isthmus.client import Input, Item, SpacedVector
from isthmus.client.convert import (
    attribute_message,
    image_bytes,
    modality_name,
    spaced_vector_message,
    vector_message,
    vector_rows,
)
from isthmus.v1 import common_pb2


def _pixels(*shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_files_are_sent_as_they_are(tmp_path: Path) -> None:
    """Bytes in three forms, a path and a str all give the same bytes."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"jpeg")
    for given in (b"jpeg", bytearray(b"jpeg"), memoryview(b"jpeg"), path, str(path)):
        assert image_bytes(given) == b"jpeg"


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_an_array_travels_without_loss(shape: tuple[int, ...]) -> None:
    """Grey, RGB and RGBA arrays come out of the PNG exactly as they were."""
    pixels = _pixels(*shape)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image_bytes(pixels)))), pixels)


def test_a_pillow_image_travels_without_loss() -> None:
    """Modes that PNG has are kept, any other becomes RGB."""
    image = Image.fromarray(_pixels(5, 7, 3))
    sent = Image.open(io.BytesIO(image_bytes(image)))
    assert sent.tobytes() == image.tobytes()
    assert Image.open(io.BytesIO(image_bytes(image.convert("CMYK")))).mode == "RGB"


def test_a_pillow_image_keeps_its_orientation() -> None:
    """A photograph that was opened and not turned is sent with the orientation its file had."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(_pixels(5, 7, 3)).save(buffer, "JPEG", exif=exif)
    sent = Image.open(io.BytesIO(image_bytes(Image.open(buffer))))
    assert sent.getexif()[ExifTags.Base.Orientation] == 6


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros(4, np.uint8)]
)
def test_an_array_that_is_no_image_is_refused_here(wrong: np.ndarray[Any, Any]) -> None:
    """Floats, two channels, one dimension: the message names dtype and shape."""
    with pytest.raises(ValueError, match=f"this one is {wrong.dtype} of shape"):
        image_bytes(wrong)


def test_anything_else_is_no_image() -> None:
    """A TypeError names what may be given."""
    with pytest.raises(TypeError, match="bytes, a path, a uint8 array or a Pillow image, not int"):
        image_bytes(3)  # type: ignore[arg-type]


def test_an_array_without_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client runs without Pillow; what needs it names the extra."""
    real = builtins.__import__

    def without_pillow(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match=r"isthmus\[images\]"):
        image_bytes(_pixels(2, 2))


def test_importing_the_client_imports_no_heavy_library() -> None:
    """Neither Pillow nor torch nor anything of the services is loaded by `import isthmus.client`."""
    code = (
        "import sys, isthmus.client; "
        "heavy = {'PIL', 'torch', 'pyarrow', 'pydantic', 'typer', 'rich', 'isthmus.runtime', 'isthmus.core'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_a_vector_keeps_its_values(dtype: type) -> None:
    """float16 travels as float16, everything else as float32, and rows come back as float32."""
    values: np.ndarray[Any, Any] = np.arange(1, 6, dtype=dtype)
    message = vector_message(values)
    assert message.type == (common_pb2.VECTOR_TYPE_FLOAT16 if dtype is np.float16 else common_pb2.VECTOR_TYPE_FLOAT32)
    rows = vector_rows(message)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, values[None].astype(np.float32))


def test_a_row_and_a_list_are_vectors_too() -> None:
    """(1, d) and a plain list are taken; big-endian numbers are turned."""
    np.testing.assert_array_equal(vector_rows(vector_message([[1.0, 2.0]])), [[1, 2]])
    np.testing.assert_array_equal(vector_rows(vector_message(np.array([1, 2], ">f4"))), [[1, 2]])


@pytest.mark.parametrize("wrong", [[], [[1.0], [2.0]], 3.0])
def test_what_is_not_one_vector_is_refused_here(wrong: Any) -> None:
    """Nothing, several rows, a number: the message names the shape."""
    with pytest.raises(ValueError, match="a vector must have shape"):
        vector_message(wrong)


@pytest.mark.parametrize(
    "message",
    [
        common_pb2.Vectors(data=b"123", dimension=1),
        common_pb2.Vectors(data=b"1234", dimension=0),
        common_pb2.Vectors(data=b"1234", dimension=1, type=9),  # type: ignore[arg-type]
    ],
)
def test_damaged_rows_are_not_read(message: common_pb2.Vectors) -> None:
    """Bytes that are not whole rows of a known type are a ValueError, never a wrong array."""
    with pytest.raises(ValueError, match="not rows of dimension"):
        vector_rows(message)


def test_attributes_keep_their_type() -> None:
    """A bool stays a bool although Python calls it an int; numpy's scalars are taken as what they stand for."""
    kinds = [
        attribute_message(value).WhichOneof("kind")
        for value in (True, np.bool_(1), 3, np.int32(3), 0.5, np.float32(1), "x")
    ]
    assert kinds == ["bool_value"] * 2 + ["int_value"] * 2 + ["double_value"] * 2 + ["string_value"]


@pytest.mark.parametrize(("wrong", "error"), [(float("nan"), ValueError), (2**63, ValueError), ([1], TypeError)])
def test_attributes_that_cannot_be_kept_are_refused_here(wrong: Any, error: type[Exception]) -> None:
    """NaN, a number beyond 64 bits, a list."""
    with pytest.raises(error):
        attribute_message(wrong)


def test_unknown_modalities_are_refused() -> None:
    """From the caller and from the wire alike."""
    with pytest.raises(ValueError, match="modality"):
        modality_name(7)
    with pytest.raises(ValueError, match="image or text"):
        spaced_vector_message(SpacedVector([1.0], modality="sound", space="s@0123456789abcdef"))  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [Input, lambda **given: Item(id="a", **given)], ids=["Input", "Item"])
def test_an_input_has_exactly_one_content(make: Any) -> None:
    """Neither none nor two."""
    with pytest.raises(ValueError, match=r"takes exactly one of .*; 0 are given"):
        make()
    with pytest.raises(ValueError, match=r"takes exactly one of .*; 2 are given"):
        make(image=b"a", text="a")
