"""What is taken in: checked at the door, balanced, sampled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core import Modality
from isthmus.core.errors import InvalidVectorError, NotEnoughItemsError, ShapeError
from isthmus.core.gap import Corpus
from tests.unit.core.gap.conftest import Small

ROWS = np.random.default_rng(0).normal(size=(20, 4))


def spoilt(value: float) -> NDArray[np.float64]:
    """Return rows of which row 7 holds `value` throughout."""
    rows = ROWS.copy()
    rows[7] = value
    return rows


@pytest.mark.parametrize(
    ("images", "texts", "refusal", "message"),
    [
        (spoilt(0.0), ROWS, InvalidVectorError, "row 7 of image has zero length; leave such items out"),
        (ROWS, spoilt(np.nan), InvalidVectorError, "row 7 of text holds a value that is not finite"),
        (spoilt(np.inf), ROWS, InvalidVectorError, "row 7 of image holds a value that is not finite"),
        (ROWS[:0], ROWS, NotEnoughItemsError, "image: there are none; a gap needs items of both modalities"),
        (ROWS, ROWS[:0], NotEnoughItemsError, "text: there are none"),
        (ROWS[:15], ROWS[:15], NotEnoughItemsError, "15 pair keys have items of both modalities, at least 16; add"),
        (ROWS[0], ROWS, ShapeError, "image: must be"),
        (ROWS, ROWS[:, :0], ShapeError, "text: must be"),
        (ROWS.astype(str), ROWS, ShapeError, "image: must be"),
        (ROWS, ROWS[:19], ShapeError, "20 images and 19 texts cannot pair row by row; give pair keys"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(
    images: NDArray[np.float64], texts: NDArray[np.float64], refusal: type[Exception], message: str
) -> None:
    """Each refusal names the modality, the row or the number, and says what helps."""
    with pytest.raises(refusal, match=message):
        Corpus.of(images, texts)


def test_keys_come_for_both_modalities_and_for_each_row() -> None:
    """Half the keys cannot pair anything."""
    keys = [str(row) for row in range(20)]
    with pytest.raises(ShapeError, match="for both modalities or for neither"):
        Corpus.of(ROWS, ROWS, image_keys=keys)
    with pytest.raises(ShapeError, match="each of 20 texts, got 19"):
        Corpus.of(ROWS, ROWS, image_keys=keys, text_keys=keys[:19])
    with pytest.raises(NotEnoughItemsError, match="0 pair keys"):
        Corpus.of(ROWS, ROWS, image_keys=keys, text_keys=[None] * 20)


def test_a_balanced_corpus_has_one_of_each_and_is_sorted_by_key(small_corpus: Callable[..., Small]) -> None:
    """The first caption of each photo; the order in which items came does not matter."""
    corpus = small_corpus(30, 3).corpus
    balanced = corpus.balanced()
    assert (balanced.images == corpus.images).all()
    assert (balanced.texts == corpus.texts[::3]).all()
    order = np.random.default_rng(0).permutation(30)
    shuffled = Corpus.of(
        corpus.images[order],
        corpus.texts,
        image_keys=[corpus.keys[Modality.IMAGE][row] for row in order],
        text_keys=corpus.keys[Modality.TEXT],
    )
    assert (shuffled.balanced().images == balanced.images).all()


def test_a_sample_is_chosen_by_seed_and_key(small_corpus: Callable[..., Small]) -> None:
    """Of the wanted size, pairs kept together, the same again, others by another seed."""
    corpus = small_corpus(50).corpus
    sample = corpus.sample(seed=0, limit=20)
    assert len(sample.images) == len(sample.texts) == 20
    assert sample.keys[Modality.IMAGE] == sample.keys[Modality.TEXT]
    rows = [corpus.keys[Modality.IMAGE].index(key) for key in sample.keys[Modality.IMAGE]]
    assert (sample.images == corpus.images[rows]).all()
    assert (sample.texts == corpus.texts[rows]).all()
    assert corpus.sample(seed=0, limit=20).keys == sample.keys
    assert corpus.sample(seed=1, limit=20).keys != sample.keys


def test_rows_of_any_length_are_scaled_without_overflow() -> None:
    """Rows of 1e30 and of 1e-30 get length one."""
    corpus = Corpus.of(ROWS * 1e30, (ROWS * 1e-30).astype(np.float32))
    assert np.linalg.norm(corpus.images, axis=1) == pytest.approx(np.ones(20), abs=1e-6)
    assert np.linalg.norm(corpus.texts, axis=1) == pytest.approx(np.ones(20), abs=1e-5)
