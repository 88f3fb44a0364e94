"""Flickr8k in the embedded encoders' raw spaces, embedded once and kept outside the checkout."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import numpy as np

from isthmus.core.keys import key_codes
from isthmus.core.recipe import RawPairs
from isthmus.training import EmbeddedData, TrainAlignerConfig, embed_pairs
from isthmus.training.loop import EmbeddedPairs
from tests.harness.shared import FLICKR8K_DEV, SHARED_DATA

__all__ = ["FLICKR8K_TRAIN", "embedded", "raw_pairs"]

FLICKR8K_TRAIN: Final = sorted((SHARED_DATA / "flickr8k").glob("train-*.parquet"))

_CACHE: Final = Path(os.environ.get("ISTHMUS_TEST_CACHE", Path.home() / ".cache" / "isthmus" / "tests"))
_DIGEST_CHARACTERS: Final = 16


def embedded(split: str) -> EmbeddedData:
    """Return the photos and captions of `train` (6,000 photos, minutes) or `dev` (1,000).

    The first call embeds them and keeps the result in `~/.cache/isthmus/tests`, or in `$ISTHMUS_TEST_CACHE`, under a
    digest of the data and of the source code of the encoders.
    """
    files = FLICKR8K_TRAIN if split == "train" else [FLICKR8K_DEV]
    kept = _CACHE / f"flickr8k-{split}-{_digest(files)}.npz"
    if not kept.exists():
        _keep(embed_pairs(TrainAlignerConfig(data=files, aligner_id="unused")), kept)
    with np.load(kept) as stored:
        keys = [str(key) for key in stored["keys"]]
        return EmbeddedData(
            pairs=EmbeddedPairs(
                images=stored["images"], texts=stored["texts"], owners=stored["owners"], codes=key_codes(keys)[0]
            ),
            pair_keys=keys,
            image_space=str(stored["image_space"]),
            text_space=str(stored["text_space"]),
        )


def raw_pairs(data: EmbeddedData) -> RawPairs:
    """Return the same as rows with pair keys."""
    return RawPairs(
        images=data.pairs.images,
        texts=data.pairs.texts,
        image_keys=list(data.pair_keys),
        text_keys=[data.pair_keys[owner] for owner in data.pairs.owners],
        image_space=data.image_space,
        text_space=data.text_space,
    )


def _keep(data: EmbeddedData, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")  # whoever finishes last wins; nobody reads half a file
    np.savez(
        part,
        images=data.pairs.images,
        texts=data.pairs.texts,
        owners=data.pairs.owners,
        keys=np.array(data.pair_keys),
        image_space=np.array(data.image_space),
        text_space=np.array(data.text_space),
    )
    part.replace(path)


def _digest(files: list[Path]) -> str:
    """Return what changes with the photos, the captions or the way they are encoded."""
    encoders = Path(__file__).resolve().parents[2] / "services" / "isthmus" / "encoders"
    digest = hashlib.sha256()
    for file in [*files, *sorted(encoders.glob("*.py"))]:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:_DIGEST_CHARACTERS]
