"""Paired embeddings of two unrelated raw spaces, joined by a meaning that neither shows plainly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isthmus.core import canonical
from isthmus.training.aligner import EmbeddedData
from isthmus.training.loop import EmbeddedPairs

MakeData = Callable[..., EmbeddedData]


@pytest.fixture
def make_data() -> MakeData:
    """Make photos of 40 numbers and captions of 24, each a random map of one meaning of 8 numbers, plus noise."""

    def make(photos: int = 900, captions: int = 2, *, noise: float = 0.4, seed: int = 4) -> EmbeddedData:
        rng = np.random.default_rng(seed)
        meaning = rng.normal(size=(photos, 8))
        owners = np.repeat(np.arange(photos), captions)
        image_map, text_map = rng.normal(size=(8, 40)), rng.normal(size=(8, 24))
        images = meaning @ image_map + noise * rng.normal(size=(photos, 40))
        texts = np.tanh(meaning[owners]) @ text_map + noise * rng.normal(size=(len(owners), 24))
        return EmbeddedData(
            pairs=EmbeddedPairs(
                images=canonical(images), texts=canonical(texts), owners=owners, codes=np.arange(photos)
            ),
            pair_keys=[f"photo-{number}" for number in range(photos)],
            image_space="net@0011223344556677",
            text_space="bert@8899aabbccddeeff",
        )

    return make
