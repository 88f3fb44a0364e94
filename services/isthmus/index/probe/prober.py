"""Measure, in quiet moments, what the structures of every collection find of what queries of the other modality mean.

For the items of each modality a reservoir of real queries of the other one is kept; until there are 100, items of the
other modality ask in their place. Recall@10 against all vectors is measured every few minutes, by one thread of low
priority, while nobody waits for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.config import IndexConfig
from isthmus.index.events import embedding_rows
from isthmus.index.follower import Follower
from isthmus.index.metrics import PROBE_FAILURES, PROBE_SECONDS, forget_recall, show_recall
from isthmus.index.modest import be_modest
from isthmus.index.probe.figures import RecallFigure
from isthmus.index.probe.measuring import measured_recall
from isthmus.index.probe.pace import Pace, StoppedError
from isthmus.index.probe.reservoir import Reservoir
from isthmus.index.ranking import Question
from isthmus.index.snapshot import Snapshot
from isthmus.index.stored_rows import take_rows
from isthmus.runtime.base.logging import fields

__all__ = ["QUERIES_MIN_COUNT", "Prober"]

log = logging.getLogger("isthmus.index")

QUERIES_MIN_COUNT: Final = 100
"""Real queries from which they are asked; fewer are left to grow, and items ask in their place."""
_OFFER_MAX_COUNT: Final = 8
"""Queries of one search that are looked at: a large batch must not push out everybody else's."""
_RETRY_S: Final = 30.0


@dataclass(slots=True)
class _Probed:
    """What is known of the items of one modality of one collection."""

    reservoir: Reservoir
    figure: RecallFigure | None = None
    snapshot: Snapshot | None = None
    """That was measured last."""
    asked: int = 0
    """Queries that had been offered by then."""
    next_s: float = 0.0


class Prober:
    """The probes of all collections of a searcher. On the event loop; what takes long is done in a thread.

    Args:
        config: Of the process.
        is_quiet: Whether no caller waits for an answer.
    """

    def __init__(self, config: IndexConfig, *, is_quiet: Callable[[], bool]) -> None:
        self._share = config.probe_cpu_share
        self._interval_s = config.probe_interval_s
        self._target = config.structure_recall_min
        self._is_quiet = is_quiet
        self._collections: dict[Follower, dict[Modality, _Probed]] = {}
        self._pace = Pace(self._share or 1.0, is_quiet=is_quiet)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index-probe", initializer=be_modest)
        self._probing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Let what runs end at its next step."""
        self._pace.stop()
        if self._probing is not None:
            await asyncio.gather(self._probing, return_exceptions=True)
        self._thread.shutdown()

    def offer(self, follower: Follower, queries: NDArray[np.float32], question: Question) -> None:
        """Take note of a search that was answered, where it asked for items of the other modality.

        Args:
            follower: Of the collection.
            queries: (n, d) float32 raw embeddings.
            question: What was asked with them.
        """
        if self._share and question.item_modality is not question.modality:
            probed = self._probed(follower, question.modality.other)
            probed.reservoir.offer(queries[:_OFFER_MAX_COUNT])

    def figures(self, follower: Follower) -> tuple[RecallFigure, ...]:
        """Return what was measured of a collection, by modality of its items."""
        known = self._collections.get(follower, {})
        return tuple(probed.figure for probed in known.values() if probed.figure is not None)

    def tend(self, followers: Iterable[Follower]) -> None:
        """Measure what is due, one modality of one collection at a time; cheap and often called."""
        if not self._share:
            return
        present = [follower for follower in followers if follower.loaded]
        for follower in self._collections.keys() - set(present):
            del self._collections[follower]
            forget_recall(follower.tenant, follower.entry.name)
        if (self._probing is not None and not self._probing.done()) or not self._is_quiet():
            return
        now_s = time.monotonic()
        due = [
            (probed.next_s, follower, modality)
            for follower in present
            for modality in _comparable(follower.snapshot())
            if self._is_due(probed := self._probed(follower, modality), follower.snapshot(), modality, now_s)
        ]
        if due:
            _, follower, modality = min(due, key=lambda entry: entry[0])
            self._probing = asyncio.create_task(self._probe(follower, modality))

    def _probed(self, follower: Follower, modality: Modality) -> _Probed:
        known = self._collections.setdefault(follower, {})
        if modality not in known:
            known[modality] = _Probed(Reservoir(follower.entry.settings.dimension(modality.other)))
        return known[modality]

    @staticmethod
    def _is_due(probed: _Probed, snapshot: Snapshot, modality: Modality, now_s: float) -> bool:
        if now_s < probed.next_s or not snapshot.count(modality):
            return False
        if not len(probed.reservoir) and not snapshot.count(modality.other):
            return False
        return probed.snapshot is not snapshot or probed.asked != probed.reservoir.offered

    async def _probe(self, follower: Follower, modality: Modality) -> None:
        probed, snapshot = self._probed(follower, modality), follower.snapshot()
        offered, real = probed.reservoir.offered, None
        if len(probed.reservoir) >= QUERIES_MIN_COUNT or not snapshot.count(modality.other):
            real = probed.reservoir.queries(QUERIES_MIN_COUNT)
        work = partial(self._measure, follower, snapshot, modality, real)
        try:
            probed.figure = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except StoppedError:
            return
        except Exception:
            PROBE_FAILURES.inc()
            probed.next_s = time.monotonic() + _RETRY_S
            log.exception("cannot measure recall", extra=fields(collection=snapshot.name, modality=modality.value))
            return
        probed.snapshot, probed.asked = snapshot, offered
        probed.next_s = time.monotonic() + self._interval_s
        if follower in self._collections:
            show_recall(follower.tenant, snapshot.name, probed.figure)

    def _measure(
        self, follower: Follower, snapshot: Snapshot, modality: Modality, real: NDArray[np.float32] | None
    ) -> RecallFigure:
        """Blocks."""
        started_s = time.monotonic()
        self._pace.begin()
        queries = _item_queries(follower, snapshot, modality.other) if real is None else real
        recall = measured_recall(snapshot, modality, queries, pace=self._pace)
        took_s = time.monotonic() - started_s
        PROBE_SECONDS.observe(took_s)
        figure = RecallFigure(
            item_modality=modality,
            recall=recall,
            target=self._target,
            query_count=len(queries),
            is_real=real is not None,
            revision=snapshot.revision,
            time_s=time.time(),
        )
        told = fields(
            collection=snapshot.name,
            modality=modality.value,
            recall=recall,
            target=self._target,
            queries=len(queries),
            real=figure.is_real,
            revision=snapshot.revision,
            seconds=round(took_s, 3),
        )
        log.log(logging.WARNING if figure.is_low else logging.INFO, "recall measured", extra=told)
        return figure


def _comparable(snapshot: Snapshot) -> tuple[Modality, ...]:
    """Return the modalities of items that queries of the other one can be asked of."""
    settings = snapshot.settings
    both = len(settings.modalities) == len(Modality)
    return settings.modalities if both and (snapshot.aligner is not None or not settings.needs_aligner) else ()


def _item_queries(follower: Follower, snapshot: Snapshot, modality: Modality) -> NDArray[np.float32]:
    """Return the raw embeddings of up to 100 items, (n, d) float32; others each time."""
    row_ids = np.random.default_rng().permutation(snapshot.live_row_ids(modality))[:QUERIES_MIN_COUNT]
    rows = take_rows(follower, snapshot, np.sort(row_ids))
    return embedding_rows(rows["embedding"], snapshot.settings.dimension(modality))
