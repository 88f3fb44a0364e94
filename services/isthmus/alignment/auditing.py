"""Audit the pairs of a collection: which belong together least, and what a match at a chosen rate says of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.checks import check_spaces
from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.items import CollectionLoader, LoadedCollection
from isthmus.alignment.jobs import Jobs
from isthmus.alignment.ports import ItemReader
from isthmus.alignment.refusals import translated
from isthmus.core.aligners import Aligner, load_aligner
from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.matching import (
    AUDIT_PAIRS_MAX,
    Decision,
    MatchTerms,
    PairAudit,
    PairSides,
    audit_pairs,
    judge_pairs,
)
from isthmus.core.modality import Modality
from isthmus.runtime.base.errors import ResourceExhaustedError
from isthmus.runtime.base.not_calibrated import not_calibrated

__all__ = ["Auditor", "CollectionAudit", "PairDecisions"]

_PAIRS_AT_ONCE: Final = 8_192
"""Pairs whose rows are laid side by side at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDecisions:
    """What a match at the chosen terms says of each pair of an audit."""

    decisions: Sequence[Decision]
    probabilities: NDArray[np.float64]
    """(n,) in [0, 1]."""

    def count(self, decision: Decision) -> int:
        """Return how many pairs were decided so."""
        return sum(found is decision for found in self.decisions)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionAudit:
    """What an audit of a collection found."""

    pairs: PairAudit
    decided: PairDecisions | None
    """None without a curve for pairs."""
    loaded: LoadedCollection
    """The items that rows of `pairs` are rows of."""


class Auditor:
    """Audits collections, each audit a job.

    Args:
        config: Its limits.
        reader: Reads collections.
        jobs: Holds the turns and the threads.
    """

    def __init__(self, config: AlignmentConfig, *, reader: ItemReader, jobs: Jobs) -> None:
        self._config = config
        self._reader = reader
        self._jobs = jobs

    async def audit(
        self, collection: str, *, min_revision: int, seed: int, terms: MatchTerms | None
    ) -> CollectionAudit:
        """Order all pairs of a collection by how little speaks for them.

        Args:
            collection: Its name.
            min_revision: Read it at this revision or a later one.
            seed: Of what is sampled.
            terms: Decide about each pair on these terms, or refuse; None decides on the defaults where it can.

        Raises:
            FailedPreconditionError: NO_ALIGNER, NOT_CALIBRATED or NOT_ENOUGH_PAIRS.
            NotFoundError: COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        async with self._jobs.turn():
            loader = CollectionLoader(max_items=self._config.job_max_items_count)
            # Items without a pair key are in no pair, but a pair's text may fit one of them better.
            async for message in self._reader.read(collection, min_revision=min_revision, paired_only=False):
                loader.add(message)
            loaded = loader.loaded()
            check_spaces(loaded.head.aligner, loaded.head)
            return await self._jobs.run(lambda _: _audited(loaded, seed, terms))


def _audited(loaded: LoadedCollection, seed: int, terms: MatchTerms | None) -> CollectionAudit:
    images, texts = loaded.items[Modality.IMAGE], loaded.items[Modality.TEXT]
    with translated():
        aligner = None if loaded.head.aligner is None else load_aligner(loaded.head.aligner)
        judges = aligner is not None and aligner.calibration is not None and aligner.calibration.pairs is not None
        if terms is not None and not judges:
            raise not_calibrated()
        _check_pair_count(images.pair_keys, texts.pair_keys)
        pairs = audit_pairs(
            images.vectors if aligner is None else aligner.align(images.vectors, Modality.IMAGE),
            texts.vectors if aligner is None else aligner.align(texts.vectors, Modality.TEXT),
            image_keys=images.pair_keys,
            text_keys=texts.pair_keys,
            seed=seed,
        )
        decided = _decided(loaded, pairs, aligner, terms or MatchTerms()) if aligner and judges else None
    return CollectionAudit(pairs=pairs, decided=decided, loaded=loaded)


def _decided(loaded: LoadedCollection, pairs: PairAudit, aligner: Aligner, terms: MatchTerms) -> PairDecisions:
    rows = {modality: loaded.items[modality].vectors for modality in Modality}
    items = {modality: aligner.item_rows(rows[modality], modality) for modality in Modality}
    queries = {modality: aligner.query_rows(rows[modality], modality) for modality in Modality}
    calibration = aligner.calibration
    if calibration is None:
        raise not_calibrated()
    decisions: list[Decision] = []
    probabilities = np.empty(len(pairs.image_rows))
    for start in range(0, len(probabilities), _PAIRS_AT_ONCE):
        checkpoint()
        part = slice(start, start + _PAIRS_AT_ONCE)
        image_rows, text_rows = pairs.image_rows[part], pairs.text_rows[part]
        found = judge_pairs(
            PairSides(
                image_queries=queries[Modality.IMAGE][image_rows],
                image_items=items[Modality.IMAGE][image_rows],
                text_queries=queries[Modality.TEXT][text_rows],
                text_items=items[Modality.TEXT][text_rows],
            ),
            calibration,
            terms,
        )
        decisions.extend(found.decisions)
        probabilities[part] = found.probabilities
    return PairDecisions(decisions=decisions, probabilities=probabilities)


def _check_pair_count(image_keys: Sequence[str | None], text_keys: Sequence[str | None]) -> None:
    """Refuse what is nothing to audit, or too much.

    Raises:
        NotEnoughItemsError: No image and text share a pair key.
        ResourceExhaustedError: LIMIT_EXCEEDED.
    """
    images, texts = Counter(filter(None, image_keys)), Counter(filter(None, text_keys))
    count = sum(images[key] * texts[key] for key in images)
    if not count:
        msg = "pairs: no image and text share a pair key, so there is nothing to audit; add pairs"
        raise NotEnoughItemsError(msg)
    if count > AUDIT_PAIRS_MAX:
        msg = f"collection: {count} pairs of an image and a text; the limit of an audit is {AUDIT_PAIRS_MAX}"
        metadata = {"field": "collection", "limit": str(AUDIT_PAIRS_MAX)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
