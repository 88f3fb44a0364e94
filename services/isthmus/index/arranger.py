"""Give the large segments of all collections their structures, beside what serves, one modality at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from isthmus.core.aligners import Aligner
from isthmus.core.checkpoint import checked
from isthmus.core.modality import Modality
from isthmus.index.arrangement import (
    Arrangement,
    ArrangementTerms,
    OverBudgetError,
    arrange,
    held_bytes,
    is_large,
    is_outdated,
)
from isthmus.index.config import IndexConfig
from isthmus.index.follower import Follower
from isthmus.index.metrics import STRUCTURE_REFUSALS, STRUCTURE_SECONDS, forget_structures, show_structures
from isthmus.index.modest import be_modest
from isthmus.index.snapshot import Merge, Snapshot
from isthmus.index.structure_state import StructureReport, StructureState
from isthmus.index.structures import Trained
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["Arranger", "memory_bytes"]

log = logging.getLogger("isthmus.index")

_RETRY_S: Final = 30.0
"""After a failure, or once structures did not fit, before it is tried again."""
_MEMORY_SHARE: Final = 0.6
"""Of the memory that this process may take, for vectors and structures, where the configuration does not say."""
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def memory_bytes() -> int:
    """Return the memory that this process may take: the machine's, or what its control group may have."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # there is no such group, or its limit is "max"
        return physical


class _UnwantedError(Exception):
    """What is being built will not be searched: the process ends, or another aligner is active."""


class _Known:
    """What is known of the structures of one modality of one collection.

    Args:
        aligner: Of the snapshot that it was learned from.
    """

    def __init__(self, aligner: Aligner | None) -> None:
        self.aligner = aligner
        self.trained: Trained | None = None
        self.retry_s = 0.0


class Arranger:
    """Structures of all collections of a searcher. On the event loop; what takes long is done in a thread.

    Args:
        config: Of the process.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._limit_bytes = config.structures_max_bytes or round(_MEMORY_SHARE * memory_bytes())
        self._known: dict[tuple[Follower, Modality], _Known] = {}
        self._looked: dict[Follower, tuple[Snapshot, float]] = {}
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="index-structures", initializer=be_modest)
        self._building: asyncio.Task[None] | None = None
        self._closing = threading.Event()

    async def close(self) -> None:
        """Give up what is being built."""
        self._closing.set()
        if self._building is not None:
            await asyncio.gather(self._building, return_exceptions=True)
        self._builder.shutdown()

    def tend(self, followers: Iterable[Follower]) -> None:
        """Begin with what is due; cheap and often called."""
        present = {follower: follower.snapshot() for follower in followers if follower.loaded}
        for follower in {known for known, _ in self._known if known not in present}:
            self._known = {key: value for key, value in self._known.items() if key[0] is not follower}
            self._looked.pop(follower, None)
            forget_structures(follower.tenant, follower.entry.name)
        if self._building is not None and not self._building.done():
            return
        for follower, snapshot in present.items():
            looked = self._looked.get(follower)
            if looked is None:  # what was read from cache files is told as well
                for modality, report in snapshot.structures.items():
                    show_structures(follower.tenant, snapshot.name, modality.value, report)
            if looked is not None and looked[0] is snapshot and time.monotonic() < looked[1]:
                continue
            self._looked[follower] = (snapshot, time.monotonic() + _RETRY_S)
            for modality in snapshot.settings.modalities:
                if self._is_due(follower, snapshot, modality):
                    del self._looked[follower]  # the other modality comes next
                    held = sum(held_bytes(other) for other in present.values())
                    held += sum(known.trained.nbytes for known in self._known.values() if known.trained is not None)
                    self._building = asyncio.create_task(self._build(follower, snapshot, modality, held))
                    return

    def _is_due(self, follower: Follower, snapshot: Snapshot, modality: Modality) -> bool:
        known = self._known.get((follower, modality))
        if known is not None and known.aligner is snapshot.aligner and time.monotonic() < known.retry_s:
            return False
        wanted = snapshot.settings.index_kind
        parts = snapshot.segments[modality]
        if wanted is Kind.FLAT_FLOAT32:
            return False
        if wanted is None and sum(part.live_count for part in parts) <= self._config.flat_max_rows:
            return False
        large = [part for part in parts if is_large(part, self._config.structure_min_rows)]
        if any(part.segment.arranged is None for part in large):
            return True
        trained = None if known is None or known.aligner is not snapshot.aligner else known.trained
        return bool(large) and trained is not None and is_outdated(trained, snapshot, modality)

    async def _build(self, follower: Follower, snapshot: Snapshot, modality: Modality, held: int) -> None:
        known = self._known.get((follower, modality))
        if known is None or known.aligner is not snapshot.aligner:
            known = self._known[follower, modality] = _Known(snapshot.aligner)
        terms = ArrangementTerms(
            wanted=snapshot.settings.index_kind,
            recall_min=self._config.structure_recall_min,
            segment_min_rows=self._config.structure_min_rows,
            held_bytes=held,
            limit_bytes=self._limit_bytes,
            folder=self._config.cache_dir,
            reserve_bytes=self._config.disk_reserve_bytes,
        )
        work = partial(self._arrange, follower, snapshot, modality, terms, known)
        await asyncio.get_running_loop().run_in_executor(self._builder, work)

    def _arrange(
        self, follower: Follower, snapshot: Snapshot, modality: Modality, terms: ArrangementTerms, known: _Known
    ) -> None:
        """Blocks. Failure is kept, logged and counted."""
        told = {"collection": snapshot.name, "modality": modality.value}
        started_s = time.monotonic()
        try:
            with checked(partial(self._check_wanted, follower, snapshot)):
                found = arrange(snapshot, modality, terms, known=known.trained)
        except _UnwantedError:
            log.info("structures given up", extra=fields(**told))
        except OverBudgetError as error:
            known.retry_s = time.monotonic() + _RETRY_S
            STRUCTURE_REFUSALS.labels(StructureState.OVER_BUDGET.value).inc()
            sizes = fields(**told, kind=error.kind, needed_bytes=error.needed, limit_bytes=terms.limit_bytes)
            log.warning("structures do not fit and are not built", extra=sizes)
            refused = replace(
                _present(snapshot, modality, terms),
                state=StructureState.OVER_BUDGET,
                kind=error.kind,
                needed_bytes=error.needed,
            )
            self._publish(follower, snapshot, modality, (), refused)
        except Exception:
            known.retry_s = time.monotonic() + _RETRY_S
            STRUCTURE_REFUSALS.labels(StructureState.FAILED.value).inc()
            log.exception("cannot build structures", extra=fields(**told))
            failed = replace(_present(snapshot, modality, terms), state=StructureState.FAILED)
            self._publish(follower, snapshot, modality, (), failed)
        else:
            known.trained = found.trained
            STRUCTURE_SECONDS.observe(time.monotonic() - started_s)
            self._tell(told, found, time.monotonic() - started_s, terms)
            self._publish(follower, snapshot, modality, found.merges, found.report)

    def _check_wanted(self, follower: Follower, snapshot: Snapshot) -> None:
        if self._closing.is_set() or follower.snapshot().aligner is not snapshot.aligner:
            raise _UnwantedError

    @staticmethod
    def _tell(told: dict[str, str], found: Arrangement, seconds: float, terms: ArrangementTerms) -> None:
        report = found.report
        level = logging.INFO if (report.recall or 0.0) >= terms.recall_min else logging.WARNING
        log.log(
            level,
            "structures built",
            extra=fields(
                **told,
                kind=report.kind,
                recall=report.recall,
                recall_min=terms.recall_min,
                is_cross_modal=report.is_cross_modal,
                probes=report.probes,
                shortlist=report.shortlist,
                rows=report.rows,
                segments=len(found.merges),
                bytes=report.memory_bytes,
                seconds=round(seconds, 3),
            ),
        )

    @staticmethod
    def _publish(
        follower: Follower, snapshot: Snapshot, modality: Modality, merges: Iterable[Merge], report: StructureReport
    ) -> None:
        if follower.rearrange(snapshot, modality, merges, report):
            show_structures(follower.tenant, snapshot.name, modality.value, report)


def _present(snapshot: Snapshot, modality: Modality, terms: ArrangementTerms) -> StructureReport:
    """Return what was told before."""
    return replace(snapshot.structures.get(modality, StructureReport()), limit_bytes=terms.limit_bytes)
