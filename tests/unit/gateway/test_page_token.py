"""Tokens of pages: what is written is read, and nothing else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.gateway.page_token import PageToken, read_token, search_digest, write_token
from isthmus.runtime.base.errors import InvalidArgumentError

_SEARCH = search_digest(("things", "a"))


@given(order=st.binary(min_size=8, max_size=8), revision=st.integers(0, 2**64 - 1), position=st.integers(0, 10_000))
def test_what_is_written_is_read(order: bytes, revision: int, position: int) -> None:
    """Every value comes back, from text that fits into a URL."""
    token = PageToken(order, revision, position, _SEARCH)
    text = write_token(token)
    assert read_token(text, search=_SEARCH) == token
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


_GOOD = write_token(PageToken(b"12345678", 3, 20, _SEARCH))


@pytest.mark.parametrize(
    "text",
    ["x", "not a token", "é", _GOOD[:-2], _GOOD + "AAAA", base64.urlsafe_b64encode(bytes(37)).rstrip(b"=").decode()],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    """Cut, longer, of another alphabet, of another version."""
    with pytest.raises(InvalidArgumentError) as refused:
        read_token(text, search=_SEARCH)
    assert (refused.value.reason, refused.value.metadata) == ("INVALID_FIELD", {"field": "page_token"})


def test_a_token_of_another_search_is_refused() -> None:
    """Its position means nothing there."""
    with pytest.raises(InvalidArgumentError, match="another search"):
        read_token(_GOOD, search=search_digest(("things", "b")))
