"""Twelve crops of each of Flickr8k's 6,000 train photos in the raw space, embedded once and kept outside the checkout.

`python -m tests.harness.flickr8k_crops` makes them ahead of a bench: 72,000 images, some twenty minutes of two cores.
Stopped and started again it goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from isthmus.encoders import EncoderSpec, encode_all, load_image_tower
from isthmus.encoders.image_tower import ImageTower
from isthmus.training.config import TrainAlignerConfig
from isthmus.training.data import PairData, read_pairs
from tests.harness.flickr8k import CACHE, FLICKR8K_TRAIN

__all__ = ["CROPS", "CropData", "crops_of_train"]

CROPS: Final = 12
"""Of a photo: the first is the whole, every second is flipped."""
_SHARES: Final = (0.35, 1.0)
"""Of a photo's area that a crop keeps: drawn evenly between the two."""
_ASPECTS: Final = (3 / 4, 4 / 3)
"""Of a crop's sides, over those of its photo: drawn evenly on a logarithmic scale."""
_BLOCK_PHOTOS: Final = 100
_DIGEST_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CropData:
    """Embeddings of the crops."""

    images: NDArray[np.float16]
    """(72,000, d), canonical, which float16 holds exactly: the crops of a photo in a row, photos as in the data."""
    image_space: str


def crops_of_train() -> CropData:
    """Return the crops of every photo of train, embedded.

    The first call embeds them, which takes some twenty minutes, and keeps them under a digest of the photos, of how
    they are cropped and of the encoder's space.
    """
    space = _tower().info.space
    kept = CACHE / f"flickr8k-crops-{_digest(space)}.npy"
    if not kept.exists():
        blocks = kept.with_suffix(".blocks")
        blocks.mkdir(parents=True, exist_ok=True)
        photos = sum(pq.read_metadata(file).num_rows for file in FLICKR8K_TRAIN)
        files = {start: blocks / f"{start:06d}.npy" for start in range(0, photos, _BLOCK_PHOTOS)}
        missing = [(start, file) for start, file in files.items() if not file.exists()]
        # A process a core: of two threads in one process each waits for the other wherever the cores are shared.
        cores = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(cores, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
            for start in pool.map(_embed_block, missing):
                print(f"{start + _BLOCK_PHOTOS:,} of {photos:,} photos", file=sys.stderr, flush=True)
        _save(np.concatenate([np.load(file) for file in files.values()]), kept)
        shutil.rmtree(blocks)
    return CropData(images=np.load(kept), image_space=space)


def _one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def _tower() -> ImageTower:
    default = TrainAlignerConfig(data=FLICKR8K_TRAIN, aligner_id="unused").image_encoder
    return load_image_tower(EncoderSpec(model=default))


@functools.cache
def _photos() -> PairData:
    return read_pairs(FLICKR8K_TRAIN)


def _embed_block(block: tuple[int, Path]) -> int:
    start, file = block
    _save(encode_all(_tower(), _crops(_photos(), start)).astype(np.float16), file)
    return start


def _crops(data: PairData, start: int) -> Iterator[Image.Image]:
    """Yield the crops of a block of photos; each photo is decoded once."""
    images = data.images[start : start + _BLOCK_PHOTOS]
    block = PairData(images=images, captions=[()] * len(images), pair_keys=[""] * len(images))
    for number, picture in enumerate(block.pictures(), start):
        rng = np.random.default_rng(number)
        for crop in range(CROPS):
            part = picture if crop == 0 else picture.crop(_box(picture, rng))
            yield ImageOps.mirror(part) if crop % 2 else part


def _box(picture: Image.Image, rng: np.random.Generator) -> tuple[int, int, int, int]:
    share = rng.uniform(*_SHARES)
    stretch = np.exp(rng.uniform(*np.log(_ASPECTS)))
    width = max(1, round(picture.width * min(1.0, np.sqrt(share * stretch))))
    height = max(1, round(picture.height * min(1.0, np.sqrt(share / stretch))))
    left = int(rng.integers(picture.width - width + 1))
    top = int(rng.integers(picture.height - height + 1))
    return left, top, left + width, top + height


def _save(rows: NDArray[np.float16], path: Path) -> None:
    part = path.with_suffix(".part.npy")
    np.save(part, rows)
    part.replace(path)


def _digest(space: str) -> str:
    """Return what changes with the photos, the way they are cropped and the encoder."""
    digest = hashlib.sha256(repr((space, CROPS, _SHARES, _ASPECTS, _BLOCK_PHOTOS)).encode())
    for file in FLICKR8K_TRAIN:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


if __name__ == "__main__":
    crops_of_train()
