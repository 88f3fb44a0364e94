"""Pairs of a stream in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.alignment.pair_sample import PairSample, PairSampler
from isthmus.alignment.ports import CollectionHead, ItemBatch
from isthmus.core import Modality
from isthmus.runtime.base.errors import InternalError

HEAD = CollectionHead(image_space="a@0123456789abcdef", text_space="", revision=3, aligner=None, item_count=1000)


def _batches(pairs: int, *, batch: int, seed: int | None = None) -> list[ItemBatch]:
    """Return one image and two texts a pair; in another order for another seed."""
    items = [
        (modality, f"{modality}-{number}-{copy}", f"pair-{number}")
        for number in range(pairs)
        for modality, copies in ((Modality.IMAGE, 1), (Modality.TEXT, 2))
        for copy in range(copies)
    ]
    if seed is not None:
        items = [items[place] for place in np.random.default_rng(seed).permutation(len(items))]
    found = []
    for modality in Modality:
        own = [item for item in items if item[0] is modality]
        for start in range(0, len(own), batch):
            part = own[start : start + batch]
            found.append(
                ItemBatch(
                    modality=modality,
                    ids=[item_id for _, item_id, _ in part],
                    pair_keys=[key for _, _, key in part],
                    vectors=np.arange(len(part), dtype=np.float32)[:, None],
                )
            )
    return found


def _sample(batches: list[ItemBatch], *, max_items: int, seed: int = 0) -> PairSample:
    sampler = PairSampler(max_items=max_items, seed=seed)
    sampler.add(HEAD)
    for batch in batches:
        sampler.add(batch)
    return sampler.sample()


def test_a_collection_that_fits_is_kept_whole() -> None:
    """Every item with its own vector, and the share says so."""
    sample = _sample(_batches(10, batch=7), max_items=30)
    assert sample.share == 1.0
    assert {m: len(found.ids) for m, found in sample.items.items()} == {Modality.IMAGE: 10, Modality.TEXT: 20}
    assert sample.items[Modality.TEXT].vectors[:, 0].tolist() == [*range(7), *range(7), *range(6)]


def test_a_larger_one_is_kept_by_whole_pairs_within_the_limit() -> None:
    """3,000 items, 500 at most: a share of 1/8 of the keys with all their items, whatever the order of the stream."""
    samples = [_sample(_batches(1000, batch=64, seed=seed), max_items=500) for seed in (None, 1, 2)]
    keys = [set(sample.items[Modality.IMAGE].pair_keys) for sample in samples]
    assert keys[0] == keys[1] == keys[2] == set(samples[0].items[Modality.TEXT].pair_keys)
    assert samples[0].share == 0.125
    held = sum(len(found.ids) for found in samples[0].items.values())
    assert held == 3 * len(keys[0]) <= 500  # 384 were kept
    assert set(_sample(_batches(1000, batch=64), max_items=500, seed=1).items[Modality.IMAGE].pair_keys) != keys[0]


def test_a_stream_without_its_head_is_a_bug() -> None:
    """Nothing could say what was read."""
    with pytest.raises(InternalError):
        PairSampler(max_items=10, seed=0).sample()
