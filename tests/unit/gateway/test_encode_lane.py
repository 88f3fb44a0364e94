"""When what waits for an encoder is sent: not in crumbs, and not late."""

from __future__ import annotations

import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Content
from isthmus.gateway.encode_lane import EncodeLane
from isthmus.gateway.single_flight import Flight
from isthmus.runtime.base.context import CallContext


def _lane(*, pending: int, calls: int = 0, gather: int = 4) -> EncodeLane:
    lane = EncodeLane(limit=8, gather_count=gather, coalesce_s=0.006)
    for number in range(pending):
        content = Content(Modality.TEXT, b"t", bytes([number]))
        lane.pending.append((Flight(content.digest, content, CallContext(request_id="r")), 100.0))
    lane.calls = calls
    return lane


def test_with_nobody_else_about_it_goes_now() -> None:
    """No call out, nobody expected: a lone caller waits for nobody."""
    assert _lane(pending=1).wait_s(now_s=100.0) == 0


def test_while_a_call_is_out_it_is_held_for_a_quarter_of_a_second_at_most() -> None:
    """Counted from the oldest that waits, so that a trickle of others cannot prolong it."""
    lane = _lane(pending=1, calls=1)
    assert lane.wait_s(now_s=100.0) == pytest.approx(0.25)
    assert lane.wait_s(now_s=100.2) == pytest.approx(0.05)
    assert lane.wait_s(now_s=101.0) == 0


def test_enough_for_a_call_goes_now() -> None:
    """Whatever is out and whoever is expected."""
    lane = _lane(pending=4, calls=1)
    lane.answered(8, now_s=100.0, took_s=1.0)
    assert lane.wait_s(now_s=100.0) == 0


def test_callers_who_were_answered_are_waited_for() -> None:
    """As long as the next one comes within the gap; when the last is back it goes at once."""
    lane = _lane(pending=1)
    lane.answered(2, now_s=100.0, took_s=0.1)
    lane.arrived()
    assert lane.wait_s(now_s=100.0) == pytest.approx(0.006)
    lane.arrived()
    assert lane.wait_s(now_s=100.0) == 0


def test_nobody_is_waited_for_longer_than_half_the_call() -> None:
    """A call of 4 ms is worth waiting 2 ms; after that its callers are forgotten."""
    lane = _lane(pending=1)
    lane.answered(2, now_s=100.0, took_s=0.004)
    assert lane.wait_s(now_s=100.0) == pytest.approx(0.002)
    assert lane.wait_s(now_s=100.003) == 0


def test_those_who_did_not_come_back_do_not_add_up() -> None:
    """Callers of calls long past are not expected beside those of the last one."""
    lane = _lane(pending=1)
    lane.answered(5, now_s=90.0, took_s=1.0)
    lane.answered(1, now_s=100.0, took_s=1.0)
    lane.arrived()
    assert lane.wait_s(now_s=100.0) == 0


def test_with_gathering_switched_off_everything_goes_now() -> None:
    """As images do."""
    assert _lane(pending=1, calls=3, gather=1).wait_s(now_s=100.0) == 0
