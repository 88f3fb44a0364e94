"""A bulk job: plan, stage, import, and go on where it was killed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from isthmus.bulk.blocks import Block, Refusal
from isthmus.bulk.staging import BlockRecord
from isthmus.bulk.workers import BlockTask, Pool, Workshop

__all__ = ["BulkJob", "BulkSummary", "Importer", "job_name"]

_JOB_DIGITS: Final = 24
_REFUSALS_KEPT_COUNT: Final = 1000


def job_name(collection: str, sources: Sequence[str], *settings: object) -> str:
    """Return the name of the job that this command is, the same each time it is given."""
    told = json.dumps([collection, sorted(sources), *map(str, settings)])
    return f"bulk-{hashlib.sha256(told.encode()).hexdigest()[:_JOB_DIGITS]}"


class Importer(Protocol):
    """Hands staged blocks to the writer."""

    def lost(self, records: Sequence[BlockRecord]) -> set[str]:
        """Return the keys of those blocks, done once, that the collection does not hold any more."""
        ...

    def store(self, record: BlockRecord, request_id: str) -> BlockRecord:
        """Import a block's files; return its record with what became of them, once they are durable."""
        ...


@dataclass(slots=True, kw_only=True)
class BulkSummary:
    """What the whole job comes to, earlier runs of the same command included."""

    blocks: int = 0
    """Blocks of the sources."""
    resumed_blocks: int = 0
    """Of them, blocks that an earlier run had done."""
    reused_blocks: int = 0
    """Of them, blocks that an earlier run had encoded and this one imported."""
    images: int = 0
    texts: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    truncated: int = 0
    revision: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def stored(self) -> int:
        """Items that are in the collection now."""
        return self.created + self.updated + self.unchanged

    def add(self, record: BlockRecord) -> None:
        """Count a block that is done."""
        self.images += record.images
        self.texts += record.texts
        self.created += record.created
        self.updated += record.updated
        self.unchanged += record.unchanged
        self.refused += record.refused
        self.truncated += record.truncated
        self.revision = max(self.revision, record.revision)
        self.refusals += record.refusals[: max(_REFUSALS_KEPT_COUNT - len(self.refusals), 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkJob:
    """One run of a job.

    Attributes:
        blocks: Of the sources.
        workshop: Stages them.
        importer: Hands them to the writer.
        progress: Told how many rows more are done.
    """

    blocks: Sequence[Block]
    workshop: Workshop
    importer: Importer
    progress: Callable[[int], None]

    def run(self, pool: Pool) -> BulkSummary:
        """Do what is not done yet.

        Args:
            pool: Who reads and encodes.

        Raises:
            SourceError: a source cannot be read.
            Exception: of the mesh, the encoders or the staging folder; the same job goes on later from here.
        """
        staging = self.workshop.staging
        salt = sorted(self.workshop.spaces.values())
        tasks = {block.key(*salt): block for block in self.blocks}
        summary = BulkSummary(blocks=len(tasks))
        known = {record.key: record for record in staging.records() if record.key in tasks}
        lost = self.importer.lost([record for record in known.values() if record.state == "done"])
        generations: dict[str, int] = {}
        for key, record in known.items():
            if record.state == "done" and key not in lost:
                summary.resumed_blocks += 1
                self._count(summary, record)
            elif record.state == "staged" and staging.is_whole(record):
                summary.reused_blocks += 1
                self._finish(summary, record)
            else:
                generations[key] = record.generation + (record.state == "done")
                continue
            del tasks[key]
        for record in self._staged(pool, tasks, generations):
            self._finish(summary, record)
        staging.sweep()
        return summary

    def _staged(self, pool: Pool, tasks: dict[str, Block], generations: dict[str, int]) -> Iterator[BlockRecord]:
        if tasks:
            given = [BlockTask(block, key, generations.get(key, 0)) for key, block in tasks.items()]
            yield from pool.run(self.workshop, given)

    def _finish(self, summary: BulkSummary, record: BlockRecord) -> None:
        """Import a staged block and write down that it is done; its files are not needed any more."""
        staging = self.workshop.staging
        done = replace(self.importer.store(record, f"{staging.job}.{record.key}.{record.generation}"), state="done")
        staging.record(done)
        staging.remove(done)
        self._count(summary, done)

    def _count(self, summary: BulkSummary, record: BlockRecord) -> None:
        summary.add(record)
        self.progress(record.rows)
