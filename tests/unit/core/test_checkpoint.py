"""Long numerics can be given up at any time: their loops come by a check."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from isthmus.core.aligners import FITTED_METHODS, FitOptions, Label
from isthmus.core.checkpoint import checked, checkpoint
from isthmus.core.recipe import RawPairs, fit_and_judge

SPACE = "clip@00112233445566aa"


class _GivenUpError(Exception):
    """Nobody waits any more."""


class _Countdown:
    """A check that gives up at its `last` call."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self._last = last

    def __call__(self) -> None:
        """Count, and give up."""
        self.count += 1
        if self.count == self._last:
            raise _GivenUpError


def _pairs() -> RawPairs:
    rng = np.random.default_rng(3)
    shared = rng.standard_normal((300, 72))
    rows = [shared + 0.5 * rng.standard_normal((300, 72)) + shift for shift in (1.0, -1.0)]
    images, texts = ((row / np.linalg.norm(row, axis=1, keepdims=True)).astype(np.float32) for row in rows)
    keys = [f"p{number}" for number in range(300)]
    return RawPairs(images=images, texts=texts, image_keys=keys, text_keys=keys, image_space=SPACE, text_space=SPACE)


def _work(method: str, pairs: RawPairs) -> None:
    label = Label(aligner_id="a", created_by="test", seed=0)
    fit_and_judge(method, pairs, label=label, options=FitOptions(hubness=True))


@pytest.mark.parametrize("method", FITTED_METHODS)
def test_every_method_can_be_given_up_from_its_fit_to_its_last_judgement(method: str) -> None:
    """Wherever the check says no, the work ends there with what the check raised: nothing on the way swallows it."""
    pairs = _pairs()
    whole = _Countdown(last=0)
    with checked(whole):
        _work(method, pairs)
    assert whole.count > 20
    for last in {1, whole.count // 3, whole.count}:
        check = _Countdown(last)
        with checked(check), pytest.raises(_GivenUpError):
            _work(method, pairs)
        assert check.count == last


def test_a_check_is_bound_to_its_thread_and_its_block() -> None:
    """Work beside it and work after it go on; of two that are bound the inner one counts."""
    outer, inner, beside = _Countdown(0), _Countdown(0), []

    def other() -> None:
        checkpoint()
        beside.append(outer.count)

    with checked(outer):
        checkpoint()
        with checked(inner):
            checkpoint()
        checkpoint()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    checkpoint()
    assert (outer.count, inner.count, beside) == (2, 1, [2])
