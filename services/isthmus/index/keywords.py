"""The terms of a segment's kept texts, and exact BM25 over the live items of many segments. Immutable.

Statistics are those of the live texts of a snapshot, counted anew for each search from the lists of the terms that it
asks for. So a score depends on the snapshot's texts alone: not on how rows lie in segments, on dead rows, or on what a
filter leaves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.core.words import terms
from isthmus.index.model import TEXT_NAME

__all__ = ["KeywordColumns", "Posted", "bm25"]

_PARSE_ROWS: Final = 256
"""Texts parsed at once, some milliseconds: other threads get their turn in between."""
_K1: Final = 1.2
_B: Final = 0.75

Posted: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Rows, ascending, and as many scores."""


@dataclass(frozen=True, slots=True)
class KeywordColumns:
    """The terms of a segment's kept texts.

    Attributes:
        numbers: Of each term.
        starts: (terms + 1,) int64; term i is in the items `rows[starts[i]:starts[i + 1]]`.
        rows: (n,) int32 rows of the segment, ascending for each term.
        counts: (n,) int32 how often the term is there.
        lengths: (rows of the segment,) int32 terms of each item's text; 0 where none is kept.
    """

    numbers: Mapping[str, int]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    counts: NDArray[np.int32]
    lengths: NDArray[np.int32]

    @classmethod
    def parse(cls, attributes: pa.BinaryArray) -> Self:
        """Read the texts that the store keeps among the attributes, one JSON object an item."""
        numbers: dict[str, int] = {}
        posted: list[tuple[int, int, int]] = []
        lengths = np.zeros(len(attributes), dtype=np.int32)
        # Wherever the name occurs: that it is a name and no part of a value is seen once the object is read.
        named = pc.match_substring(attributes, f'"{TEXT_NAME}"').to_numpy(zero_copy_only=False)
        texts = np.flatnonzero(named.astype(np.bool_))
        for start in range(0, len(texts), _PARSE_ROWS):
            part = texts[start : start + _PARSE_ROWS]
            documents = attributes.take(pa.array(part)).to_pylist()
            for row, document in zip(part.tolist(), json.loads(b"[%b]" % b",".join(documents)), strict=True):
                found = terms(document.get(TEXT_NAME, ""))
                lengths[row] = len(found)
                for term, count in Counter(found).items():
                    posted.append((numbers.setdefault(term, len(numbers)), row, count))
        table = np.array(posted, dtype=np.int64).reshape(-1, 3)
        return cls._ordered(numbers, table[:, 0], table[:, 1], table[:, 2], lengths)

    @classmethod
    def merged(cls, parts: Sequence[tuple[Self, NDArray[np.int64]]]) -> Self:
        """Return the terms of some items of several segments, one segment after the other.

        Args:
            parts: Terms, and the rows of theirs that stay, ascending. Terms of none of these are forgotten.
        """
        numbers: dict[str, int] = {}
        moved: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]] = []
        offset = 0
        for part, live in parts:
            to = np.full(len(part.lengths), -1, dtype=np.int64)
            to[live] = np.arange(offset, offset + len(live))
            offset += len(live)
            rows = to[part.rows]
            stays = rows >= 0
            of = np.repeat(np.arange(len(part.numbers)), np.diff(part.starts))[stays]
            renumbered = np.full(len(part.numbers), -1, dtype=np.int64)
            kept = np.zeros(len(part.numbers), dtype=np.bool_)
            kept[of] = True
            for term, number in part.numbers.items():
                if kept[number]:
                    renumbered[number] = numbers.setdefault(term, len(numbers))
            moved.append((renumbered[of], rows[stays], part.counts[stays]))
        lengths = np.concatenate([part.lengths[live] for part, live in parts])
        terms_of, rows_of, counts_of = (np.concatenate(columns) for columns in zip(*moved, strict=True))
        return cls._ordered(numbers, terms_of, rows_of, counts_of, lengths)

    @classmethod
    def _ordered(
        cls,
        numbers: Mapping[str, int],
        terms_of: NDArray[np.int64],
        rows: NDArray[np.int64],
        counts: NDArray[np.signedinteger],
        lengths: NDArray[np.int32],
    ) -> Self:
        order = np.lexsort((rows, terms_of))
        starts = np.zeros(len(numbers) + 1, dtype=np.int64)
        np.cumsum(np.bincount(terms_of, minlength=len(numbers)), out=starts[1:])
        return cls(numbers, starts, rows[order].astype(np.int32), counts[order].astype(np.int32), lengths)

    def posted(self, term: str, live: NDArray[np.bool_] | None) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the live items that hold a term, ascending, and how often each does."""
        number = self.numbers.get(term)
        if number is None:
            return self.rows[:0], self.counts[:0]
        run = slice(self.starts[number], self.starts[number + 1])
        rows, counts = self.rows[run], self.counts[run]
        if live is None:
            return rows, counts
        lives = live[rows]
        return rows[lives], counts[lives]

    def size(self, live: NDArray[np.bool_] | None) -> tuple[int, int]:
        """Return the live items whose text is kept, and the terms of all their texts."""
        lengths = self.lengths if live is None else self.lengths[live]
        return int(np.count_nonzero(lengths)), int(lengths.sum(dtype=np.int64))


def bm25(
    parts: Sequence[tuple[KeywordColumns, NDArray[np.bool_] | None]], asked: Sequence[str]
) -> tuple[list[Posted], int]:
    """Score every live item that holds at least one of the terms asked for.

    With N live texts, of which n hold the term, f times in a text of length l, mean length m:

        idf = ln(1 + (N - n + 0.5) / (n + 0.5))
        score = sum over terms of idf f (k1 + 1) / (f + k1 (1 - b + b l / m)),    k1 = 1.2, b = 0.75

    (Robertson & Zaragoza 2009, eq. 3.15, with the idf that is never negative, as Lucene has it.) Terms are added up in
    one order, so equal texts have equal scores to the last bit.

    Args:
        parts: Terms of each segment, and which of its rows are live, None for all.
        asked: Terms; each counts once.

    Returns:
        Of each segment the items with their scores, and N.
    """
    sizes = [columns.size(live) for columns, live in parts]
    texts, total = sum(count for count, _ in sizes), sum(length for _, length in sizes)
    if not texts:
        empty = np.empty(0, dtype=np.int64), np.empty(0)
        return [empty for _ in parts], 0
    mean = total / texts
    scores = [np.zeros(len(columns.lengths)) for columns, _ in parts]
    for term in sorted(set(asked)):
        found = [columns.posted(term, live) for columns, live in parts]
        holding = sum(len(rows) for rows, _ in found)
        idf = np.log1p((texts - holding + 0.5) / (holding + 0.5))
        for (columns, _), own, (rows, counts) in zip(parts, scores, found, strict=True):
            own[rows] += idf * counts * (_K1 + 1) / (counts + _K1 * (1 - _B + _B * columns.lengths[rows] / mean))
    posted = []
    for own in scores:
        held = np.flatnonzero(own)
        posted.append((held.astype(np.int64), own[held]))
    return posted, texts
