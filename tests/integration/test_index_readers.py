"""Readers hold what they read by a reference of their own, and wait for nobody who makes the next one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from isthmus.core.modality import Modality
from tests.unit.index.support import SPACE, TENANT, create, images, running_searcher, running_writer, upsert, vectors


async def test_no_lock_is_held_while_searching(tmp_path: Path) -> None:
    """With every lock of a follower taken, as while a snapshot is made, searches are answered from the one before.

    Made again beside it, the next one takes its place by one assignment: the old one is as it was.
    """
    rows = vectors(0, 40)
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await create(writer)
        first = await upsert(writer, images([f"i{number}" for number in range(20)]), rows[:20])

        async def ids(min_revision: int = 0) -> list[str]:
            found = await searcher.search(
                TENANT,
                "things",
                modality=Modality.IMAGE,
                space=SPACE,
                queries=rows[:1],
                top_k=40,
                timeout_s=10,
                min_revision=min_revision,
            )
            return [neighbor.item.id for neighbor in found.neighbors[0]]

        before = await ids(min_revision=first.revision)
        follower = searcher._following.roster.get(TENANT, "things")
        assert follower is not None
        held = follower.snapshot()
        with follower._publishing, follower._settling:
            second = await upsert(writer, images([f"j{number}" for number in range(20)]), rows[20:])
            assert await asyncio.gather(*(ids() for _ in range(20))) == [before] * 20
            assert follower.snapshot() is held
        assert len(await ids(min_revision=second.revision)) == 40
        assert follower.snapshot() is not held
        assert held.count(Modality.IMAGE) == 20
