"""What a worker does with a block: read it, encode it, write its rows. Travels to workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Protocol, Self

from isthmus.bulk.blocks import Block, Found, RawItem, Refusal
from isthmus.bulk.encode import EncoderChoice, Encoders
from isthmus.bulk.files import read_parts
from isthmus.bulk.staging import BlockRecord, Staging
from isthmus.bulk.tables import TableReader
from isthmus.core.modality import Modality
from isthmus.runtime.base.import_rows import ImportRow, ImportRows

__all__ = ["IN_WORK_COUNT", "BlockTask", "Pool", "Workshop"]

IN_WORK_COUNT: Final = 2
"""Blocks of one worker at once: while one waits for its last forward pass, the next is read and decoded."""
_REFUSALS_KEPT_COUNT: Final = 100


@dataclass(frozen=True, slots=True)
class BlockTask:
    """A block to stage.

    Attributes:
        block: The block.
        key: Its name.
        generation: Of its record.
    """

    block: Block
    key: str
    generation: int = 0

    def to_json(self) -> bytes:
        """Return the task as it travels to a worker."""
        return json.dumps([self.key, self.generation, asdict(self.block)]).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote."""
        key, generation, block = json.loads(data)
        return cls(Block.from_document(block), key, generation)


@dataclass(slots=True, kw_only=True)
class Workshop:
    """What every worker needs. Travels to workers."""

    staging: Staging
    choice: EncoderChoice
    spaces: dict[Modality, str]
    _reader: TableReader = field(default_factory=TableReader, repr=False)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _encoders: Encoders | None = field(default=None, repr=False)

    def __getstate__(self) -> tuple[Staging, EncoderChoice, dict[Modality, str]]:
        return self.staging, self.choice, self.spaces

    def __setstate__(self, state: tuple[Staging, EncoderChoice, dict[Modality, str]]) -> None:
        self.staging, self.choice, self.spaces = state
        self._reader, self._reading, self._encoders = TableReader(), asyncio.Lock(), None

    async def open(self) -> None:
        """Load the encoders.

        Raises:
            FailedPreconditionError: SPACE_MISMATCH.
            ValueError: a model cannot be loaded.
        """
        self._encoders = Encoders(self.choice, self.spaces)
        await self._encoders.start()

    async def close(self) -> None:
        """End the encoders."""
        if self._encoders is not None:
            await self._encoders.close()

    async def stage(self, task: BlockTask) -> BlockRecord:
        """Read, encode and write one block.

        Raises:
            SourceError: its source cannot be read.
            OSError: the staging folder cannot be written.
        """
        assert self._encoders is not None
        async with self._reading:  # the reader goes on from block to block
            found = await asyncio.to_thread(self._read, task.block)
        items = [entry for entry in found if isinstance(entry, RawItem)]
        refusals = [entry for entry in found if isinstance(entry, Refusal)]
        encoded = await self._encoders.encode(items)
        for position, error in sorted(encoded.refused.items()):
            item = items[position]
            refusals.append(
                Refusal(source=task.block.location, row=item.row, id=item.id, reason=error.reason, message=str(error))
            )
        rows = encoded.rows
        record = BlockRecord(
            key=task.key,
            state="staged",
            rows=task.block.count,
            images=_count(rows, Modality.IMAGE),
            texts=_count(rows, Modality.TEXT),
            truncated=encoded.truncated,
            refused=len(refusals),
            refusals=refusals[:_REFUSALS_KEPT_COUNT],
            probe=[rows[0].id, rows[-1].id] if rows else [],
            generation=task.generation,
        )
        return await asyncio.to_thread(self.staging.stage, record, ImportRows(spaces=self.spaces, rows=rows))

    def _read(self, block: Block) -> list[Found]:
        return list(self._reader.read(block) if block.kind == "parquet" else read_parts(block))


def _count(rows: Sequence[ImportRow], modality: Modality) -> int:
    return sum(row.modality is modality for row in rows)


class Pool(Protocol):
    """Who stages blocks."""

    def run(self, workshop: Workshop, tasks: Sequence[BlockTask]) -> Iterator[BlockRecord]:
        """Yield each block once it is staged, in no particular order.

        Raises:
            Exception: what a worker fails with.
        """
        ...
