"""Small paired embeddings with a modality gap, as in real spaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core import Modality, canonical
from isthmus.core.aligners import Artefact, FitPairs, load_aligner

SPACE = "clip@00112233445566aa"


@dataclass(frozen=True)
class Pairs:
    """Images, captions and which belong together."""

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    image_keys: list[str]
    text_keys: list[str]

    @property
    def vectors(self) -> dict[Modality, NDArray[np.float32]]:
        """Vectors by modality."""
        return {Modality.IMAGE: self.images, Modality.TEXT: self.texts}


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(20)


@pytest.fixture
def make_pairs() -> Callable[..., Pairs]:
    """Make pairs: a shared meaning, noise of each side, and a constant gap between the modalities."""

    def make(
        count: int = 200, captions: int = 3, *, dimension: int = 24, noise: float = 0.5, gap: float = 1.0, seed: int = 5
    ) -> Pairs:
        rng = np.random.default_rng(seed)
        meaning = rng.normal(size=(count, dimension))
        offset = gap * rng.normal(size=dimension)
        owners = np.repeat(np.arange(count), captions)
        images = meaning + noise * rng.normal(size=meaning.shape) + offset
        texts = meaning[owners] + noise * rng.normal(size=(len(owners), dimension)) - offset
        keys = [f"thing-{number}" for number in range(count)]
        return Pairs(canonical(images), canonical(texts), keys, [keys[owner] for owner in owners])

    return make


@pytest.fixture
def pairs(make_pairs: Callable[..., Pairs]) -> FitPairs:
    """200 images and 600 texts of one raw space."""
    return as_fit_pairs(make_pairs())


def as_fit_pairs(made: Pairs, *, text_space: str = SPACE) -> FitPairs:
    """Pair items by their keys."""
    return FitPairs.by_key(
        made.images,
        made.texts,
        image_keys=made.image_keys,
        text_keys=made.text_keys,
        image_space=SPACE,
        text_space=text_space,
    )


def recall(pairs: FitPairs, artefact: Artefact) -> float:
    """Return the share of texts whose image comes first."""
    aligner = load_aligner(artefact)
    scores = aligner.query_rows(pairs.texts, Modality.TEXT) @ aligner.item_rows(pairs.images, Modality.IMAGE).T
    return float((scores.argmax(axis=1) == pairs.owners).mean())
