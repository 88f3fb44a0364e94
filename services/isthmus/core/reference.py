"""Give a fitted artefact what later tells whether the world has moved away from its fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Artefact, FitReference, ProbeRecall, load_aligner
from isthmus.core.canonical import canonical
from isthmus.core.errors import ArtefactError, NotEnoughItemsError
from isthmus.core.gap import CLOUD_KEYS_MAX, CloudStatistics
from isthmus.core.modality import Modality
from isthmus.core.probe import probe_recall
from isthmus.core.raw_pairs import RawPairs
from isthmus.core.sampling import keyed_sample

__all__ = ["first_of_pairs", "with_reference"]


def with_reference(artefact: Artefact, *, learned: RawPairs, judged: RawPairs | None, seed: int = 0) -> Artefact:
    """Return the artefact with the statistics of its fit; unchanged when there are too few pairs for any.

    Args:
        artefact: Fitted and calibrated; its revision changes with the statistics.
        learned: What it was fitted and calibrated on.
        judged: Pairs that it has not seen, for the probe; None or too few leave it without.
        seed: Of the choice of pairs.
    """
    keys = learned.paired_keys
    paired = learned.with_keys({keys[row] for row in keyed_sample(keys, seed=seed, limit=CLOUD_KEYS_MAX)})
    try:
        clouds = {
            modality: CloudStatistics.of(canonical(rows), np.array(row_keys), seed=seed)
            for modality, rows, row_keys in (
                (Modality.IMAGE, paired.images, paired.image_keys),
                (Modality.TEXT, paired.texts, paired.text_keys),
            )
        }
    except NotEnoughItemsError:
        return artefact
    reference = FitReference(clouds=clouds, probe=_probe(artefact, judged))
    try:
        return Artefact.create(artefact.manifest, dict(artefact.tensors) | reference.to_tensors())
    except ArtefactError:
        return artefact  # it was at its limit before; what it does matters more than what it remembers


def first_of_pairs(pairs: RawPairs) -> tuple[dict[Modality, NDArray[np.float32]], list[str]]:
    """Return one image and one text of each pair key, the first of each, with the keys, sorted."""
    keys = pairs.paired_keys
    rows = {}
    for modality, vectors, own in (
        (Modality.IMAGE, pairs.images, pairs.image_keys),
        (Modality.TEXT, pairs.texts, pairs.text_keys),
    ):
        first: dict[str | None, int] = {}
        for row, key in enumerate(own):
            first.setdefault(key, row)
        rows[modality] = canonical(vectors[[first[key] for key in keys]])
    return rows, keys


def _probe(artefact: Artefact, judged: RawPairs | None) -> ProbeRecall | None:
    if judged is None:
        return None
    try:
        return probe_recall(load_aligner(artefact), *first_of_pairs(judged))
    except NotEnoughItemsError:
        return None
