"""Collections that are read from memory, in batches, as the searcher streams them, and an engine over one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.engine import AlignmentEngine, FitProgress
from isthmus.alignment.ports import CollectionHead, ItemBatch, NotesWanted
from isthmus.core import Modality, canonical
from isthmus.core.aligners import Artefact, FitOptions
from isthmus.evaluation import ModalityItems

SPACE = "clip@00112233445566aa"
OTHER_SPACE = "minilm@ffeeddccbbaa9988"
ATTRIBUTE = "season"

MakeItems = Callable[..., dict[Modality, ModalityItems]]


@dataclass
class MemoryReader:
    """An `ItemReader` over items at hand."""

    items: dict[Modality, ModalityItems]
    image_space: str = SPACE
    text_space: str = SPACE
    aligner: Artefact | None = None
    batch: int = 50
    asked: list[tuple[str, int, bool]] = field(default_factory=list)
    noted: list[NotesWanted] = field(default_factory=list)

    async def read(
        self, collection: str, *, min_revision: int, paired_only: bool, notes: NotesWanted | None = None
    ) -> AsyncIterator[CollectionHead | ItemBatch]:
        """Yield the head and then batches."""
        self.asked.append((collection, min_revision, paired_only))
        notes = notes or NotesWanted()
        self.noted.append(notes)
        yield CollectionHead(
            image_space=self.image_space,
            text_space=self.text_space,
            revision=7,
            aligner=self.aligner,
            item_count=sum(len(found.ids) for found in self.items.values()),
        )
        for modality, found in self.items.items():
            rows = [row for row, key in enumerate(found.pair_keys) if key or not paired_only]
            for start in range(0, len(rows), self.batch):
                some = rows[start : start + self.batch]
                yield ItemBatch(
                    modality=modality,
                    ids=[found.ids[row] for row in some],
                    pair_keys=[found.pair_keys[row] or "" for row in some],
                    vectors=found.vectors[some],
                    values=[found.values[row] for row in some] if notes.attribute == ATTRIBUTE else (),
                    words=[found.words[row] for row in some] if notes.words else (),
                )


async def started(config: AlignmentConfig, reader: MemoryReader) -> AlignmentEngine:
    """Return an engine that is ready."""
    engine = AlignmentEngine(config, reader)
    await engine.start()
    return engine


async def fit(
    engine: AlignmentEngine,
    *,
    method: str = "center",
    aligner_id: str = "mine",
    request_id: str = "r1",
    options: FitOptions | None = None,
    on_top_of: str | None = None,
) -> list[FitProgress]:
    """Fit to the end and return every step."""
    steps = engine.fit(
        "acme",
        "photos",
        aligner_id=aligner_id,
        method=method,
        options=options or FitOptions(),
        on_top_of=on_top_of,
        min_revision=3,
        request_id=request_id,
    )
    return [step async for step in steps]


@pytest.fixture
def make_items() -> MakeItems:
    """Make paired items with a gap between the modalities."""

    def make(photos: int = 400, captions: int = 2, *, dimension: int = 16) -> dict[Modality, ModalityItems]:
        rng = np.random.default_rng(3)
        meaning = rng.normal(size=(photos, dimension))
        gap = rng.normal(size=dimension)
        owners = np.repeat(np.arange(photos), captions)
        return {
            Modality.IMAGE: ModalityItems(
                ids=[f"photo-{n}" for n in range(photos)],
                pair_keys=[f"thing-{n}" for n in range(photos)],
                vectors=canonical(meaning + 0.5 * rng.normal(size=meaning.shape) + gap),
                values=["summer" if meaning[n, 0] > 0.0 else "winter" for n in range(photos)],
                words=[0] * photos,
            ),
            Modality.TEXT: ModalityItems(
                ids=[f"caption-{n}" for n in range(len(owners))],
                pair_keys=[f"thing-{owner}" for owner in owners],
                vectors=canonical(meaning[owners] + 0.5 * rng.normal(size=(len(owners), dimension)) - gap),
                values=[""] * len(owners),
                words=[4 + n % 7 for n in range(len(owners))],
            ),
        }

    return make


@pytest.fixture
def config(tmp_path: Path) -> AlignmentConfig:
    """Settings with a folder of their own."""
    return AlignmentConfig.load(aligners_dir=tmp_path / "aligners", index_search_address=f"unix:{tmp_path}/i.sock")
