"""A breaker opens after enough failures in a row and closes on success."""

from __future__ import annotations

from isthmus.gateway.breaker import Breaker


def test_it_opens_on_the_failure_that_reaches_the_threshold() -> None:
    """Only the failure that opens it says so, so that it is logged once."""
    breaker = Breaker(threshold=3)
    assert [breaker.failed() for _ in range(5)] == [False, False, True, False, False]
    assert breaker.is_open


def test_a_success_between_failures_keeps_it_closed() -> None:
    """Failures count in a row only."""
    breaker = Breaker(threshold=2)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert not breaker.is_open


def test_a_success_closes_it() -> None:
    """One good probe is enough."""
    breaker = Breaker(threshold=1)
    breaker.failed()
    breaker.succeeded()
    assert not breaker.is_open
