"""Small corpora with a gap, and what measures are given beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from isthmus.core.gap import ClusterBootstrap, Corpus, CosineScan, scan_cosines


@dataclass(frozen=True)
class Small:
    """A corpus, its bootstrap and its scan."""

    corpus: Corpus
    bootstrap: ClusterBootstrap
    scan: CosineScan


@pytest.fixture
def small_corpus() -> Callable[..., Small]:
    """Make a corpus: a shared meaning, noise of each side, and a constant gap between the modalities."""

    def make(
        count: int = 60,
        captions: int = 1,
        *,
        dimension: int = 12,
        noise: float = 0.6,
        gap: float = 0.5,
        seed: int = 3,
        replicates: int = 500,
    ) -> Small:
        rng = np.random.default_rng(seed)
        meaning = rng.normal(size=(count, dimension))
        offset = gap * rng.normal(size=dimension)
        owners = np.repeat(np.arange(count), captions)
        images = meaning + noise * rng.normal(size=meaning.shape) + offset
        texts = meaning[owners] + noise * rng.normal(size=(len(owners), dimension)) - offset
        keys = [f"thing-{number:04}" for number in range(count)]
        corpus = Corpus.of(images, texts, image_keys=keys, text_keys=[keys[owner] for owner in owners])
        return Small(
            corpus=corpus,
            bootstrap=ClusterBootstrap(corpus, seed=1, replicate_count=replicates),
            scan=scan_cosines(corpus),
        )

    return make
