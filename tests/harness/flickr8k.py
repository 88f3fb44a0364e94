"""Flickr8k in the embedded encoders' raw spaces, embedded once and kept outside the checkout."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.core.keys import key_codes
from isthmus.core.recipe import RawPairs
from isthmus.core.sampling import hashed_share
from isthmus.training import EmbeddedData, TrainAlignerConfig, embed_pairs
from isthmus.training.loop import EmbeddedPairs
from tests.harness.shared import FLICKR8K_DEV, SHARED_DATA

__all__ = ["CACHE", "FLICKR8K_TRAIN", "Split", "embedded", "is_held_out", "raw_pairs"]

FLICKR8K_TRAIN: Final = sorted((SHARED_DATA / "flickr8k").glob("train-*.parquet"))

CACHE: Final = Path(os.environ.get("ISTHMUS_TEST_CACHE", Path.home() / ".cache" / "isthmus" / "tests"))
_DIGEST_CHARACTERS: Final = 16
_HELD_OUT_SHARE: Final = 0.1

Split: TypeAlias = Literal["train", "held-out", "dev"]


def is_held_out(pair_key: str) -> bool:
    """True for the photos of train that the shipped heads were not fitted to, by the hash of their key."""
    return hashed_share(pair_key, seed=0) < _HELD_OUT_SHARE


def embedded(split: Split) -> EmbeddedData:
    """Return the photos and captions of `train` (6,000 photos, minutes), of its `held-out` 610, or of `dev` (1,000).

    The first call embeds them and keeps the result in `~/.cache/isthmus/tests`, or in `$ISTHMUS_TEST_CACHE`, under a
    digest of the data and of the source code of the encoders.
    """
    files = [FLICKR8K_DEV] if split == "dev" else FLICKR8K_TRAIN
    kept = CACHE / f"flickr8k-{split}-{_digest(files)}.npz"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            chosen = _held_out_rows(Path(folder)) if split == "held-out" else files
            _keep(embed_pairs(TrainAlignerConfig(data=chosen, aligner_id="unused")), kept)
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


def _held_out_rows(folder: Path) -> list[Path]:
    """Write the held-out rows of train as a file of their own."""
    tables = [pq.read_table(file) for file in FLICKR8K_TRAIN]
    rows = [
        table.filter(pa.array([is_held_out(image["path"]) for image in table["image"].to_pylist()])) for table in tables
    ]
    pq.write_table(pa.concat_tables(rows), folder / "held-out.parquet")
    return [folder / "held-out.parquet"]


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
