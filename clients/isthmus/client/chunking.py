"""Cut inputs and items into messages that the mesh accepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from isthmus.client.config import Limits
from isthmus.client.results import ItemError
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["Chunk", "Chunker", "batches", "chunks"]

Entry = TypeVar(
    "Entry",
    common_pb2.Input,
    gateway_service_pb2.UpsertItem,
    gateway_service_pb2.PairToMatch,
    gateway_service_pb2.SearchQuery,
)
Value = TypeVar("Value")

_ENTRY_OVERHEAD_BYTES: Final = 8
"""Tag and length in front of an entry of at most 2^35 bytes."""
_REQUEST_OVERHEAD_BYTES: Final = 1024
"""Room for the other fields of a request: a collection's name, a request id, an aligner."""


@dataclass(frozen=True, slots=True)
class Chunk(Generic[Entry]):
    """Entries that travel in one message.

    Attributes:
        entries: What is sent; empty only in the last chunk of a call, when nothing but refusals is left.
        indexes: Position of each entry among all entries of the call.
        refused: Entries that no message can hold.
    """

    entries: tuple[Entry, ...]
    indexes: tuple[int, ...]
    refused: tuple[ItemError, ...]


class Chunker(Generic[Entry]):
    """Collect entries, one by one, until a message is full.

    A message is full when the next entry would bring it over the limit of bytes or entries, or has an id that is in it
    already: the same id twice is two mutations, and the later one must win.

    Args:
        limits: Sizes of messages.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = 0
        self._start()

    def push(self, entry: Entry) -> Chunk[Entry] | None:
        """Take one entry; return the chunk that became full before it, if one did."""
        index, self._count = self._count, self._count + 1
        size = entry.ByteSize() + _ENTRY_OVERHEAD_BYTES
        item_id = entry.id if isinstance(entry, gateway_service_pb2.UpsertItem) else ""
        if size + _REQUEST_OVERHEAD_BYTES > self._limits.message_max_bytes:
            self._refused.append(self._refusal(index, item_id, size))
            return None
        full = None
        if self._entries and (
            self._bytes + size > self._limits.chunk_max_bytes
            or len(self._entries) >= self._limits.chunk_max_count
            or (item_id and item_id in self._ids)
        ):
            full = self._finish()
        self._entries.append(entry)
        self._indexes.append(index)
        self._ids.add(item_id)
        self._bytes += size
        return full

    def close(self) -> Chunk[Entry] | None:
        """Return what is left, if anything is."""
        return self._finish() if self._entries or self._refused else None

    def _start(self) -> None:
        self._entries: list[Entry] = []
        self._indexes: list[int] = []
        self._ids: set[str] = set()
        self._refused: list[ItemError] = []
        self._bytes = _REQUEST_OVERHEAD_BYTES

    def _finish(self) -> Chunk[Entry]:
        chunk = Chunk(tuple(self._entries), tuple(self._indexes), tuple(self._refused))
        self._start()
        return chunk

    def _refusal(self, index: int, item_id: str, size: int) -> ItemError:
        limit = self._limits.message_max_bytes
        return ItemError(
            index=index,
            id=item_id,
            code="RESOURCE_EXHAUSTED",
            reason="MESSAGE_TOO_LARGE",
            message=f"it has {size} bytes; the limit of a message is {limit}",
            metadata={"bytes": str(size), "limit": str(limit)},
        )


def chunks(entries: Iterable[Entry], *, limits: Limits) -> Iterator[Chunk[Entry]]:
    """Yield `entries` in chunks, as they become full."""
    chunker: Chunker[Entry] = Chunker(limits)
    for entry in entries:
        full = chunker.push(entry)
        if full is not None:
            yield full
    rest = chunker.close()
    if rest is not None:
        yield rest


def batches(values: Sequence[Value], *, size: int) -> Iterator[Sequence[Value]]:
    """Yield `values` in runs of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
