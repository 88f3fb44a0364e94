"""Ask a share of the real searches under a second aligner too, and tell what it would have changed.

The structures of a shadow aligner stand beside those of the active one and are brought to the same revision from the
same version of the store, so that a query is asked of two structures that hold the same items. Nobody waits for that:
a search is answered first, and then, when it is among the chosen, its question is asked of both structures once more by
one thread of low priority. A search that is chosen while that thread is busy, or while no search thread is idle, is
dropped and counted. (docs/adr/0023-shadow-aligners.md)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.sampling import hashed_share
from isthmus.index.config import IndexConfig
from isthmus.index.follower import Follower
from isthmus.index.metrics import SHADOW_BYTES, forget_shadow
from isthmus.index.modest import be_modest
from isthmus.index.ranking import Question, rank_snapshot
from isthmus.index.shadow_mirror import Mirror, space_of
from isthmus.index.shadow_tally import Difference, ShadowReport, ShadowState, ShadowTally, averaged, differences
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base import context
from isthmus.runtime.base.logging import fields

__all__ = ["Shadows"]

log = logging.getLogger("isthmus.index")

_QUERIES_MAX_COUNT: Final = 8
"""Queries of one search that are compared: bounds what a large batch costs."""
_SAMPLE_SEED: Final = 0


class Shadows:
    """The shadow aligners of all collections of a searcher. On the event loop.

    Args:
        config: Of the process.
    """

    def __init__(self, config: IndexConfig) -> None:
        # A part of a collection cannot tell what would have changed in the whole's answers.
        self._share = config.shadow_share if config.shard.is_whole else 0.0
        self._limit_bytes = config.shadow_max_bytes
        self._mirrors: dict[Follower, Mirror] = {}
        self._tallies: dict[Follower, tuple[tuple[str, str], ShadowTally]] = {}
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="index-shadow-build", initializer=be_modest)
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="index-shadow", initializer=be_modest)
        self._building: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Let what runs end."""
        running = [task for task in (self._building, self._asking) if task is not None]
        await asyncio.gather(*running, return_exceptions=True)
        self._builder.shutdown()
        self._asker.shutdown()

    def tend(self, followers: Iterable[Follower]) -> None:
        """Begin with new shadows, end with old ones, bring one that is behind up to date; cheap and often called."""
        if not self._share:
            return
        wanted = {follower: follower.snapshot() for follower in followers if follower.loaded}
        for follower in [known for known in self._mirrors if known not in wanted]:
            self._forget(follower)
        for follower, active in wanted.items():
            mirror = self._mirrors.get(follower)
            if mirror is not None and (mirror.space != active.shadow or mirror.space == space_of(active)):
                self._forget(follower)
                mirror = None
            if mirror is None and active.shadow and active.shadow != space_of(active):
                mirror = self._mirrors[follower] = Mirror(follower, active.shadow)
            idle = self._building is None or self._building.done()
            if mirror is not None and idle and mirror.is_due(active):
                self._building = asyncio.create_task(self._build(follower, mirror, active))

    def offer(
        self,
        follower: Follower,
        queries: NDArray[np.float32],
        question: Question,
        *,
        is_idle: bool,
    ) -> None:
        """Take a search that was answered, to be asked under the shadow aligner too when it is among the chosen.

        Args:
            follower: Of the collection.
            queries: (n, d) float32 raw embeddings.
            question: What was asked with them.
            is_idle: Whether a thread that searches has nothing to do.
        """
        mirror = self._mirrors.get(follower)
        call = context.serving()
        if mirror is None or call is None or hashed_share(call.request_id, seed=_SAMPLE_SEED) >= self._share:
            return
        active = follower.snapshot()
        tally = self._tally(follower, active)
        if mirror.pair is None or space_of(mirror.pair[0]) != space_of(active):
            tally.drop("not_built")
        elif not is_idle or (self._asking is not None and not self._asking.done()):
            tally.drop("busy")
        else:
            ask = partial(_ask, mirror.pair, queries[:_QUERIES_MAX_COUNT].copy(), question)
            self._asking = asyncio.create_task(self._compare(follower, ask, mirror.pair, tally, top_k=question.top_k))

    def report(self, follower: Follower) -> ShadowReport:
        """Say what was found since these two aligners have been compared."""
        active = follower.snapshot()
        mirror = self._mirrors.get(follower)
        is_active = bool(active.shadow) and active.shadow == space_of(active)
        if mirror is None or mirror.space != active.shadow or is_active:
            waits = bool(active.shadow and self._share) and not is_active
            state = ShadowState.IS_ACTIVE if is_active else ShadowState.BUILDING if waits else ShadowState.OFF
            return ShadowReport(
                aligner=active.shadow,
                active_aligner=space_of(active),
                state=state,
                revision=0,
                memory_bytes=0,
                memory_limit_bytes=self._limit_bytes,
                sampled_share=self._share,
            )
        tally = self._tally(follower, active)
        return ShadowReport(
            aligner=mirror.space,
            active_aligner=space_of(active),
            state=mirror.state,
            revision=0 if mirror.pair is None else mirror.pair[1].revision,
            memory_bytes=mirror.needed_bytes,
            memory_limit_bytes=self._limit_bytes,
            sampled_share=self._share,
            requests=tally.requests,
            queries=tally.queries,
            dropped=dict(tally.dropped),
            **tally.figures(),
        )

    def _tally(self, follower: Follower, active: Snapshot) -> ShadowTally:
        """Return the sums of the two aligners that are compared; others than before begin at nothing."""
        compared = (space_of(active), active.shadow)
        known = self._tallies.get(follower)
        if known is None or known[0] != compared:
            known = (compared, ShadowTally(follower.tenant, follower.entry.name))
            self._tallies[follower] = known
        return known[1]

    def _forget(self, follower: Follower) -> None:
        del self._mirrors[follower]
        self._tallies.pop(follower, None)
        forget_shadow(follower.tenant, follower.entry.name)

    async def _build(self, follower: Follower, mirror: Mirror, active: Snapshot) -> None:
        others = sum(other.held_bytes for other in self._mirrors.values() if other is not mirror)
        advance = partial(mirror.advance, active, room_bytes=self._limit_bytes - others)
        await asyncio.get_running_loop().run_in_executor(self._builder, advance)
        if self._mirrors.get(follower) is mirror:
            SHADOW_BYTES.labels(follower.tenant, follower.entry.name).set(mirror.held_bytes)

    async def _compare(
        self,
        follower: Follower,
        ask: Callable[[], tuple[Difference, ...]],
        pair: tuple[Snapshot, Snapshot],
        tally: ShadowTally,
        *,
        top_k: int,
    ) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._asker, ask)
        except Exception:
            if follower in self._mirrors:
                tally.drop("failed")
            log.exception("cannot ask a shadow aligner", extra=fields(collection=pair[0].name))
            return
        compared, current = self._tallies.get(follower, (None, None))
        if current is not tally or compared != (space_of(pair[0]), space_of(pair[1])):
            return  # another aligner is active by now, or nothing is compared any more
        tally.add(found)
        log.info(
            "shadow compared",
            extra=fields(
                collection=pair[0].name,
                aligner=space_of(pair[0]),
                shadow=space_of(pair[1]),
                revision=pair[0].revision,
                top_k=top_k,
                **averaged(found),
            ),
        )


def _ask(pair: tuple[Snapshot, Snapshot], queries: NDArray[np.float32], question: Question) -> tuple[Difference, ...]:
    """Ask both structures the same; blocks."""
    active, shadow = (rank_snapshot(snapshot, queries, question) for snapshot in pair)
    is_mixed = question.item_modality is None and len(pair[0].settings.modalities) > 1
    return differences(active, shadow, modality=question.modality, is_mixed=is_mixed)
