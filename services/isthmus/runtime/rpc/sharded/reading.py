"""Stream a split collection as one searcher would: the parts' items in the order in which they lie in the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import grpc
import numpy as np
from numpy.typing import NDArray

from isthmus.runtime.base.errors import FailedPreconditionError
from isthmus.runtime.base.limits import UPSERT_MAX_COUNT
from isthmus.runtime.rpc import status
from isthmus.runtime.rpc.sharded.scatter import Hop, Scatter, disagreement
from isthmus.v1 import common_pb2, index_search_service_pb2

__all__ = ["PartReads", "merged_collection", "one_name"]

_Message = index_search_service_pb2.ReadItemsResponse

_ATTEMPTS: Final = 3
"""Times that the parts are asked for one revision; after that each is read as it is."""
_BATCH_MAX_BYTES: Final = 4 * 1024 * 1024
_MODALITIES: Final = (common_pb2.MODALITY_IMAGE, common_pb2.MODALITY_TEXT)


def one_name(names: Iterable[str]) -> str:
    """Return the name of the collection that every part answered from, where an alias was asked for too.

    Raises:
        UnavailableError: SHARDS_DISAGREE; the alias is being pointed at another one.
    """
    found = set(names)
    if len(found) > 1:
        msg = "the parts do not agree yet which collection the alias means"
        raise disagreement(msg)
    return found.pop()


def merged_collection(parts: Sequence[common_pb2.Collection]) -> common_pb2.Collection:
    """Return the collection whose parts these are: their items together, at the revision that all have reached.

    Raises:
        UnavailableError: SHARDS_DISAGREE; they are at different aligners.
    """
    one_name(part.name for part in parts)
    if len({part.aligner for part in parts}) > 1:
        msg = "the parts of the collection are at different aligners"
        raise disagreement(msg)
    whole = common_pb2.Collection()
    whole.CopyFrom(max(parts, key=lambda part: part.revision))
    whole.revision = min(part.revision for part in parts)
    whole.image_count = sum(part.image_count for part in parts)
    whole.text_count = sum(part.text_count for part in parts)
    return whole


class PartReads:
    """The answers of `ReadItems` of all parts, as one stream.

    Args:
        scatter: The parts.
        request: What is asked of the whole.
        hop: Of the caller.

    Raises:
        FailedPreconditionError: SHARDED_UNSUPPORTED; a sample is asked for, whose pairs lie in different parts.
    """

    def __init__(self, scatter: Scatter, request: index_search_service_pb2.ReadItemsRequest, hop: Hop) -> None:
        if request.sample_count:
            msg = "a sample cannot be drawn where collections are split: its pairs lie in different parts"
            raise FailedPreconditionError(msg, reason="SHARDED_UNSUPPORTED", metadata={"field": "sample_count"})
        self._scatter = scatter
        self._request = request
        self._hop = hop
        self._calls: dict[int, Any] = {}

    def cancel(self) -> None:
        """End every stream."""
        for stream in self._calls.values():
            stream.cancel()

    async def __aiter__(self) -> AsyncGenerator[_Message, None]:
        """Yield the head, then batches, images first."""
        heads = await self._heads()
        newest = max(heads.values(), key=lambda head: head.collection.revision)
        yield _Message(
            collection=merged_collection([head.collection for head in heads.values()]),
            aligner=newest.aligner if newest.HasField("aligner") else None,
        )
        parts = [_Part(number, self._next) for number in self._scatter.numbers]
        for modality in _MODALITIES:
            async for batch in _merged(parts, modality):
                yield batch

    async def _heads(self) -> dict[int, _Message]:
        """Open a stream of every part and read what comes first; of one revision where that can be had."""
        heads: dict[int, _Message] = {}
        behind, min_revision = list(self._scatter.numbers), self._request.min_revision
        for _ in range(_ATTEMPTS):
            for number in behind:
                heads[number] = await self._open(number, min_revision)
            min_revision = max(head.collection.revision for head in heads.values())
            behind = [number for number, head in heads.items() if head.collection.revision < min_revision]
            if not behind:
                break
        return heads

    async def _open(self, number: int, min_revision: int) -> _Message:
        if number in self._calls:
            self._calls[number].cancel()
        request = self._scatter.addressed(self._request, [number])[number]
        request.min_revision = min_revision
        method: Any = self._scatter.stubs[number].ReadItems
        self._calls[number] = method(request, timeout=self._hop.remaining_s(), metadata=tuple(self._hop.metadata))
        head = await self._next(number)
        if head is None:
            msg = "a part of the collection ended before it began"
            raise disagreement(msg)
        return head

    async def _next(self, number: int) -> _Message | None:
        try:
            message = await self._calls[number].read()
            # An answer without any field says nothing: it only brings the status through Ray's classic proxy.
            while message is not grpc.aio.EOF and not message.ByteSize():
                message = await self._calls[number].read()
        except grpc.RpcError as error:
            raise self._scatter.failure(number, status.from_rpc_error(error, backend="index_search")) from error
        return None if message is grpc.aio.EOF else message


class _Part:
    """One part's stream, with the rows that were read and not yet passed on."""

    def __init__(self, number: int, read: Any) -> None:
        self._number = number
        self._read = read
        self._message: _Message | None = None
        self._start = 0
        self._ended = False

    async def fill(self, modality: common_pb2.Modality.ValueType) -> NDArray[np.uint64] | None:
        """Return where the next rows of a modality lie; None when there are no more."""
        while not self._ended and (self._message is None or self._start == len(self._message.ids)):
            self._message, self._start = await self._read(self._number), 0
            self._ended = self._message is None
        if self._message is None or self._message.modality != modality:
            return None
        return np.array(self._message.row_ids[self._start :], dtype=np.uint64)

    def take(self, count: int) -> _Slice:
        """Pass on the next `count` rows."""
        assert self._message is not None
        taken = _Slice(self._message, self._start, count)
        self._start += count
        return taken


class _Slice:
    """Some rows of a message."""

    def __init__(self, message: _Message, start: int, count: int) -> None:
        end = start + count
        self.ids = message.ids[start:end]
        self.pair_keys = message.pair_keys[start:end]
        self.values = message.attribute_values[start:end]
        self.words = message.content_words[start:end]
        self.vectors = message.embeddings
        size = len(message.embeddings.data) // max(1, len(message.ids))
        self.rows = np.frombuffer(message.embeddings.data, dtype=np.uint8).reshape(-1, size)[start:end]


async def _merged(parts: Sequence[_Part], modality: common_pb2.Modality.ValueType) -> AsyncIterator[_Message]:
    """Yield a modality's rows of all parts, ascending by where they lie."""
    while True:
        known = {part: rows for part in parts if (rows := await part.fill(modality)) is not None}
        if not known:
            return
        # Up to the least end of what was read, nothing can come between.
        end = min(rows[-1] for rows in known.values())
        counts = {part: int(np.searchsorted(rows, end, side="right")) for part, rows in known.items()}
        order = np.argsort(np.concatenate([rows[: counts[part]] for part, rows in known.items()]), kind="stable")
        slices = [part.take(counts[part]) for part in known]
        for message in _messages(modality, slices, order):
            yield message


def _messages(
    modality: common_pb2.Modality.ValueType, slices: Sequence[_Slice], order: NDArray[np.intp]
) -> Iterator[_Message]:
    rows = np.concatenate([part.rows for part in slices])
    count = min(UPSERT_MAX_COUNT, max(1, _BATCH_MAX_BYTES // rows.shape[1]))
    columns: Mapping[str, list[Any]] = {
        name: [value for part in slices for value in getattr(part, name)]
        for name in ("ids", "pair_keys", "values", "words")
    }
    vectors = slices[0].vectors
    for start in range(0, len(order), count):
        places = order[start : start + count].tolist()
        of = {name: [values[place] for place in places] if values else [] for name, values in columns.items()}
        yield _Message(
            modality=modality,
            ids=of["ids"],
            pair_keys=of["pair_keys"],
            embeddings=common_pb2.Vectors(data=rows[places].tobytes(), dimension=vectors.dimension, type=vectors.type),
            attribute_values=of["values"],
            content_words=of["words"],
        )
