"""The one-line filters of `isthmus search --where`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.cli.where import WhereError, parse_where
from isthmus.client import F, Filter

_SAID = "price color and or not in ( ) , < >= = 1 2.5 'red' \"blue\" true exists startswith \\ ' -3 1e999 \udcff"
_WORDS = st.sampled_from([*_SAID.split(" "), "`a b`"])


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ('price < 10 and color in ("red","blue")', (F("price") < 10) & F("color").is_in(["red", "blue"])),
        ("price<=-10.5", F("price") <= -10.5),
        ("price = 1e3", F("price") == 1000.0),
        ("price == 1", F("price") == 1),
        ("big != TRUE", F("big") != True),  # noqa: E712 - a value, not a truth
        ("a > 1 or b > 1 and c > 1", (F("a") > 1) | ((F("b") > 1) & (F("c") > 1))),
        ("(a > 1 or b > 1) and c > 1", ((F("a") > 1) | (F("b") > 1)) & (F("c") > 1)),
        ("not a > 1 and b > 1", ~(F("a") > 1) & (F("b") > 1)),
        ("not not a exists", F("a").exists()),
        ("a not in (1, 'x', false)", ~F("a").is_in([1, "x", False])),
        ("name startswith 'it\\'s \\\\'", F("name").startswith("it's \\")),
        ("`exists` exists AND `two words` = ''", F("exists").exists() & (F("two words") == "")),
        ("été.2026-x:y = 'ü'", F("été.2026-x:y") == "ü"),
    ],
)
def test_a_line_means_what_it_says(line: str, meaning: Filter) -> None:
    """`not` binds closest, then `and`, then `or`; words in any case; names and texts as they are."""
    assert parse_where(line) == meaning


@pytest.mark.parametrize(
    ("line", "column", "problem"),
    [
        ("", 1, "expected the name of an attribute"),
        ("price < 10 and", 15, "expected the name of an attribute"),
        ("price < 10 color = 1", 12, "expected and, or, or the end"),
        ("price 10", 7, "expected = != < <= > >= in, not in, startswith or exists"),
        ("price < red", 9, "expected a number, true, false, or a text in quotes"),
        ("price < true", 9, "true and false have no order"),
        ("color in 'red'", 10, "expected ("),
        ("color in ('red' 'blue')", 17, "expected , or )"),
        ("color in ()", 11, "expected a number"),
        ("color not = 1", 11, "expected in"),
        ("color startswith 3", 18, "expected a text"),
        ("color = 'red", 9, "the quote does not end"),
        ("color = `red", 9, "the quote does not end"),
        ("color = 3rd", 9, "this means nothing here"),
        ("color; drop", 6, "this means nothing here"),
        ("(a = 1", 7, "expected )"),
        ("a = 9223372036854775808", 5, "at most 64 bits"),
        ("a = " + "9" * 5_000, 5, "at most 64 bits"),
        ("a = 1e999", 5, "too large"),
        ("not in (1)", 5, "expected the name of an attribute"),
        ("(" * 1_000, 66, "nested deeper than 64"),
        ("not " * 1_000, 261, "nested deeper than 64"),
        ("a = '\udcff'", 6, "no UTF-8"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_column(line: str, column: int, problem: str) -> None:
    """The error says what was expected, and points at where it was not."""
    with pytest.raises(WhereError) as refused:
        parse_where(line)
    assert refused.value.column == column
    assert str(refused.value).startswith(f"column {column}: ")
    assert problem in str(refused.value)


@given(line=st.one_of(st.text(max_size=30), st.lists(_WORDS, max_size=12).map(" ".join)))
def test_any_line_is_read_or_refused(line: str) -> None:
    """Whatever is written, the answer is a filter or an error that points into the line."""
    try:
        size = parse_where(line).message.ByteSize()
    except WhereError as error:
        column, size = error.column, 0
    assert size > 0 or 1 <= column <= len(line) + 1
