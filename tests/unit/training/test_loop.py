"""Training of heads: it learns, it repeats, it serves what it trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from isthmus.core import Modality
from isthmus.core.aligners.heads import Head
from isthmus.core.metrics import cross_modal_recall
from isthmus.training import HeadsConfig, Progress
from isthmus.training.loop import EmbeddedPairs, _CaptionSampler, train_heads
from isthmus.training.network import TrainableHead
from tests.unit.training.conftest import MakeData

SMALL = HeadsConfig(dimension=12, hidden=32, epochs=6, batch_count=128, image_dropout=0.1, text_dropout=0.1, noise=0.1)


def split(pairs: EmbeddedPairs, learned: int) -> tuple[EmbeddedPairs, EmbeddedPairs]:
    """Return the first photos and the others."""
    return pairs.subset(np.arange(learned)), pairs.subset(np.arange(learned, len(pairs.images)))


def r1(heads: Mapping[Modality, Head], pairs: EmbeddedPairs) -> float:
    """Return t2i R@1 of served heads."""
    x, y = heads[Modality.IMAGE].apply(pairs.images), heads[Modality.TEXT].apply(pairs.texts)
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    return cross_modal_recall(y, x, query_codes=pairs.codes[pairs.owners], item_codes=pairs.codes).r1


def test_training_beats_its_closed_form_start(make_data: MakeData) -> None:
    """On photos that it has not seen the heads find more than the CCA that they start from."""
    learned, fresh = split(make_data(noise=0.6).pairs, 700)
    start = train_heads(learned, fresh, config=replace(SMALL, learning_rate=1e-9), seed=0)
    trained = train_heads(learned, fresh, config=SMALL, seed=0)
    assert r1(trained.heads, fresh) > r1(start.heads, fresh) + 0.02


def test_the_same_seed_gives_the_same_heads(make_data: MakeData) -> None:
    """Bit for bit; another seed gives others."""
    learned, fresh = split(make_data(photos=300).pairs, 200)
    config = replace(SMALL, epochs=1)
    one, two, other = (train_heads(learned, fresh, config=config, seed=seed) for seed in (1, 1, 2))
    assert (one.heads[Modality.TEXT].weight == two.heads[Modality.TEXT].weight).all()
    assert (one.heads[Modality.TEXT].weight != other.heads[Modality.TEXT].weight).any()


def test_training_leaves_the_global_generator_alone(make_data: MakeData) -> None:
    """A library that seeds torch for everybody breaks other people's experiments."""
    learned, fresh = split(make_data(photos=200).pairs, 150)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_heads(learned, fresh, config=replace(SMALL, epochs=1), seed=0)
    assert (torch.rand(3) == expected).all()


def test_the_best_epoch_is_kept(make_data: MakeData) -> None:
    """The epoch returned is the first with the highest figure, and progress tells every figure."""
    learned, fresh = split(make_data(photos=300).pairs, 200)
    told: list[Progress] = []
    trained = train_heads(learned, fresh, config=SMALL, seed=0, progress=told.append)
    assert trained.epoch == 1 + int(np.argmax(trained.figures))
    assert [step.figure for step in told] == list(trained.figures)
    assert [(step.done, step.total) for step in told] == [(epoch, 6) for epoch in range(1, 7)]


def test_served_heads_do_what_the_trained_ones_do() -> None:
    """Second route: torch in evaluation mode and the folded numpy head give the same unit rows."""
    rng = np.random.default_rng(0)
    head = TrainableHead(
        mean=rng.normal(size=20).astype(np.float32),
        scale=0.03,
        weight=rng.normal(size=(20, 7)).astype(np.float32),
        dropout=0.5,
        config=HeadsConfig(hidden=11),
    ).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(scale=0.3, size=tuple(parameter.shape)).astype(np.float32)))
        x = rng.normal(size=(9, 20)).astype(np.float32)
        expected = head(torch.from_numpy(x)).numpy()
    y = head.served().apply(x)
    assert np.abs(y / np.linalg.norm(y, axis=1, keepdims=True) - expected).max() < 1e-5  # 2e-7 measured


def test_an_untrained_head_is_its_linear_start() -> None:
    """The perceptron begins at zero, so the first step starts from the closed form."""
    rng = np.random.default_rng(0)
    mean, weight = rng.normal(size=20).astype(np.float32), rng.normal(size=(20, 7)).astype(np.float32)
    head = TrainableHead(mean=mean, scale=0.03, weight=weight, dropout=0.5, config=HeadsConfig(hidden=11))
    x = rng.normal(size=(9, 20)).astype(np.float32)
    assert np.allclose(head.served().apply(x), (x - mean) @ weight, atol=1e-4)


def test_every_draw_is_a_caption_of_its_photo() -> None:
    """Photos with one, two and five captions, in any order of rows; every caption is drawn some day."""
    owners = np.array([2, 0, 2, 1, 2, 1, 2, 2])
    pairs = EmbeddedPairs(
        images=np.ones((3, 2), np.float32), texts=np.ones((8, 2), np.float32), owners=owners, codes=np.arange(3)
    )
    sampler = _CaptionSampler(pairs, np.random.default_rng(0))
    photos = np.array([2, 0, 1, 2])
    drawn = np.stack([sampler.draw(photos) for _ in range(200)])
    assert (owners[drawn] == photos).all()
    assert set(drawn.ravel()) == set(range(8))


def test_a_subset_keeps_captions_with_their_photos(make_data: MakeData) -> None:
    """Chosen photos come in the order given, each with exactly its own captions."""
    pairs = make_data(photos=10, captions=3).pairs
    part = pairs.subset(np.array([7, 2]))
    assert (part.images == pairs.images[[7, 2]]).all()
    assert (part.codes == [7, 2]).all()
    for row, owner in enumerate(part.owners):
        photo = (7, 2)[owner]
        assert (pairs.texts[3 * photo : 3 * photo + 3] == part.texts[row]).all(axis=1).any()


def test_fewer_photos_than_a_batch_still_train(make_data: MakeData) -> None:
    """The batch shrinks to what there is."""
    learned, fresh = split(make_data(photos=120).pairs, 60)
    config = replace(SMALL, epochs=1, batch_count=512)
    assert np.isfinite(train_heads(learned, fresh, config=config, seed=0).heads[Modality.IMAGE].weight).all()


def test_without_a_hidden_layer_the_heads_are_linear(make_data: MakeData) -> None:
    """`hidden=0` trains the linear maps alone."""
    learned, fresh = split(make_data(photos=200).pairs, 150)
    config = replace(SMALL, epochs=1, hidden=0)
    assert train_heads(learned, fresh, config=config, seed=0).heads[Modality.TEXT].hidden_weight.shape == (0, 24)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimension": 0},
        {"epochs": 0},
        {"batch_count": 0},
        {"image_dropout": 1.0},
        {"average_decay": -0.1},
        {"hidden": -1},
        {"temperature": 0.0},
        {"learning_rate": 0.0},
    ],
)
def test_numbers_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    """A typo is noticed before minutes of embedding."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HeadsConfig(**wrong)  # type: ignore[arg-type]
