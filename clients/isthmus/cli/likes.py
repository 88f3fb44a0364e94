"""`--like` and `--unlike`: examples as people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from isthmus.cli.failures import UsageError
from isthmus.cli.local import read_bytes
from isthmus.client import Example

__all__ = ["parse_likes"]

_LIKE: Final = re.compile(r"(?:(?P<weight>\d+(?:\.\d+)?|\.\d+)\*)?(?P<kind>text|image|item):(?P<value>.+)", re.DOTALL)


def parse_likes(likes: Sequence[str], unlikes: Sequence[str]) -> list[Example]:
    """Return the examples that `[WEIGHT*](text|image|item):VALUE` stand for.

    Raises:
        UsageError: one is written otherwise, or its file cannot be read.
    """
    return [_example(like, 1, "--like") for like in likes] + [_example(like, -1, "--unlike") for like in unlikes]


def _example(written: str, sign: int, option: str) -> Example:
    found = _LIKE.fullmatch(written)
    if found is None:
        msg = f"{option} takes text:WORDS, image:FILE or item:ID, and a weight before it if need be, as in 0.5*item:ID"
        raise UsageError(msg)
    weight, value = sign * float(found["weight"] or 1), found["value"]
    if found["kind"] == "text":
        return Example(text=value, weight=weight)
    if found["kind"] == "image":
        return Example(image=read_bytes(Path(value)), weight=weight)
    return Example(item_id=value, weight=weight)
