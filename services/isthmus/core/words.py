"""The terms that a text is found by: words as they are written, without stems, for names and numbers matter most.

Texts are brought to one form (Unicode NFKC, case folded) and cut at everything but letters, digits and the marks on
them. What a hyphen, dot, slash, apostrophe or the like joins gives its parts and, without the joints, the whole:
`4711-B` gives `4711`, `b` and `4711b`, and so is found by `4711b` too, and better by its own name than `4711-C` is.
Scripts that write no spaces between words give each pair of neighbouring letters, the usual index of such texts.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from typing import Final

__all__ = ["terms"]

_TERM_MAX_COUNT: Final = 64
"""Characters of a term; longer ones are cut, and no whole of parts is longer."""
_JOINTS: Final = "-_./:+&'\u2019"
_MARKS_END: Final = 0x20000
"""No code point from here on is a mark on a letter of a living script."""
_SPACELESS: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)


def terms(text: str) -> list[str]:
    """Return the terms of a text, in order, as often as they occur.

    >>> terms("Filter, SKU 4711-B")
    ['filter', 'sku', '4711', 'b', '4711b']
    """
    found: list[str] = []
    text = text.casefold() if text.isascii() else _one_form(text)
    joined, word = _patterns(has_marks=not text.isascii())
    for run in joined.findall(text):
        if run.isalnum():
            found.extend(_of_word(run))
            continue
        parts = word.findall(run)
        for part in parts:
            found.extend(_of_word(part))
        if len(parts) > 1 and sum(map(len, parts)) <= _TERM_MAX_COUNT and not _SPACELESS.search(run):
            found.append("".join(parts))
    return found


def _one_form(text: str) -> str:
    # Folding case may leave a form that is to be composed again.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _of_word(word: str) -> list[str]:
    if word.isascii() or not _SPACELESS.search(word):
        return [word[:_TERM_MAX_COUNT]]
    pieces: list[str] = []
    end = 0
    for run in _SPACELESS.finditer(word):
        if run.start() > end:
            pieces.append(word[end : run.start()][:_TERM_MAX_COUNT])
        letters = run.group()
        pieces.extend(map("".join, itertools.pairwise(letters)) if len(letters) > 1 else [letters])
        end = run.end()
    if end < len(word):
        pieces.append(word[end:][:_TERM_MAX_COUNT])
    return pieces


@functools.cache
def _patterns(*, has_marks: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    r"""Return what finds runs of joined words, and the words of a run. `\w` knows letters, but no marks on them."""
    word = r"[^\W_]+"
    if has_marks:
        marks = "".join(chr(code) for code in range(_MARKS_END) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
        word = rf"[^\W_]+(?:[{marks}]+[^\W_]*)*"
    return re.compile(rf"{word}(?:[{_JOINTS}]{word})*"), re.compile(word)
