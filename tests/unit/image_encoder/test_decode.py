"""Bytes to an upright RGB picture, or a refusal."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from isthmus.image_encoder import decode
from isthmus.image_encoder.decode import decode_image
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, ResourceExhaustedError
from isthmus.runtime.base.image_header import ImageHeader


def _picture() -> Image.Image:
    """Return a small picture whose corners differ."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return coarse.resize((48, 36), Image.Resampling.BILINEAR)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


class TestDecoding:
    """The picture as a person sees it."""

    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
    def test_lossless_files_come_back_whole(self, kind: str, options: dict[str, Any]) -> None:
        """Not one level of one pixel differs."""
        np.testing.assert_array_equal(decode_image(_saved(_picture(), kind, **options)), _picture())

    def test_a_jpeg_is_decoded_as_pillow_does(self) -> None:
        """No shortcut changes the pixels."""
        data = _saved(_picture(), "JPEG")
        np.testing.assert_array_equal(decode_image(data), Image.open(io.BytesIO(data)))

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_the_exif_orientation_is_applied(self, kind: str, orientation: int) -> None:
        """Each of the eight comes out as Pillow's own `exif_transpose` makes it."""
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = _saved(_picture(), kind, exif=exif)
        np.testing.assert_array_equal(decode_image(data), ImageOps.exif_transpose(Image.open(io.BytesIO(data))))

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    @pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(40)])
    def test_damaged_exif_is_ignored(self, exif: bytes) -> None:
        """The picture is still a picture."""
        assert decode_image(_saved(_picture(), "JPEG", exif=exif)).size == (48, 36)

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
    def test_every_mode_becomes_rgb(self, mode: str) -> None:
        """Black and white, grey, palette and alpha are converted as transformers converts them."""
        data = _saved(_picture().convert(mode), "PNG")
        picture = decode_image(data)
        assert picture.mode == "RGB"
        np.testing.assert_array_equal(picture, Image.open(io.BytesIO(data)).convert("RGB"))

    def test_cmyk_becomes_rgb(self) -> None:
        """A JPEG for print is readable."""
        assert decode_image(_saved(_picture().convert("CMYK"), "JPEG")).mode == "RGB"

    def test_deep_grey_is_scaled_and_not_clipped(self) -> None:
        """16 bits become 8: mid grey stays mid grey, where Pillow alone would make it white."""
        levels = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
        picture = np.asarray(decode_image(_saved(Image.fromarray(levels), "PNG")))
        np.testing.assert_array_equal(picture[..., 0], levels // 256)


class TestRefusing:
    """Damage, and decoders that would do more than they should."""

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    def test_a_file_that_is_cut_short_is_refused(self, kind: str, share: float) -> None:
        """Half a picture is not served as a picture."""
        rng = np.random.default_rng(5)
        data = _saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
        with pytest.raises(IsthmusError) as caught:
            decode_image(data[: int(len(data) * share)])
        assert caught.value.reason == "INVALID_IMAGE"

    def test_pillow_and_the_header_check_must_agree(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """When Pillow sees another size than the one that was held against the limits, nothing is decoded."""
        monkeypatch.setattr(decode, "check_image", lambda _: ImageHeader("PNG", 47, 36))
        monkeypatch.setattr(decode, "_rgb", lambda _: pytest.fail("decoded"))
        with pytest.raises(IsthmusError) as caught:
            decode_image(_saved(_picture(), "PNG"))
        assert caught.value.reason == "INVALID_IMAGE"

    def test_only_the_named_decoder_runs(self) -> None:
        """A TIFF behind a PNG signature is not handed to the TIFF decoder."""
        with pytest.raises(IsthmusError):
            decode_image(b"\x89PNG\r\n\x1a\n" + _saved(_picture(), "TIFF"))

    @settings(max_examples=300, deadline=None)
    @given(kind=st.sampled_from(["JPEG", "PNG", "WEBP"]), place=st.floats(0, 1), flip=st.integers(1, 255))
    def test_a_flipped_byte_gives_a_picture_or_a_refusal(self, kind: str, place: float, flip: int) -> None:
        """Whatever the decoder makes of it, nothing but a refusal comes out, and no other size."""
        data = bytearray(_saved(_picture(), kind))
        data[int(place * (len(data) - 1))] ^= flip
        with contextlib.suppress(InvalidArgumentError, ResourceExhaustedError):
            assert decode_image(bytes(data)).mode == "RGB"


class TestBombs:
    """A process of its own, whose peak memory says what decoding cost."""

    def test_the_corpus_costs_no_memory(self) -> None:
        """Files that declare up to 2^48 pixels are refused with less than 8 MiB more at the peak (measured: 0)."""
        code = (
            "import resource, sys\n"
            "from isthmus.image_encoder.decode import decode_image\n"
            "from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, ResourceExhaustedError\n"
            "from tests.unit.runtime.test_image_header import BOMBS, saved\n"
            "decode_image(saved((64, 64), 'PNG'))\n"
            "corpus = [make() for make, _ in BOMBS.values()]\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "before = peak()\n"
            "for data in corpus:\n"
            "    try: decode_image(data)\n"
            "    except IsthmusError: continue\n"
            "    sys.exit('decoded')\n"
            "print(peak() - before)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(run.stdout) <= 8 * 1024
