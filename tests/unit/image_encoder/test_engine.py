"""The image encoder's engine on the embedded model: broken inputs among whole ones, and floods of them."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.engine import ImageEncoderEngine, image_encoder_engine


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the converted weights of this module are kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
async def engine(cache_dir: Path) -> AsyncIterator[ImageEncoderEngine]:
    """The embedded image encoder, warm."""
    engine = image_encoder_engine(ImageEncoderConfig(cache_dir=cache_dir))
    await engine.start()
    yield engine
    await engine.close()


def _jpeg(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((96, 64), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def _bomb() -> bytes:
    """Return a PNG that declares 20,000 x 20,000 pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def _with_three_broken(count: int) -> list[bytes]:
    images = [_jpeg(seed) for seed in range(count)]
    images[1] = images[1][: len(images[1]) // 2]
    images[count // 2] = _bomb()
    images[-1] = b""
    return images


class TestBrokenInputs:
    """Shows 5 of the issue, at the engine."""

    async def test_three_broken_of_256_harm_nobody(self, engine: ImageEncoderEngine) -> None:
        """253 embeddings and 3 typed errors: a truncated JPEG, a bomb, and nothing at all."""
        images = _with_three_broken(256)
        result = await engine.encode(images)
        assert {index: error.reason for index, error in result.errors.items()} == {
            1: "INVALID_IMAGE",
            128: "IMAGE_TOO_LARGE",
            255: "EMPTY_INPUT",
        }
        assert len(result.indexes) == len(result.embeddings) == 253
        alone = await engine.encode([images[100]])
        row = result.embeddings[result.indexes.index(100)]
        assert row @ alone.embeddings[0] >= 0.999  # measured 1.0000; bf16, other batch mates

    async def test_a_flood_of_broken_batches_leaves_it_whole(self, engine: ImageEncoderEngine) -> None:
        """8 callers send 2 such batches each: all get their answers, and the engine still encodes."""
        images = _with_three_broken(16)

        async def caller() -> None:
            for _ in range(2):
                result = await engine.encode(images)
                assert (len(result.indexes), len(result.errors)) == (13, 3)

        await asyncio.gather(*(caller() for _ in range(8)))
        assert (await engine.encode([_jpeg(1)])).indexes == [0]

    async def test_a_hundred_different_images_are_not_mixed_up(self, engine: ImageEncoderEngine) -> None:
        """Sent at once by 20 callers, each row is nearest to its own image encoded alone (a sample of 20)."""
        images = [_jpeg(seed) for seed in range(100)]
        results = await asyncio.gather(*(engine.encode(images[start::20]) for start in range(20)))
        rows = np.empty((100, 1280), np.float32)
        for start, result in enumerate(results):
            rows[start::20] = result.embeddings
        for index in range(0, 100, 5):
            (alone,) = (await engine.encode([images[index]])).embeddings
            assert int(np.argmax(rows @ alone)) == index
