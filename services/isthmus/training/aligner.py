"""From photos with captions to a sealed `heads` artefact: what `isthmus train aligner` runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Artefact, HeadsAligner, Manifest, load_aligner
from isthmus.core.calibration import FIT_LIMIT, fit_calibration
from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.keys import key_codes
from isthmus.core.modality import Modality
from isthmus.core.raw_pairs import RawPairs
from isthmus.core.reference import with_reference
from isthmus.core.sampling import hashed_share, keyed_sample
from isthmus.encoders import EncoderSpec, encode_all, load_image_tower, load_text_tower
from isthmus.evaluation import ModalityItems, evaluate_retrieval
from isthmus.training.config import TrainAlignerConfig
from isthmus.training.data import PairData, TrainingDataError, read_pairs
from isthmus.training.loop import EmbeddedPairs, train_heads
from isthmus.training.progress import Progress, ProgressCallback, silent

__all__ = ["EmbeddedData", "embed_pairs", "train_aligner", "train_on_embeddings"]

T = TypeVar("T")

_CREATED_BY: Final = "isthmus train aligner"
_SPLIT_SEED: Final = 0
"""Of the split by pair key: always the same, so that runs of different seeds are judged on the same pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedData:
    """Embeddings of a data set, and the raw spaces they are in."""

    pairs: EmbeddedPairs
    pair_keys: Sequence[str]
    """One a photo."""
    image_space: str
    text_space: str


def train_aligner(config: TrainAlignerConfig, *, progress: ProgressCallback = silent) -> Artefact:
    """Embed the data, train heads, calibrate and judge them on held-out pairs, and seal the result.

    Args:
        config: What to train on, and how.
        progress: Told how far the work is.

    Raises:
        TrainingDataError: The data cannot be read, or hold too few pairs.
        EncoderLoadError: An encoder cannot be loaded.
        ArtefactError: `aligner_id` is malformed, or the heads are too large to ship.
    """
    return train_on_embeddings(embed_pairs(config, progress=progress), config=config, progress=progress)


def embed_pairs(config: TrainAlignerConfig, *, progress: ProgressCallback = silent) -> EmbeddedData:
    """Read the data and encode them with the configured encoders.

    Raises:
        TrainingDataError: The data cannot be read.
        EncoderLoadError: An encoder cannot be loaded.
    """
    data = read_pairs(config.data)
    image_tower = load_image_tower(EncoderSpec(model=config.image_encoder, cache_dir=config.cache_dir))
    text_tower = load_text_tower(EncoderSpec(model=config.text_encoder, cache_dir=config.cache_dir))
    images = encode_all(image_tower, _counted(data.pictures(), "embedding images", len(data), progress))
    captions = [caption for told in data.captions for caption in told]
    # Texts of one length make batches without padding.
    order = np.argsort([len(caption) for caption in captions], kind="stable")
    ordered = (captions[place] for place in order)
    texts = np.empty((len(captions), text_tower.info.dimension), dtype=np.float32)
    texts[order] = encode_all(text_tower, _counted(ordered, "embedding texts", len(captions), progress))
    (codes,) = key_codes(data.pair_keys)
    return EmbeddedData(
        pairs=EmbeddedPairs(images=images, texts=texts, owners=_owners(data), codes=codes),
        pair_keys=data.pair_keys,
        image_space=image_tower.info.space,
        text_space=text_tower.info.space,
    )


def train_on_embeddings(
    data: EmbeddedData, *, config: TrainAlignerConfig, progress: ProgressCallback = silent
) -> Artefact:
    """Train heads on embeddings that are at hand; the second half of `train_aligner`.

    Half of the held-out pairs choose the epoch and fit the calibration; the other half is looked at once, for the
    report.

    Raises:
        TrainingDataError: There are too few pairs.
        ArtefactError: `aligner_id` is malformed, or the heads are too large to ship.
    """
    shares = np.array([hashed_share(key, seed=_SPLIT_SEED) for key in data.pair_keys])
    learned = np.flatnonzero(shares >= config.held_out_share)
    choosing = np.flatnonzero(shares < config.held_out_share / 2)
    judged = np.flatnonzero((shares >= config.held_out_share / 2) & (shares < config.held_out_share))
    if not (len(learned) and len(judged)):
        msg = f"{len(shares)} photos are too few to train on and to hold some out"
        raise TrainingDataError(msg)
    trained = train_heads(
        data.pairs.subset(learned),
        data.pairs.subset(choosing),
        config=config.heads,
        seed=config.seed,
        progress=progress,
    )
    progress(Progress(stage="calibrating", done=0, total=1))
    manifest = Manifest(
        aligner_id=config.aligner_id,
        method=HeadsAligner.method,
        image_space=data.image_space,
        text_space=data.text_space,
        dimension=len(trained.heads[Modality.IMAGE].weight),
        created_by=_CREATED_BY,
        pair_count=len(learned),
        seed=config.seed,
        settings={
            "heads": config.heads.to_dict(),
            "held_out_share": config.held_out_share,
            "epoch": trained.epoch,
            "photos": len(data.pairs.images),
            "captions": len(data.pairs.texts),
        },
    )
    artefact = HeadsAligner.pack(manifest, image=trained.heads[Modality.IMAGE], text=trained.heads[Modality.TEXT])
    artefact = with_reference(
        artefact, learned=_raw_pairs(data, learned), judged=_raw_pairs(data, judged), seed=config.seed
    )
    artefact = _with_findings(artefact, data, choosing=choosing, judged=judged)
    progress(Progress(stage="calibrating", done=1, total=1))
    return artefact


def _with_findings(
    artefact: Artefact, data: EmbeddedData, *, choosing: NDArray[np.intp], judged: NDArray[np.intp]
) -> Artefact:
    """Fit the calibration on one part of the held-out pairs and report on the other."""
    aligner = load_aligner(artefact)
    images, texts = _items(data, choosing)
    chosen = {
        modality: keyed_sample(found.ids, seed=_SPLIT_SEED, limit=FIT_LIMIT)
        for modality, found in ((Modality.IMAGE, images), (Modality.TEXT, texts))
    }
    image_rows, text_rows = chosen[Modality.IMAGE], chosen[Modality.TEXT]
    try:
        calibration = fit_calibration(
            aligner.align(images.vectors[image_rows], Modality.IMAGE),
            aligner.align(texts.vectors[text_rows], Modality.TEXT),
            image_keys=[images.pair_keys[row] for row in image_rows],
            text_keys=[texts.pair_keys[row] for row in text_rows],
        )
    except NotEnoughItemsError as error:
        msg = f"{len(choosing)} held-out photos are too few to calibrate on"
        raise TrainingDataError(msg) from error
    found = evaluate_retrieval(*_items(data, judged), aligner=aligner, calibration=calibration)
    return artefact.with_findings(calibration=calibration, report=found.report.to_dict())


def _items(data: EmbeddedData, photos: NDArray[np.intp]) -> tuple[ModalityItems, ModalityItems]:
    """Return some photos and their captions as items."""
    part = data.pairs.subset(photos)
    keys = [data.pair_keys[photo] for photo in photos]
    images = ModalityItems(ids=[f"image-{photo}" for photo in photos], pair_keys=keys, vectors=part.images)
    texts = ModalityItems(
        ids=[f"text-{row}" for row in range(len(part.texts))],
        pair_keys=[keys[owner] for owner in part.owners],
        vectors=part.texts,
    )
    return images, texts


def _raw_pairs(data: EmbeddedData, photos: NDArray[np.intp]) -> RawPairs:
    """Return some photos and their captions as the numerics take them."""
    images, texts = _items(data, photos)
    return RawPairs(
        images=images.vectors,
        texts=texts.vectors,
        image_keys=images.pair_keys,
        text_keys=texts.pair_keys,
        image_space=data.image_space,
        text_space=data.text_space,
    )


def _owners(data: PairData) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(data)), [len(told) for told in data.captions])


def _counted(items: Iterable[T], stage: str, total: int, progress: ProgressCallback) -> Iterator[T]:
    """Yield `items`, saying how many were asked for."""
    progress(Progress(stage=stage, done=0, total=total))
    for done, item in enumerate(items, start=1):
        yield item
        progress(Progress(stage=stage, done=done, total=total))
