"""Propose links between a collection's items that have no pair key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.aligner_keeper import AlignerKeeper
from isthmus.alignment.checks import check_spaces
from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.items import CollectionLoader, LoadedCollection
from isthmus.alignment.jobs import Jobs
from isthmus.alignment.ports import CollectionHead, ItemBatch, ItemReader
from isthmus.alignment.refusals import translated
from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.linking import LinkSides, LinkTerms, ProposedLinks, propose_links
from isthmus.core.modality import Modality
from isthmus.evaluation.items import ModalityItems
from isthmus.runtime.base.errors import FailedPreconditionError
from isthmus.runtime.base.not_calibrated import not_calibrated

__all__ = ["CollectionLinks", "Linker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionLinks:
    """Links of a collection's items, the most probable first."""

    image_ids: Sequence[str]
    """One a link."""
    text_ids: Sequence[str]
    """One a link."""
    found: ProposedLinks
    """Their probabilities and scores."""
    image_count: int
    """Images without a pair key."""
    text_count: int
    """Texts without a pair key."""
    aligner: str
    """The aligned space that they were compared in."""
    revision: int
    """Revision of the collection."""


class Linker:
    """Proposes links, each proposal a job.

    Args:
        config: Its limits.
        reader: Reads collections.
        keeper: Has the aligners.
        jobs: Holds the turns and the threads.
    """

    def __init__(self, config: AlignmentConfig, *, reader: ItemReader, keeper: AlignerKeeper, jobs: Jobs) -> None:
        self._config = config
        self._reader = reader
        self._keeper = keeper
        self._jobs = jobs

    async def propose(
        self, tenant: str, collection: str, *, min_revision: int, reference: str | None, terms: LinkTerms
    ) -> CollectionLinks:
        """Propose links between the items of a collection that have no pair key.

        Args:
            tenant: Whose collection.
            collection: Its name.
            min_revision: Read it at this revision or a later one.
            reference: Compare with this aligner in place of the active one.
            terms: What the caller chooses.

        Raises:
            FailedPreconditionError: NOTHING_TO_LINK; NO_ALIGNER, ALIGNER_SPACES_MISMATCH, NOT_CALIBRATED;
                NOT_ENOUGH_PAIRS, when the aligner was calibrated on too few pairs for that rate.
            NotFoundError: ALIGNER_NOT_FOUND, COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        async with self._jobs.turn():
            chosen = await self._keeper.get(tenant, reference) if reference is not None else None
            loader = CollectionLoader(max_items=self._config.job_max_items_count)
            async for message in self._reader.read(collection, min_revision=min_revision, paired_only=False):
                loader.add(message if isinstance(message, CollectionHead) else _unpaired(message))
            loaded = loader.loaded()
            artefact = chosen if chosen is not None else loaded.head.aligner
            check_spaces(artefact, loaded.head)
            _check_items(loaded)
            return await self._jobs.run(lambda _: _linked(loaded, artefact, terms))


def _unpaired(batch: ItemBatch) -> ItemBatch:
    rows = [row for row, key in enumerate(batch.pair_keys) if not key]
    return ItemBatch(
        modality=batch.modality,
        ids=[batch.ids[row] for row in rows],
        pair_keys=[""] * len(rows),
        vectors=batch.vectors[rows],
    )


def _check_items(loaded: LoadedCollection) -> None:
    """Refuse a collection with nothing to link.

    Raises:
        FailedPreconditionError: NOTHING_TO_LINK.
    """
    counts = {modality: len(found.ids) for modality, found in loaded.items.items()}
    if not all(counts.values()):
        msg = (
            f"collection: {counts[Modality.IMAGE]} images and {counts[Modality.TEXT]} texts without a pair key; "
            "links need at least one of each"
        )
        raise FailedPreconditionError(
            msg,
            reason="NOTHING_TO_LINK",
            metadata={f"{modality}_count": str(count) for modality, count in counts.items()},
        )


def _linked(loaded: LoadedCollection, artefact: Artefact | None, terms: LinkTerms) -> CollectionLinks:
    images, texts = (_by_id(loaded.items[modality]) for modality in (Modality.IMAGE, Modality.TEXT))
    with translated():
        aligner = None if artefact is None else load_aligner(artefact)
        if aligner is None or aligner.calibration is None or aligner.calibration.pairs is None:
            raise not_calibrated()
        found = propose_links(
            LinkSides.of(images[1], texts[1], aligner=aligner),
            aligner.calibration,
            terms,
        )
    return CollectionLinks(
        image_ids=[images[0][row] for row in found.images.tolist()],
        text_ids=[texts[0][row] for row in found.texts.tolist()],
        found=found,
        image_count=len(images[0]),
        text_count=len(texts[0]),
        aligner=aligner.space,
        revision=loaded.head.revision,
    )


def _by_id(items: ModalityItems) -> tuple[list[str], NDArray[np.float32]]:
    """Return ids and vectors in order of the ids: equal items are then linked alike, in whatever order they came."""
    order = sorted(range(len(items.ids)), key=items.ids.__getitem__)
    return [items.ids[row] for row in order], items.vectors[order]
