"""Bulk indexing against the engines called directly with the same photos and captions, decoding included in both."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.bulk.blocks import Columns
from isthmus.bulk.encode import EncoderChoice
from isthmus.bulk.job import BulkJob
from isthmus.bulk.plain_pool import PlainPool
from isthmus.bulk.plan import plan_blocks
from isthmus.bulk.staging import Staging
from isthmus.bulk.workers import Workshop
from isthmus.cli.bulk_import import GatewayImporter
from isthmus.client import Client
from isthmus.core.modality import Modality
from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.engine import image_encoder_engine
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.engine import text_encoder_engine
from tests.bench.record import Figure
from tests.harness.flickr8k import FLICKR8K_TRAIN
from tests.harness.mesh import start_mesh

__all__ = ["measure"]

ROUNDS = 3
PHOTOS = 256
BLOCK_ROWS = 64


class _Warm(Workshop):
    """A workshop that remembers since when its encoders are loaded."""

    async def open(self) -> None:
        await super().open()
        self.opened_s = time.perf_counter()


async def _engine_s(rows: Sequence[dict[str, Any]]) -> float:
    """Encode photos and captions by the engines alone; return the seconds, loading left out."""
    images = image_encoder_engine(ImageEncoderConfig.load())
    texts = text_encoder_engine(TextEncoderConfig.load(max_queue_count=100_000))
    await images.start()
    await texts.start()
    started_s = time.perf_counter()
    await images.encode([row["image"]["bytes"] for row in rows])
    await texts.encode([text for row in rows for text in row["captions"]])
    seconds = time.perf_counter() - started_s
    await images.close()
    await texts.close()
    return seconds


def _bulk_s(client: Client, file: Path, staging: Path, name: str) -> float:
    """Index a file into a new collection; return the seconds until all is acknowledged, loading left out."""
    made = client.create_collection(name)
    workshop = _Warm(
        staging=Staging(str(staging / "default"), f"bench-{name}"),
        choice=EncoderChoice(),
        spaces={Modality.IMAGE: made.image_space, Modality.TEXT: made.text_space},
    )
    workshop.staging.lock()
    importer = GatewayImporter(client, name, workshop.staging)
    blocks = plan_blocks([str(file)], rows=BLOCK_ROWS, columns=Columns())
    done = BulkJob(blocks=blocks, workshop=workshop, importer=importer, progress=lambda _: None).run(PlainPool())
    seconds = time.perf_counter() - workshop.opened_s
    assert (done.images, done.created, done.refused) == (PHOTOS, done.images + done.texts, 0)
    return seconds


def measure(_address: str) -> list[Figure]:
    """Return bulk over engine: photos with five captions each, until they are durable, against encoding them alone."""
    ratios, engine, bulk = [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        start_mesh(Path(folder) / "data") as mesh,
        Client(mesh.address) as client,
    ):
        table = pq.read_table(FLICKR8K_TRAIN[0])
        for turn in range(ROUNDS):
            some = table.slice(turn * PHOTOS, PHOTOS)
            file = Path(folder) / f"photos-{turn}.parquet"
            pq.write_table(pa.table(some), file, row_group_size=100)
            engine.append(PHOTOS / asyncio.run(_engine_s(some.to_pylist())))
            bulk.append(PHOTOS / _bulk_s(client, file, Path(folder) / "data" / "import", f"round-{turn}"))
            ratios.append(bulk[-1] / engine[-1])
    ratio = statistics.median(ratios)
    parts = f"bulk {statistics.median(bulk):.1f} photos/s and their captions, engines {statistics.median(engine):.1f}/s"
    return [Figure("bulk indexing over the engines alone", f"{ratio:.2f}", "≥ 0.80", parts, ratio >= 0.80)]
