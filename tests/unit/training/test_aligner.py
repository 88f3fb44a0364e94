"""From embeddings, and from parquet, to a sealed artefact."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isthmus.core import Modality
from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.calibration import CalibrationSource
from isthmus.core.sampling import hashed_share
from isthmus.encoders import EncoderSpec, encode_all, load_text_tower
from isthmus.training import (
    HeadsConfig,
    Progress,
    TrainAlignerConfig,
    TrainingDataError,
    embed_pairs,
    read_pairs,
    train_aligner,
    train_on_embeddings,
)
from tests.unit.training.conftest import MakeData

QUICK = HeadsConfig(dimension=12, hidden=16, epochs=2, batch_count=128, image_dropout=0.1, text_dropout=0.1, noise=0.1)
CONFIG = TrainAlignerConfig(data=(), aligner_id="trained", heads=QUICK, held_out_share=0.2)


def test_the_artefact_is_applied_calibrated_and_judged(make_data: MakeData) -> None:
    """Spaces, calibration, report and provenance are in the manifest; the aligner maps both raw spaces."""
    data = make_data()
    artefact = train_on_embeddings(data, config=CONFIG)
    manifest = Artefact.from_bytes(*artefact.to_bytes()).manifest
    assert (manifest.image_space, manifest.text_space) == (data.image_space, data.text_space)
    assert manifest.calibration is not None
    assert manifest.calibration.source is CalibrationSource.FITTED
    assert manifest.created_by == "isthmus train aligner"
    assert manifest.settings["heads"] == QUICK.to_dict()
    aligner = load_aligner(artefact)
    assert aligner.align(data.pairs.images[:3], Modality.IMAGE).shape == (3, 12)
    assert aligner.align(data.pairs.texts[:3], Modality.TEXT).shape == (3, 12)
    assert manifest.report["recall"]["t2i"]["r10"] > 0.5  # chance is 0.11
    assert aligner.reference is not None
    assert aligner.reference.clouds[Modality.TEXT].key_count == manifest.pair_count
    assert aligner.reference.probe is not None


def test_held_out_pairs_are_never_learned_from(make_data: MakeData) -> None:
    """Changing every held-out embedding to another leaves the heads of the first epoch as they are."""
    data = make_data()
    held_out = np.array([hashed_share(key, seed=0) < CONFIG.held_out_share for key in data.pair_keys])
    assert 140 < held_out.sum() < 220  # 185 of 900 measured
    images, texts = data.pairs.images.copy(), data.pairs.texts.copy()
    images[held_out] = np.roll(images[held_out], 1, axis=0)
    mine = held_out[data.pairs.owners]
    texts[mine] = np.roll(texts[mine], 3, axis=0)
    shuffled = replace(data, pairs=replace(data.pairs, images=images, texts=texts))
    config = replace(CONFIG, heads=replace(QUICK, epochs=1))
    one, other = (train_on_embeddings(some, config=config) for some in (data, shuffled))
    learned = one.tensors.keys() - {"drift.probe"}  # that one is asked with pairs that are held out
    assert all((one.tensors[name] == other.tensors[name]).all() for name in learned)
    assert one.manifest.pair_count == int((~held_out).sum())
    assert one.manifest.report != other.manifest.report


def test_the_report_is_of_pairs_that_chose_and_calibrated_nothing(make_data: MakeData) -> None:
    """Half of the held-out pairs are looked at once, for the report alone."""
    data = make_data()
    shares = np.array([hashed_share(key, seed=0) for key in data.pair_keys])
    report = train_on_embeddings(data, config=CONFIG).manifest.report
    assert report["n"] == int(((shares >= 0.1) & (shares < 0.2)).sum())


def test_a_run_repeats_to_the_byte(make_data: MakeData) -> None:
    """The same data and seed give the same revision."""
    data = make_data(photos=800)
    assert len({train_on_embeddings(data, config=CONFIG).revision for _ in range(2)}) == 1
    assert train_on_embeddings(data, config=replace(CONFIG, seed=1)).manifest.seed == 1


@pytest.mark.parametrize("photos", [1, 40, 300])
def test_too_few_photos_are_refused(photos: int, make_data: MakeData) -> None:
    """Without enough held-out photos there is no calibration, and the message says how many there were."""
    with pytest.raises(TrainingDataError, match="too few"):
        train_on_embeddings(make_data(photos=photos), config=CONFIG)


@pytest.mark.parametrize("share", [0.0, 0.6, -0.1])
def test_a_held_out_share_out_of_bounds_is_refused(share: float) -> None:
    """Nothing held out, or more than half, is a mistake."""
    with pytest.raises(ValueError, match="held_out_share"):
        replace(CONFIG, held_out_share=share)


@pytest.fixture
def few_photos(tmp_path: Path) -> TrainAlignerConfig:
    """Six photos of different texture with captions of different length."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(file, "PNG")
        captions = [f"picture {number} {'of many words ' * count}".strip() for count in range(6 - number)]
        rows.append({"image": {"bytes": file.getvalue(), "path": f"{number}.png"}, "captions": captions})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    return replace(CONFIG, data=(tmp_path / "train.parquet",))


def test_embedding_keeps_every_caption_with_its_photo(few_photos: TrainAlignerConfig) -> None:
    """Texts are encoded sorted by length and put back: each row is its own caption's embedding, in the stated space."""
    told: list[Progress] = []
    data = embed_pairs(few_photos, progress=told.append)
    assert data.image_space.startswith("efficientnet-lite0@")
    assert data.text_space.startswith("all-minilm-l6-v2@")
    assert data.pairs.owners.tolist() == [0] * 6 + [1] * 5 + [2] * 4 + [3] * 3 + [4] * 2 + [5]
    captions = [caption for told_of in read_pairs(few_photos.data).captions for caption in told_of]
    alone = encode_all(load_text_tower(EncoderSpec()), captions, batch_size=1)
    # Padding and bf16 leave a text at a cosine of 0.9999 to itself; the nearest other caption is at 0.9951.
    assert (np.argmax(data.pairs.texts @ alone.T, axis=1) == np.arange(len(captions))).all()
    stages = {stage: [step.done for step in told if step.stage == stage] for stage in ("embedding images",)}
    assert stages == {"embedding images": list(range(7))}


def test_the_whole_command_refuses_a_handful_of_photos(few_photos: TrainAlignerConfig) -> None:
    """Six photos cannot be split into learning, choosing and judging."""
    with pytest.raises(TrainingDataError, match="too few"):
        train_aligner(few_photos)
