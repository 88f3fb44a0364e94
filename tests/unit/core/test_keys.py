"""Pair keys as codes, and choices by hash."""

from __future__ import annotations

import numpy as np

from isthmus.core.keys import key_codes
from isthmus.core.sampling import hashed_share, keyed_sample


def test_equal_keys_have_equal_codes_across_groups() -> None:
    """A photo and its caption meet by their code."""
    images, texts = key_codes(["a", "b"], ["b", "a", "b"])
    assert images.tolist() == [0, 1]
    assert texts.tolist() == [1, 0, 1]


def test_items_without_a_key_equal_nothing() -> None:
    """None and the empty key get negative codes, all different."""
    images, texts = key_codes(["a", None, ""], [None, "a"])
    codes = np.concatenate([images, texts])
    assert len(set(codes.tolist())) == 4
    assert (np.sort(codes)[:3] < 0).all()


def test_a_hashed_share_is_uniform_and_fixed() -> None:
    """About a fifth of all names lies below 0.2, always the same ones; another seed chooses others."""
    names = [f"photo-{number}" for number in range(5_000)]
    shares = np.array([hashed_share(name, seed=0) for name in names])
    assert (shares >= 0).all()
    assert (shares < 1).all()
    assert abs((shares < 0.2).mean() - 0.2) < 0.02  # 0.209 measured
    assert hashed_share("photo-1", seed=0) == hashed_share("photo-1", seed=0)
    assert hashed_share("photo-1", seed=0) != hashed_share("photo-1", seed=1)


def test_a_keyed_sample_grows_by_adding() -> None:
    """A larger sample holds the smaller one: growing a limit moves nothing else."""
    names = [f"photo-{number}" for number in range(100)]
    assert keyed_sample(names, seed=0, limit=60)[:20].tolist() == keyed_sample(names, seed=0, limit=20).tolist()
