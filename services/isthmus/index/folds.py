"""What a FOLD event says: that everything up to its revision which no longer counts was taken out of the table.

Older versions of items, items that were deleted, the deletions themselves and earlier shadow aligners go. Items, every
SETTINGS event (promotions are told, and rolled back to) and the newest SHADOW event stay, and so does whatever is newer
than the fold. The rows that stay up to the fold can no longer be counted revision by revision, so the FOLD event says
how many they are and what their digests add up to, and it keeps the answers of mutations whose rows went. A table holds
one FOLD event at most: the next fold takes it out together with what it says.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.index.events import Answer
from isthmus.runtime.base.errors import DataLossError

__all__ = ["DIGEST_LANES", "Fold", "FoldedAnswer", "digest_sums"]

DIGEST_LANES: Final = 4
"""A row digest is four 64-bit numbers; each is summed by itself, modulo 2^64."""

_UNPACKED_MAX_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class FoldedAnswer:
    """What a mutation was answered whose first row is not there any more.

    Attributes:
        request_id: Of the mutation.
        answer: To it.
    """

    request_id: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What the FOLD event of a table says.

    Attributes:
        revision: Up to which the table is folded; no event was newer when it was.
        rows: Rows of that revision and below that stayed, itself not counted.
        sums: What their digests add up to, `DIGEST_LANES` numbers.
        answers: Of mutations that are to be remembered and whose first row went, oldest first.
        erased: Up to this revision items were erased, 0 when none ever was: whoever keeps rows of it or below outside
            of the table, and misses some in the table, keeps what it may not.
    """

    revision: int
    rows: int
    sums: tuple[int, ...]
    answers: tuple[FoldedAnswer, ...]
    erased: int = 0

    def pack(self) -> bytes:
        """Return it as the payload of its event; the revision is the event's own."""
        told = [
            [known.answer.revision, known.answer.op, known.request_id, known.answer.to_json().decode()]
            for known in self.answers
        ]
        data = {"rows": self.rows, "sums": self.sums, "answers": told, "erased": self.erased}
        return zlib.compress(json.dumps(data, separators=(",", ":")).encode())

    @classmethod
    def unpack(cls, payload: bytes, *, revision: int) -> Fold:
        """Read what `pack` wrote.

        Raises:
            DataLossError: STORE_DAMAGED.
        """
        try:
            data = json.loads(zlib.decompressobj().decompress(payload, _UNPACKED_MAX_BYTES))
            answers = tuple(
                FoldedAnswer(request_id, Answer.from_json(told.encode(), op=op, revision=number))
                for number, op, request_id, told in data["answers"]
            )
            return cls(
                revision=revision,
                rows=int(data["rows"]),
                sums=tuple(data["sums"]),
                answers=answers,
                erased=int(data.get("erased", 0)),
            )
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            msg = "a fold of the table cannot be read"
            raise DataLossError(msg, reason="STORE_DAMAGED") from error

    def check(self, rows: pa.Table) -> None:
        """Refuse rows that are not those which stayed.

        Args:
            rows: All rows up to its revision but its own, with `row_digest`.

        Raises:
            DataLossError: STORE_DAMAGED.
        """
        if rows.num_rows != self.rows or digest_sums(rows["row_digest"]) != self.sums:
            msg = f"{rows.num_rows} rows up to revision {self.revision} are not the {self.rows} that were folded"
            raise DataLossError(msg, reason="STORE_DAMAGED", metadata={"rows": str(self.rows)})


def digest_sums(column: pa.ChunkedArray) -> tuple[int, ...]:
    """Return what row digests add up to, whatever their order.

    Raises:
        DataLossError: STORE_DAMAGED; one has another length.
    """
    sums = np.zeros(DIGEST_LANES, dtype=np.uint64)
    for lanes in _lanes(column.chunks):
        sums += lanes.sum(axis=0, dtype=np.uint64)
    return tuple(sums.tolist())


def _lanes(chunks: Iterable[pa.Array]) -> Iterable[NDArray[np.uint64]]:
    size = DIGEST_LANES * 8
    for chunk in chunks:
        if not len(chunk):
            continue
        _, offsets_buffer, data_buffer = chunk.buffers()
        offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        if (np.diff(offsets) != size).any():
            msg = "a row digest is not of its length"
            raise DataLossError(msg, reason="STORE_DAMAGED")
        data = np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]
        yield data.view("<u8").reshape(len(chunk), DIGEST_LANES)
