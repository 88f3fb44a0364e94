"""The merge, judged so that it cannot be bought: at a fixed share of the query's own modality, and by relevance."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isthmus.alignment.artefact_store import SHIPPED_FOLDER
from isthmus.core import Modality
from isthmus.core.aligners import Aligner, Artefact, add_hubness_correction, load_aligner
from isthmus.core.calibration import Calibration, fit_calibration
from isthmus.core.gap import ClusterBootstrap, Corpus
from isthmus.core.held_out import QueryFigures, ServedRows, judge_queries, summarise
from isthmus.core.recipe import RawPairs
from isthmus.encoders import EncoderSpec, encode_all, load_image_tower, load_text_tower
from tests.bench.merging import CANDIDATES, CLIP_COCO, judged
from tests.harness.shared import FLICKR8K_DEV, needs


@needs(CLIP_COCO)
def test_matches_stay_first_while_own_answers_keep_their_share() -> None:
    """With a hubness correction mixed R@1 at an own share of .30 passes every candidate, at CSLS's cross-modal R@1."""
    found = {name: judged(CANDIDATES[name]) for name in ("z, all impostors", "z, the query's own tail", "shipped")}
    for name, figures in found.items():
        print(name, figures)
    best = judged(CANDIDATES["shipped, hubness corrected"])
    image, text = best[Modality.IMAGE], best[Modality.TEXT]
    print(image, text)
    assert image.mixed_r1 >= 0.730  # .736 measured; the best known before was .720
    assert text.mixed_r1 >= 0.722  # .729 measured; .707
    assert image.cross_r1 >= 0.743  # .7432 measured, 73.8 without the correction
    assert text.cross_r1 >= 0.734  # .7344 measured, 70.6 without
    for query in Modality:
        # Without offsets the merge changes no cross-modal ranking.
        assert found["shipped"][query].cross_r1 == pytest.approx(found["z, all impostors"][query].cross_r1, abs=1e-9)
        assert found["shipped"][query].mixed_r1 > found["z, all impostors"][query].mixed_r1 + 0.03  # +.058, +.043


@pytest.fixture(scope="module")
def halves() -> tuple[Artefact, RawPairs, RawPairs]:
    """The shipped aligner, and two halves of Flickr8k dev, which it has never seen."""
    artefact = Artefact.load(SHIPPED_FOLDER / "flickr8k-heads")
    table = pq.read_table(FLICKR8K_DEV)
    captions = table["captions"].to_pylist()
    photos = (Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in table["image"].to_pylist())
    told = [caption for own in captions for caption in own]
    order = np.argsort([len(caption) for caption in told], kind="stable")  # batches without padding
    text_tower = load_text_tower(EncoderSpec(model="embedded"))
    texts = np.empty((len(told), text_tower.info.dimension), dtype=np.float32)
    texts[order] = encode_all(text_tower, (told[row] for row in order))
    keys = [f"photo-{row}" for row in range(len(captions))]
    pairs = RawPairs(
        images=encode_all(load_image_tower(EncoderSpec(model="embedded")), photos),
        texts=texts,
        image_keys=keys,
        text_keys=[key for key, own in zip(keys, captions, strict=True) for _ in own],
        image_space=artefact.manifest.image_space,
        text_space=artefact.manifest.text_space,
    )
    shuffled = np.random.default_rng(0).permutation(len(keys))
    half = len(keys) // 2
    fit, judge = (pairs.with_keys({keys[row] for row in rows}) for rows in (shuffled[:half], shuffled[half:]))
    return artefact, fit, judge


def served(aligner: Aligner, pairs: RawPairs, calibration: Calibration) -> dict[Modality, QueryFigures]:
    """Ask every item of `pairs` for both modalities."""
    corpus = corpus_of(pairs)
    raw = {Modality.IMAGE: pairs.images, Modality.TEXT: pairs.texts}
    return judge_queries(
        ServedRows(
            queries={modality: aligner.query_rows(rows, modality) for modality, rows in raw.items()},
            items={modality: aligner.item_rows(rows, modality) for modality, rows in raw.items()},
            codes=corpus.codes,
            calibration=calibration,
        )
    )


def corpus_of(pairs: RawPairs) -> Corpus:
    """Return the pairs as the bootstrap takes them."""
    return Corpus.of(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)


def calibrated(aligner: Aligner, pairs: RawPairs) -> Calibration:
    """Fit the calibration to `pairs`."""
    return fit_calibration(
        aligner.item_rows(pairs.images, Modality.IMAGE),
        aligner.item_rows(pairs.texts, Modality.TEXT),
        image_keys=pairs.image_keys,
        text_keys=pairs.text_keys,
        image_queries=aligner.query_rows(pairs.images, Modality.IMAGE),
        text_queries=aligner.query_rows(pairs.texts, Modality.TEXT),
    )


@needs(FLICKR8K_DEV)
@pytest.mark.timeout(300)
def test_graded_relevance_rises_with_the_same_recipe(halves: tuple[Artefact, RawPairs, RawPairs]) -> None:
    """Photos and captions of held-out dev photos: nDCG@10 above raw cosine's for both kinds of query, by the bound."""
    artefact, fit, judge = halves
    plain = load_aligner(artefact)
    corrected = load_aligner(add_hubness_correction(artefact, fit.fit_pairs()))
    before = served(plain, judge, Calibration.default())
    bootstrap = ClusterBootstrap(corpus_of(judge), seed=0)
    print(summarise(before, pair_count=500))
    for aligner, least in ((plain, {"image": 0.10, "text": 0.002}), (corrected, {"image": 0.13, "text": 0.009})):
        after = served(aligner, judge, calibrated(aligner, fit))
        print(summarise(after, pair_count=500))
        for query in Modality:
            change = after[query].ndcg10 - before[query].ndcg10
            low = float(np.quantile(bootstrap.replicate_means(change, query), 0.025))
            print(query, change.mean(), low)
            # Lower bounds measured: .111 and .0025 without, .143 and .0108 with the correction.
            assert low > least[query]
