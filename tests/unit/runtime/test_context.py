"""A call's deadline shrinks at each hop, and its id is safe to log."""

from __future__ import annotations

import time

import pytest

from isthmus.runtime.base.context import CallContext, accept_request_id
from isthmus.runtime.base.errors import DeadlineExceededError


def test_a_hop_gets_less_than_what_remains() -> None:
    """A call made on behalf of another keeps 5 ms back."""
    call = CallContext(request_id="r", deadline_s=time.monotonic() + 1)
    timeout_s = call.hop_timeout_s()
    assert timeout_s is not None
    assert 0.9 < timeout_s <= 0.995


def test_no_hop_is_made_when_no_time_is_left() -> None:
    """With less than 7 ms left nobody is asked anything."""
    with pytest.raises(DeadlineExceededError):
        CallContext(request_id="r", deadline_s=time.monotonic() + 0.004).hop_timeout_s()


def test_without_a_deadline_a_hop_has_none() -> None:
    """A stream without deadline passes none on."""
    assert CallContext(request_id="r").hop_timeout_s() is None


@pytest.mark.parametrize("offered", [None, "", "a b", "x" * 65, "a\nb", "é"])
def test_a_harmful_request_id_is_replaced(offered: str | None) -> None:
    """What could break a log line is not taken over."""
    assert accept_request_id(offered) != offered
    assert len(accept_request_id(offered)) == 16


def test_a_harmless_request_id_is_kept() -> None:
    """The caller finds its own id in our logs."""
    assert accept_request_id("svc-1:42") == "svc-1:42"
