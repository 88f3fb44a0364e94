"""The header check: what it reads, what it refuses, and that refusing costs nothing."""

from __future__ import annotations

import contextlib
import io
import resource
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, ResourceExhaustedError
from isthmus.runtime.base.image_header import ImageHeader, check_image
from isthmus.runtime.base.limits import IMAGE_MAX_BYTES, IMAGE_MAX_SIDE_PX


def saved(size: tuple[int, int], kind: str, *, mode: str = "RGB", **options: Any) -> bytes:
    """Return an image file of that size and format."""
    buffer = io.BytesIO()
    Image.new(mode, size, 77 if mode in {"L", "P"} else None).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Return one PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG of that declared size, whatever its pixels say."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


def jpeg_of(width: int, height: int) -> bytes:
    """Return a small JPEG whose frame header declares another size."""
    data = bytearray(saved((16, 16), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def webp_of(width: int, height: int) -> bytes:
    """Return an extended WEBP whose canvas declares that size."""
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4)
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def animated(kind: str) -> bytes:
    """Return two frames in one file."""
    return saved((8, 8), kind, save_all=True, append_images=[Image.new("RGB", (8, 8), "red")], duration=50)


def many_scans(count: int) -> bytes:
    """Return a JPEG that announces that many scans over its pixels."""
    data = jpeg_of(4096, 4096)
    return data[:-2] + b"\xff\xda\x00\x02" * count + data[-2:]


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "png 20,000 x 20,000": (lambda: png(20_000, 20_000, chunk(b"IDAT")), "IMAGE_TOO_LARGE"),
    "png that is only a header of 20,000 x 20,000": (lambda: png(20_000, 20_000), "IMAGE_TOO_LARGE"),
    "png 2^31 wide": (lambda: png(2**31 - 1, 1, chunk(b"IDAT")), "IMAGE_TOO_LARGE"),
    "png of 81 megapixels that is 80 KB": (
        lambda: png(9000, 9000, chunk(b"IDAT", zlib.compress(bytes(9000 * 9001), 9))),
        "IMAGE_TOO_LARGE",
    ),
    "png one pixel too many a side": (lambda: png(8193, 200, chunk(b"IDAT")), "IMAGE_TOO_LARGE"),
    "png one pixel too many": (lambda: png(4097, 4096, chunk(b"IDAT")), "IMAGE_TOO_LARGE"),
    "png 8,192 x 1": (lambda: png(8192, 1, chunk(b"IDAT")), "IMAGE_TOO_LARGE"),
    "png without pixels": (lambda: png(8, 8, chunk(b"IEND")), "INVALID_IMAGE"),
    "png of no width": (lambda: png(0, 8, chunk(b"IDAT")), "INVALID_IMAGE"),
    "png of 800,000 empty chunks": (lambda: png(8, 8, chunk(b"tEXt") * 800_000), "INVALID_IMAGE"),
    "png with a chunk of 4 GB": (lambda: png(8, 8, b"\xff\xff\xff\xfftEXt"), "INVALID_IMAGE"),
    "png animated": (lambda: animated("PNG"), "IMAGE_FORMAT_UNSUPPORTED"),
    "jpeg 65,500 x 65,500": (lambda: jpeg_of(65_500, 65_500), "IMAGE_TOO_LARGE"),
    "jpeg of no height": (lambda: jpeg_of(16, 0), "INVALID_IMAGE"),
    "jpeg of 100,000 scans": (lambda: many_scans(100_000), "IMAGE_TOO_LARGE"),
    "jpeg of 2 million empty segments": (lambda: b"\xff\xd8" + b"\xff\xe1\x00\x02" * 2_000_000, "INVALID_IMAGE"),
    "jpeg of fill bytes": (lambda: b"\xff\xd8" + b"\xff" * 9_000_000, "INVALID_IMAGE"),
    "jpeg that is only its start": (lambda: b"\xff\xd8\xff\xe0", "INVALID_IMAGE"),
    "webp 16,384 x 16,384": (lambda: webp_of(16_384, 16_384), "IMAGE_TOO_LARGE"),
    "webp of 2^24 a side": (lambda: webp_of(2**24, 2**24), "IMAGE_TOO_LARGE"),
    "webp animated": (lambda: animated("WEBP"), "IMAGE_FORMAT_UNSUPPORTED"),
    "webp that is only its start": (lambda: b"RIFF\x00\x00\x00\x00WEBPVP8X", "INVALID_IMAGE"),
    "webp of an unknown chunk": (lambda: b"RIFF\x00\x00\x00\x00WEBPALPH" + bytes(20), "INVALID_IMAGE"),
    "gif": (lambda: saved((8, 8), "GIF", mode="P"), "IMAGE_FORMAT_UNSUPPORTED"),
    "bmp": (lambda: saved((8, 8), "BMP"), "IMAGE_FORMAT_UNSUPPORTED"),
    "tiff": (lambda: saved((8, 8), "TIFF"), "IMAGE_FORMAT_UNSUPPORTED"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "IMAGE_FORMAT_UNSUPPORTED"),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "IMAGE_FORMAT_UNSUPPORTED"),
    "text": (lambda: b"not an image at all", "IMAGE_FORMAT_UNSUPPORTED"),
    "nothing": (lambda: b"", "EMPTY_INPUT"),
    "a byte too many": (lambda: saved((8, 8), "PNG").ljust(IMAGE_MAX_BYTES + 1, b"\0"), "IMAGE_TOO_LARGE"),
}


class TestReading:
    """Format and size, from the header alone."""

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("JPEG", {"exif": b"Exif\0\0" + bytes(60_000), "icc_profile": bytes(300_000)}),
            ("PNG", {}),
            ("WEBP", {}),
            ("WEBP", {"lossless": True}),
            ("WEBP", {"exif": b"Exif\0\0" + bytes(100)}),
        ],
    )
    @pytest.mark.parametrize("size", [(1, 1), (640, 427), (333, 4000), (8192, 2048)])
    def test_it_agrees_with_pillow(self, kind: str, options: dict[str, Any], size: tuple[int, int]) -> None:
        """Pillow sees the same format and size."""
        data = saved(size, kind, **options)
        with Image.open(io.BytesIO(data)) as image:
            assert check_image(data) == ImageHeader(image.format, *image.size)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("mode", "kind"), [("RGBA", "PNG"), ("P", "PNG"), ("L", "JPEG"), ("RGBA", "WEBP"), ("CMYK", "JPEG")]
    )
    def test_every_mode_is_read(self, mode: str, kind: str) -> None:
        """Grey, palette, alpha and print colours have the same headers."""
        assert check_image(saved((30, 20), kind, mode=mode)) == ImageHeader(kind, 30, 20)  # type: ignore[arg-type]

    @pytest.mark.parametrize("size", [(4096, 4096), (IMAGE_MAX_SIDE_PX, 2048), (8192, 128)])
    def test_the_limits_themselves_are_allowed(self, size: tuple[int, int]) -> None:
        """Exactly the most pixels, the longest side, the narrowest strip."""
        assert check_image(png(*size, chunk(b"IDAT"))) == ImageHeader("PNG", *size)

    def test_a_picture_behind_the_picture_does_not_matter(self) -> None:
        """A JPEG with a second one behind it (MPO, motion photos) is its first one."""
        assert check_image(saved((40, 30), "JPEG") + saved((9, 9), "JPEG")) == ImageHeader("JPEG", 40, 30)


class TestRefusing:
    """Bombs, and what is not an image."""

    @pytest.mark.parametrize("name", BOMBS)
    def test_it_is_refused_for_its_reason(self, name: str) -> None:
        """Each has its reason, and the message holds neither bytes nor internals."""
        make, reason = BOMBS[name]
        with pytest.raises((InvalidArgumentError, ResourceExhaustedError)) as caught:
            check_image(make())
        assert caught.value.reason == reason
        assert caught.value.message.startswith("image: ")
        assert len(caught.value.message) < 100

    @pytest.mark.parametrize("name", BOMBS)
    def test_refusing_takes_no_time(self, name: str) -> None:
        """At most 10 ms, best of five (measured: 1.2 ms for the slowest, the JPEG of 100,000 scans)."""
        data = BOMBS[name][0]()
        best = min(_seconds_to_refuse(data) for _ in range(5))
        assert best <= 0.010

    def test_refusing_takes_no_memory(self) -> None:
        """The whole corpus, refused, leaves the peak of this process within 8 MiB of where it was (measured: 0)."""
        corpus = [make() for make, _ in BOMBS.values()]
        for data in corpus:
            _seconds_to_refuse(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for data in corpus:
            _seconds_to_refuse(data)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before <= 8 * 1024

    def test_the_field_is_named(self) -> None:
        """The message speaks of the field it was given."""
        with pytest.raises(InvalidArgumentError, match="thumbnail: is empty"):
            check_image(b"", field="thumbnail")


def _seconds_to_refuse(data: bytes) -> float:
    started = time.process_time()
    with pytest.raises(IsthmusError):
        check_image(data)
    return time.process_time() - started


class TestHostileBytes:
    """Whatever comes, the answer is a header or a refusal."""

    @settings(max_examples=500, deadline=None)
    @given(
        start=st.sampled_from(
            [
                b"",
                b"\xff\xd8\xff",
                b"\x89PNG\r\n\x1a\n",
                b"RIFF\0\0\0\0WEBPVP8 ",
                b"RIFF\0\0\0\0WEBPVP8L",
                b"RIFF\0\0\0\0WEBPVP8X",
            ]
        ),
        rest=st.binary(max_size=80),
    )
    def test_any_bytes_are_answered(self, start: bytes, rest: bytes) -> None:
        """Random bytes behind a real signature never raise anything but a refusal."""
        with contextlib.suppress(InvalidArgumentError, ResourceExhaustedError):
            header = check_image(start + rest)
            assert 1 <= header.width <= IMAGE_MAX_SIDE_PX
            assert 1 <= header.height <= IMAGE_MAX_SIDE_PX

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_a_file_cut_anywhere_is_answered(self, kind: str) -> None:
        """Every prefix of a real file gives its size or a refusal."""
        data = saved((20, 10), kind)
        for length in range(len(data)):
            with contextlib.suppress(InvalidArgumentError):
                assert check_image(data[:length]) == ImageHeader(kind, 20, 10)  # type: ignore[arg-type]
