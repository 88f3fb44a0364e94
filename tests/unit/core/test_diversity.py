"""Near-duplicates and maximal marginal relevance against loops that follow their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.core.diversity import maximal_marginal_relevance, without_near_duplicates


def _similarity(seed: int, count: int, dimension: int = 3) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, dimension))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows @ rows.T, dtype=np.float32)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 30), above=st.floats(-1, 1))
def test_a_candidate_is_kept_unless_it_resembles_one_that_is_kept(seed: int, count: int, above: float) -> None:
    """Of its own kind, at least as much as the threshold says."""
    similarity = _similarity(seed, count)
    kinds = np.random.default_rng(seed).integers(0, 2, count)
    expected: list[int] = []
    for place in range(count):
        if not any(kinds[kept] == kinds[place] and similarity[kept, place] >= above for kept in expected):
            expected.append(place)
    assert without_near_duplicates(similarity, kinds, above=above).tolist() == expected


def test_a_chain_of_duplicates_is_not_followed() -> None:
    """The third resembles the second only, which is left out: it stays."""
    similarity = np.array([[1, 0.95, 0.8], [0.95, 1, 0.95], [0.8, 0.95, 1]], dtype=np.float32)
    assert without_near_duplicates(similarity, np.zeros(3, dtype=np.int64), above=0.9).tolist() == [0, 2]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 25), trade_off=st.floats(0, 1), wanted=st.integers(1, 30))
def test_each_choice_is_the_best_of_what_is_left(seed: int, count: int, trade_off: float, wanted: int) -> None:
    """The definition, with relevance scaled to [0, 1]."""
    similarity = _similarity(seed, count).astype(np.float64)
    relevance = np.sort(np.random.default_rng(seed).normal(5, 20, count))[::-1]
    spread = relevance[0] - relevance[-1]
    assume(count == 1 or spread > 0)
    found = maximal_marginal_relevance(
        relevance, similarity.astype(np.float32), trade_off=trade_off, count=wanted
    ).tolist()
    assert len(found) == len(set(found)) == min(count, wanted)
    assert found[0] == 0
    scaled = (relevance - relevance[-1]) / (spread or 1.0)
    for step in range(1, len(found)):
        before = found[:step]

        def worth(place: int, before: list[int] = before) -> float:
            return float(trade_off * scaled[place] - (1 - trade_off) * max(similarity[place, before]))

        left = [place for place in range(count) if place not in before]
        assert worth(found[step]) == pytest.approx(max(map(worth, left)), abs=1e-6)


def test_the_trade_off_has_its_ends() -> None:
    """At 1 nothing changes; at 0 the copy of the first comes last."""
    similarity = np.array([[1, 1, 0.2], [1, 1, 0.2], [0.2, 0.2, 1]], dtype=np.float32)
    relevance = np.array([3.0, 2.0, 1.0])
    assert maximal_marginal_relevance(relevance, similarity, trade_off=1.0, count=3).tolist() == [0, 1, 2]
    assert maximal_marginal_relevance(relevance, similarity, trade_off=0.0, count=3).tolist() == [0, 2, 1]
    nothing = np.empty((0, 0), dtype=np.float32)
    assert not len(maximal_marginal_relevance(np.empty(0), nothing, trade_off=0.5, count=3))
