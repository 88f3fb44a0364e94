r"""Read a filter from one line: `price < 10 and color in ("red", "blue") and not name startswith "x"`.

    filter     = all { "or" all }
    all        = one { "and" one }
    one        = "not" one | "(" filter ")" | condition
    condition  = name ( compare value | ["not"] "in" "(" value { "," value } ")" | "startswith" text | "exists" )
    compare    = "=" | "==" | "!=" | "<" | "<=" | ">" | ">="
    value      = number | text | "true" | "false"

A text stands in quotes of either kind; `\` before a character takes it as it is. A name that is no word, or is one of
the words above, stands in backquotes. Nothing is evaluated.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, NoReturn

from isthmus.client import AttributeValue, F, Filter

__all__ = ["WhereError", "parse_where"]

_NESTING_MAX_COUNT: Final = 64
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<quoted>`[^`]+`)
      | (?P<word>[^\W\d][\w.:-]*)
      | (?P<sign><=|>=|==|!=|<|>|=|\(|\)|,)
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Filter]]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERS: Final = frozenset({"<", "<=", ">", ">="})
_WORDS: Final = frozenset({"and", "or", "not", "in", "startswith", "exists", "true", "false"})
_INT64_LIMIT: Final = 2**63


class WhereError(ValueError):
    """A filter cannot be read.

    Args:
        problem: What is wrong.
        column: Where, from 1.
    """

    def __init__(self, problem: str, *, column: int) -> None:
        super().__init__(f"column {column}: {problem}")
        self.column = column


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of the line: its kind, what it says, and where it begins, from 1."""

    kind: str
    says: str
    column: int


def parse_where(line: str) -> Filter:
    """Return the filter that a line means.

    Raises:
        WhereError: it means none; the error says what is wrong and in which column.
    """
    try:
        line.encode()
    except UnicodeEncodeError as error:
        problem = "this is no UTF-8"
        raise WhereError(problem, column=error.start + 1) from None
    reader = _Reader(_tokens(line))
    found = reader.any_of(depth=0)
    reader.expect_end()
    return found


def _tokens(line: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(line, place)
        if match is None or match.lastgroup is None:
            column = place + len(line[place:]) - len(line[place:].lstrip()) + 1
            quote = line[column - 1] in "\"'`"
            raise WhereError("the quote does not end" if quote else "this means nothing here", column=column)
        kind, says = match.lastgroup, match[match.lastgroup]
        tokens.append(_Token(kind, says.lower() if kind == "word" and says.lower() in _WORDS else says, _column(match)))
        place = match.end()
    return tokens


def _column(match: re.Match[str]) -> int:
    return match.start(match.lastgroup or 0) + 1


class _Reader:
    """Reads tokens by recursive descent."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += token.kind != "end"
        return token

    def _took(self, *says: str) -> bool:
        """Take the next token if it is a sign or a bare word that says one of `says`."""
        found = self._next.kind in {"sign", "word"} and self._next.says in says
        if found:
            self._take()
        return found

    def _fail(self, problem: str, token: _Token | None = None) -> NoReturn:
        raise WhereError(problem, column=(token or self._next).column)

    def expect_end(self) -> None:
        """Refuse whatever is left."""
        if self._next.kind != "end":
            self._fail("expected and, or, or the end")

    def any_of(self, *, depth: int) -> Filter:
        parts = [self._all_of(depth=depth)]
        while self._took("or"):
            parts.append(self._all_of(depth=depth))
        return reduce(operator.or_, parts)

    def _all_of(self, *, depth: int) -> Filter:
        parts = [self._one(depth=depth)]
        while self._took("and"):
            parts.append(self._one(depth=depth))
        return reduce(operator.and_, parts)

    def _one(self, *, depth: int) -> Filter:
        if depth > _NESTING_MAX_COUNT:
            self._fail(f"nested deeper than {_NESTING_MAX_COUNT}")
        if self._took("not"):
            return ~self._one(depth=depth + 1)
        if self._took("("):
            found = self.any_of(depth=depth + 1)
            if not self._took(")"):
                self._fail("expected )")
            return found
        return self._condition()

    def _condition(self) -> Filter:
        token = self._take()
        if token.kind == "quoted":
            attribute = F(token.says[1:-1])
        elif token.kind == "word" and token.says not in _WORDS:
            attribute = F(token.says)
        else:
            self._fail("expected the name of an attribute", token)
        if self._took("exists"):
            return attribute.exists()
        if self._took("startswith"):
            return attribute.startswith(self._text())
        if self._took("not"):
            if not self._took("in"):
                self._fail("expected in")
            return ~attribute.is_in(self._values())
        if self._took("in"):
            return attribute.is_in(self._values())
        sign = self._take()
        if sign.kind != "sign" or sign.says not in _COMPARE:
            self._fail("expected = != < <= > >= in, not in, startswith or exists", sign)
        token = self._next
        value = self._value()
        if sign.says in _ORDERS and isinstance(value, bool):
            self._fail("true and false have no order", token)
        return _COMPARE[sign.says](attribute, value)

    def _values(self) -> list[AttributeValue]:
        if not self._took("("):
            self._fail("expected (")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        if not self._took(")"):
            self._fail("expected , or )")
        return values

    def _text(self) -> str:
        token = self._next
        value = self._value()
        if not isinstance(value, str):
            self._fail("expected a text in quotes", token)
        return value

    def _value(self) -> AttributeValue:
        token = self._take()
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.says[1:-1], flags=re.DOTALL)
        if token.kind == "word" and token.says in {"true", "false"}:
            return token.says == "true"
        if token.kind != "number":
            self._fail("expected a number, true, false, or a text in quotes", token)
        if re.fullmatch(r"[+-]?\d+", token.says):
            # The length first: Python refuses to read thousands of digits.
            if len(token.says) > len(str(_INT64_LIMIT)) + 1 or not -_INT64_LIMIT <= int(token.says) < _INT64_LIMIT:
                self._fail("a whole number has at most 64 bits", token)
            return int(token.says)
        number = float(token.says)
        if abs(number) == float("inf"):
            self._fail("the number is too large", token)
        return number
