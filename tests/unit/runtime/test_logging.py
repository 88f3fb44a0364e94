"""Logs are one key=value line an event, and a caller's text cannot forge one."""

from __future__ import annotations

import logging

from isthmus.runtime.base import context
from isthmus.runtime.base.logging import KeyValueFormatter, fields


def _line(message: str, **values: object) -> str:
    record = logging.LogRecord("isthmus.test", logging.INFO, "f.py", 1, message, None, None)
    for key, value in fields(**values).items():
        setattr(record, key, value)
    return KeyValueFormatter().format(record)


def test_fields_follow_the_message() -> None:
    """The message is constant; what varies is a field."""
    assert _line("collection created", revision=3).endswith(
        'level=info logger=isthmus.test msg="collection created" revision=3'
    )


def test_a_line_break_in_a_field_does_not_start_a_line() -> None:
    """A value with white space or quotes is escaped."""
    assert _line("x", name='a\nlevel=error "').endswith(r'name="a\nlevel=error \""')


async def test_the_request_id_of_the_call_is_in_every_line() -> None:
    """Inside a call, its request id and tenant are added without anybody passing them."""
    context.enter(context.CallContext(request_id="abc", caller=context.Caller(tenant="t")))
    assert "request_id=abc tenant=t" in _line("x")


def test_outside_of_a_call_there_is_no_request_id() -> None:
    """A line of start-up names no request."""
    assert "request_id" not in _line("x")
