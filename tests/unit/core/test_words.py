"""The terms that texts are found by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.words import terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Filter, SKU 4711-B", ["filter", "sku", "4711", "b", "4711b"]),
        ("4711B", ["4711b"]),
        ("don't  STOP", ["don", "t", "dont", "stop"]),
        ("foo_bar/baz", ["foo", "bar", "baz", "foobarbaz"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("\uff46\uff55\uff4c\uff4c \uff11\uff12", ["full", "12"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("猫が好き cat", ["猫が", "が好", "好き", "cat"]),
        ("犬", ["犬"]),
        ("100キロ", ["100", "キロ"]),
        ("C++ & a.b.", ["c", "a", "b", "ab"]),
        ("-_./ !?", []),
        ("", []),
    ],
)
def test_texts_give_their_terms(text: str, expected: list[str]) -> None:
    """Case and width do not matter, joints are undone and forgotten, marks stay on their letters, no spaces: pairs."""
    assert terms(text) == expected


@given(st.text(max_size=200))
def test_terms_are_short_and_their_own_terms(text: str) -> None:
    """No term is longer than 64 characters or empty, and a term that is searched for finds itself."""
    for term in terms(text):
        assert 0 < len(term) <= 64
        assert term in terms(term) or len(term) == 64
