"""Splits by pair key: nothing is both learned from and judged on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isthmus.core.errors import CoreError, LeakError, NotEnoughItemsError, ShapeError
from isthmus.core.splits import HELD_OUT_SHARE, check_no_leak, held_out, join_equal_photos, split_pairs
from tests.unit.core.conftest import Pairs


def test_a_fifth_of_the_photos_is_held_out_with_all_their_captions(make_pairs: Callable[..., Pairs]) -> None:
    """Every photo and its captions are on one side, and both sides together are everything."""
    pairs = make_pairs(count=1_000, captions=3)
    split = split_pairs(pairs.image_keys, pairs.text_keys, seed=4, image_vectors=pairs.images)
    assert abs(split.test_pair_count / 1_000 - HELD_OUT_SHARE) < 0.04  # .190 measured
    assert split.fit_pair_count + split.test_pair_count == 1_000
    assert len(split.test_texts) == 3 * split.test_pair_count
    assert {pairs.text_keys[row] for row in split.test_texts} == {pairs.image_keys[row] for row in split.test_images}
    assert sorted([*split.fit_texts, *split.test_texts]) == list(range(3_000))


def test_what_is_held_out_stays_held_out_when_items_come_and_go() -> None:
    """The choice depends on key and seed alone."""
    keys = [f"photo-{number}" for number in range(300)]
    once = dict(zip(keys, held_out(keys, seed=1), strict=True))
    again = dict(zip(keys[::-2], held_out(keys[::-2], seed=1), strict=True))
    assert all(once[key] == side for key, side in again.items())
    assert any(held_out(keys, seed=2) != held_out(keys, seed=1))


def test_items_without_a_partner_are_on_neither_side() -> None:
    """No key, or a key of one modality only, teaches and judges nothing."""
    keys = [str(number) for number in range(50)]
    split = split_pairs([*keys, None, "only image"], [*keys, "", "only text"], seed=0)
    assert sorted([*split.fit_images, *split.test_images]) == list(range(50))
    assert sorted([*split.fit_texts, *split.test_texts]) == list(range(50))


def test_a_photo_under_two_keys_makes_the_split_refuse(make_pairs: Callable[..., Pairs]) -> None:
    """A planted leak: the vector of a fitted photo again under a held-out key; its keys joined, the split holds."""
    pairs = make_pairs(count=60, captions=1)
    clean = split_pairs(pairs.image_keys, pairs.text_keys, seed=0, image_vectors=pairs.images)
    images = pairs.images.copy()
    images[clean.test_images[0]] = 3.0 * images[clean.fit_images[0]]
    with pytest.raises(LeakError, match=r"1 of .* held-out images .* give equal photos one pair_key"):
        split_pairs(pairs.image_keys, pairs.text_keys, seed=0, image_vectors=images)

    joined = join_equal_photos(pairs.image_keys, images)
    image_keys, text_keys = ([joined[key] for key in keys] for keys in (pairs.image_keys, pairs.text_keys))
    assert len(set(image_keys)) == 59
    split = split_pairs(image_keys, text_keys, seed=0, image_vectors=images)
    assert split.fit_pair_count + split.test_pair_count == 59


def test_a_key_on_both_sides_is_a_leak() -> None:
    """Keys are compared first; items without a key are no leak."""
    with pytest.raises(LeakError, match="2 pair keys are on both sides"):
        check_no_leak(["a", "b", "c"], ["c", "d", "a", "a"])
    check_no_leak(["a", None, ""], ["b", None, ""])


def test_one_caption_of_two_photos_is_no_leak(make_pairs: Callable[..., Pairs]) -> None:
    """Two photos may be described by the same words: only images are compared."""
    pairs = make_pairs(count=60, captions=1)
    check_no_leak(
        pairs.image_keys[:40], pairs.image_keys[40:], fit_images=pairs.images[:40], test_images=pairs.images[40:]
    )


def test_joining_follows_chains() -> None:
    """Photo x under a and b, photo y under b and c: one group."""
    x, y, z = np.eye(3)
    joined = join_equal_photos(["b", "a", "c", "b", "d", None], np.stack([x, x, y, y, z, z]))
    assert joined == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_too_few_pairs_say_how_many_there_are() -> None:
    """One pair cannot be on two sides."""
    with pytest.raises(NotEnoughItemsError, match="1 pair keys"):
        split_pairs(["a"], ["a"], seed=0)
    with pytest.raises(NotEnoughItemsError, match="0 pair keys"):
        split_pairs(["a", None], ["b", None], seed=0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_lies_between_nothing_and_everything(share: float) -> None:
    """Holding out all or nothing is no split."""
    with pytest.raises(CoreError, match="share"):
        split_pairs(["a", "b"], ["a", "b"], seed=0, share=share)


def test_every_image_key_needs_its_vector() -> None:
    """Vectors of another number or dimension are refused by name."""
    with pytest.raises(ShapeError, match="image_vectors"):
        split_pairs(["a", "b"], ["a", "b"], seed=0, image_vectors=np.eye(3))
    with pytest.raises(ShapeError, match="image_vectors"):
        join_equal_photos(["a", "b"], np.eye(3))
    with pytest.raises(ShapeError, match="one dimension"):
        check_no_leak(["a"], ["b"], fit_images=np.ones((1, 3)), test_images=np.ones((1, 4)))
