"""The searcher gives items back as they were stored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.index.model import NewItem
from isthmus.index.store import EventTable
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
)
from tests.unit.index.support import (
    ONE_SPACE,
    SPACE,
    TENANT,
    create,
    images,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)


class TestGetItems:
    """`get_items`."""

    async def test_items_come_whole_and_in_the_order_asked(self, tmp_path: Path) -> None:
        """Attributes keep their types, vectors and thumbnails come bit for bit, unknown ids are left out."""
        rows = vectors(0, 2)
        full = NewItem(
            id="full",
            modality=Modality.TEXT,
            attributes={"int": 1, "float": 1.0, "bool": True, "text": "ü"},
            pair_key="pair",
            content_digest=bytes(range(32)),
            thumbnail=b"picture",
        )
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
            await create(writer)
            stored = await upsert(writer, [*images(["plain"]), full], rows)
            revision, items = await searcher.get_items(
                TENANT,
                "things",
                ids=["full", "nobody", "plain", "full"],
                include_embeddings=True,
                include_thumbnails=True,
                min_revision=stored.revision,
            )
            _, bare = await searcher.get_items(TENANT, "things", ids=["full"])
        assert revision == stored.revision
        assert [item.id for item in items] == ["full", "plain", "full"]
        found = items[0]
        assert {name: (type(value), value) for name, value in found.attributes.items()} == {
            name: (type(value), value) for name, value in full.attributes.items()
        }
        assert (found.pair_key, found.content_digest, found.thumbnail) == ("pair", bytes(range(32)), b"picture")
        assert (found.space, found.modality, found.revision) == (SPACE, Modality.TEXT, stored.revision)
        for item, row in zip(items, (rows[1], rows[0], rows[1]), strict=True):
            np.testing.assert_array_equal(item.embedding, row)
        assert (bare[0].embedding, bare[0].thumbnail) == (None, b"")

    async def test_thumbnails_are_refused_where_none_are_stored(self, tmp_path: Path) -> None:
        """Rather than answering with none."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
            await create(writer, settings=replace(ONE_SPACE, store_thumbnails=False))
            with pytest.raises(FailedPreconditionError) as caught:
                await searcher.get_items(TENANT, "things", ids=["a"], include_thumbnails=True)
        assert caught.value.reason == "THUMBNAILS_DISABLED"

    async def test_embeddings_are_read_after_the_version_they_came_from_is_gone(self, tmp_path: Path) -> None:
        """Compaction and clean-up between two reads do not disturb a searcher that has not looked since."""
        rows = vectors(0, 30)
        async with (
            running_writer(tmp_path, keep_versions_s=1.0) as writer,
            running_searcher(tmp_path, poll_interval_s=10.0) as searcher,
        ):
            await create(writer)
            for number in range(29):
                stored = await upsert(writer, images([str(number)]), rows[number : number + 1])
            ask: dict[str, Any] = {"ids": ["7"], "include_embeddings": True}
            await searcher.get_items(TENANT, "things", min_revision=stored.revision, **ask)
            await asyncio.sleep(1.2)
            (table,) = (path for path in (tmp_path / TENANT).iterdir() if path.name != "catalog.lance")
            other = EventTable.open(str(table), durable=False)
            other._table._cleaned_s = -1e9
            other.maintain(fan_out=4, keep_versions_s=1e-6)
            other._table._cleaned_s = -1e9
            other.maintain(fan_out=4, keep_versions_s=1e-6)
            # The newest version, and the one at which the writer claimed the table.
            assert len(list((table / "_versions").glob("*.manifest"))) == 2
            _, items = await searcher.get_items(TENANT, "things", **ask)
            np.testing.assert_array_equal(items[0].embedding, rows[7])
