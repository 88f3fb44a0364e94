"""Write a store as this version of the code writes it, with what a searcher answers from it.

    python -m tests.contract.make_store NAME

makes `tests/contract/stores/NAME.tar.gz` and `NAME.json`, for `test_storage_compat.py`. Run it whenever what lies on
the disk changes, with a new name: what was written once is opened by every later version.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from isthmus.core.modality import Modality
from isthmus.index.aliases import SwitchTerms
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.model import NewItem
from tests.unit.index.support import (
    SPACE,
    TENANT,
    UNVERIFIED,
    center,
    create,
    identity,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

STORES: Final = Path(__file__).with_name("stores")
QUERIES: Final = vectors(7, 4)
REPLAYED: Final = "replayed"
"""Request id of the upsert that is sent again."""
ALIAS: Final = "pictures"
TOP_K: Final = 10
_COUNT: Final = 24


def last_items() -> list[NewItem]:
    """Return the items of the upsert that is sent again."""
    return [NewItem(id=f"image-{number}", modality=Modality.IMAGE, attributes={"price": 1.5}) for number in range(3)]


async def fill(writer: WriterEngine) -> None:
    """Make a collection with everything that a store may hold."""
    await create(writer, aligner=center(0))
    images = [
        NewItem(
            id=f"image-{number}",
            modality=Modality.IMAGE,
            attributes={"color": ["red", "blue"][number % 2], "price": number / 2, "rank": number, "new": number > 9},
            pair_key=f"pair-{number}",
            content_digest=bytes([number]) * 32,
            thumbnail=b"picture %d" % number,
        )
        for number in range(_COUNT)
    ]
    texts = [
        NewItem(id=f"text-{number}", modality=Modality.TEXT, pair_key=f"pair-{number}", content_words=number)
        for number in range(_COUNT)
    ]
    await upsert(writer, images, vectors(1, _COUNT))
    await upsert(writer, texts, vectors(2, _COUNT))
    await writer.delete(TENANT, "things", ids=["image-20", "text-21"], request_id="deleted")
    await writer.set_aligner(TENANT, "things", aligner=identity(), terms=UNVERIFIED, request_id="promoted")
    await writer.set_shadow_aligner(TENANT, "things", aligner=center(3), request_id="shadow")
    await writer.set_alias(TENANT, ALIAS, "things", terms=SwitchTerms(), request_id="named")
    await writer.eraser.erase(TENANT, "things", ids=["image-22"], request_id="erased")  # folds the events
    await upsert(writer, last_items(), vectors(5, 3), request=REPLAYED)


async def answers(searcher: SearcherEngine, *, min_revision: int = 0) -> dict[str, Any]:
    """Return everything that a reader can learn of the collection."""
    revision, items = await searcher.get_items(
        TENANT,
        "things",
        ids=[f"{kind}-{number}" for kind in ("image", "text") for number in range(_COUNT)],
        include_embeddings=True,
        include_thumbnails=True,
        min_revision=min_revision,
    )
    searched = {}
    for query, item in itertools.product(Modality, Modality):
        result = await searcher.search(
            TENANT,
            "things",
            modality=query,
            space=SPACE,
            queries=QUERIES,
            top_k=TOP_K,
            item_modality=item,
            min_revision=min_revision,
        )
        searched[f"{query.value} to {item.value}"] = [
            [[neighbor.item.id, neighbor.score] for neighbor in neighbors] for neighbors in result.neighbors
        ]
    return {
        "revision": revision,
        "items": [
            {
                "id": item.id,
                "modality": item.modality.value,
                "attributes": dict(item.attributes),
                "pair_key": item.pair_key,
                "content_digest": item.content_digest.hex(),
                "revision": item.revision,
                "thumbnail": item.thumbnail.decode(),
                "content_words": item.content_words,
                "embedding": [] if item.embedding is None else item.embedding.tolist(),
            }
            for item in items
        ],
        "neighbors": searched,
    }


async def _write(folder: Path) -> dict[str, Any]:
    async with running_writer(folder, compact_fan_out=1_000) as writer:
        await fill(writer)
    async with running_searcher(folder) as searcher:
        return await answers(searcher) | {"aliases": {ALIAS: "things"}}


def main() -> None:
    """Write one."""
    (name,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        expected = asyncio.run(_write(store))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(store, arcname="store")
    STORES.mkdir(exist_ok=True)
    (STORES / f"{name}.tar.gz").write_bytes(packed.getvalue())
    (STORES / f"{name}.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
