"""What the tests of the index share: spaces, canonical vectors, engines on a temporary store, a brute-force model."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import CenterAligner, HeadsAligner, IdentityAligner, Manifest
from isthmus.core.aligners.heads import Head
from isthmus.core.calibration import Calibration, CalibrationSource, ScoreCurve
from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.index.config import IndexConfig
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.model import (
    AlignerFiles,
    CollectionInfo,
    CollectionSettings,
    NewItem,
    SpacedVectors,
    UpsertResult,
)
from isthmus.index.promotion import PromotionTerms

TENANT = "default"
SPACE = "dual@0123456789abcdef"
IMAGE_SPACE = "pictures@0123456789abcdef"
TEXT_SPACE = "sentences@fedcba9876543210"
DIMENSION = 16

ONE_SPACE = CollectionSettings(
    image_space=SPACE, text_space=SPACE, image_dimension=DIMENSION, text_dimension=DIMENSION, store_thumbnails=True
)
TWO_SPACES = CollectionSettings(
    image_space=IMAGE_SPACE, text_space=TEXT_SPACE, image_dimension=DIMENSION, text_dimension=8
)

UNVERIFIED = PromotionTerms(allow_unverified=True)
"""What takes an aligner without a report on held-out pairs."""

_numbers = itertools.count()


def request_id() -> str:
    """Return an id that no other request of this test run has."""
    return f"request-{next(_numbers)}"


def vectors(seed: int, count: int, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Return (count, dimension) canonical random rows."""
    return canonical(np.random.default_rng(seed).standard_normal((count, dimension)))


def config(store_dir: Path | str, role: str, **options: Any) -> IndexConfig:
    """Return a configuration for tests: small groups, quick polling, no waiting for the disk."""
    settings = {"poll_interval_s": 0.02, "durability": "process", "compact_fan_out": 4, "search_threads": 2}
    return IndexConfig.load(role=role, store_dir=store_dir, **(settings | options))


@contextlib.asynccontextmanager
async def running_writer(store_dir: Path | str, **options: Any) -> AsyncIterator[WriterEngine]:
    """Run a writer."""
    engine = WriterEngine(config(store_dir, "writer", **options))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@contextlib.asynccontextmanager
async def running_searcher(store_dir: Path | str, **options: Any) -> AsyncIterator[SearcherEngine]:
    """Run a searcher."""
    engine = SearcherEngine(config(store_dir, "searcher", **options))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def create(
    writer: WriterEngine,
    name: str = "things",
    settings: CollectionSettings = ONE_SPACE,
    aligner: AlignerFiles | None = None,
) -> CollectionInfo:
    """Create a collection."""
    return await writer.create_collection(TENANT, name, settings=settings, aligner=aligner, request_id=request_id())


async def upsert(
    writer: WriterEngine,
    items: Sequence[NewItem],
    rows: NDArray[np.float32],
    *,
    name: str = "things",
    space: str = SPACE,
    request: str | None = None,
) -> UpsertResult:
    """Store items of any modalities whose vectors are of one space, row i belonging to item i."""
    given = {
        modality: SpacedVectors(space, rows[[item.modality is modality for item in items]])
        for modality in {item.modality for item in items}
    }
    return await writer.upsert(TENANT, name, items=items, vectors=given, request_id=request or request_id())


def images(ids: Sequence[str]) -> list[NewItem]:
    """Return image items."""
    return [NewItem(id=item_id, modality=Modality.IMAGE) for item_id in ids]


def texts(ids: Sequence[str]) -> list[NewItem]:
    """Return text items."""
    return [NewItem(id=item_id, modality=Modality.TEXT) for item_id in ids]


def files(artefact: Any) -> AlignerFiles:
    """Return an artefact as it travels."""
    return AlignerFiles(*artefact.to_bytes())


def identity(calibration: Calibration | None = None) -> AlignerFiles:
    """Return the identity of SPACE."""
    fitted = IdentityAligner.fit(aligner_id="same", space=SPACE, dimension=DIMENSION, created_by="test")
    return files(fitted.with_findings(calibration=calibration, report={}))


def center(seed: int = 0) -> AlignerFiles:
    """Return a centring of SPACE, another one for each seed."""
    fitted = CenterAligner.fit(
        vectors(seed, 20), vectors(seed + 1, 20), aligner_id="center", space=SPACE, created_by="test", seed=seed
    )
    return files(fitted)


def heads(seed: int = 0) -> AlignerFiles:
    """Return a random linear two-tower projection that joins the two spaces of TWO_SPACES."""
    rng = np.random.default_rng(seed)
    image, text = (
        Head(
            weight=rng.standard_normal((6, dimension)).astype(np.float32),
            bias=np.zeros(6, np.float32),
            hidden_weight=np.zeros((0, dimension), np.float32),
            hidden_bias=np.zeros(0, np.float32),
            output_weight=np.zeros((6, 0), np.float32),
        )
        for dimension in (TWO_SPACES.image_dimension, TWO_SPACES.text_dimension)
    )
    manifest = Manifest(
        aligner_id="heads",
        method="heads",
        image_space=IMAGE_SPACE,
        text_space=TEXT_SPACE,
        dimension=6,
        created_by="test",
        pair_count=0,
        seed=seed,
    )
    return files(HeadsAligner.pack(manifest, image=image, text=text))


def fitted_calibration() -> Calibration:
    """Return a fitted calibration whose curves all differ."""
    curves = {
        (query, item): ScoreCurve(location=0.1 * number, scale=0.2, slope=1.0 + number, intercept=-1.0)
        for number, (query, item) in enumerate(itertools.product(Modality, Modality))
    }
    return Calibration(source=CalibrationSource.FITTED, curves=curves)


@dataclass
class Model:
    """A collection as a dictionary: what the index must be equal to."""

    items: dict[str, tuple[NewItem, NDArray[np.float32]]] = field(default_factory=dict)
    revision: int = 1

    def upsert(self, items: Mapping[str, tuple[NewItem, NDArray[np.float32]]]) -> None:
        """Store items."""
        fresh = {
            key: value
            for key, value in items.items()
            if key not in self.items
            or self.items[key][0] != value[0]
            or not np.array_equal(self.items[key][1], value[1])
        }
        self.items |= fresh
        self.revision += bool(fresh)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete items; return how many were there."""
        gone = [item_id for item_id in dict.fromkeys(ids) if item_id in self.items]
        for item_id in gone:
            del self.items[item_id]
        self.revision += bool(gone)
        return len(gone)

    def scores(self, query: NDArray[np.float32], modality: Modality) -> dict[str, float]:
        """Return every item's score."""
        return {key: float(row @ query) for key, (item, row) in self.items.items() if item.modality is modality}
