"""The retrieval protocol from exact similarities (docs/methods.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner
from isthmus.core.calibration import Calibration, calibration_sample, estimate_calibration
from isthmus.core.errors import SpacesMismatchError
from isthmus.core.metrics import RetrievalReport, cross_modal_recall, mixed_retrieval
from isthmus.core.modality import Modality
from isthmus.evaluation.items import ModalityItems, paired_rows

__all__ = ["Evaluation", "evaluate_retrieval"]

CALIBRATION_SEED = 0
"""Seed of the sample behind an estimated calibration; the index uses the same, so both merge alike."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the protocol found, and under which calibration."""

    report: RetrievalReport
    calibration: Calibration


def evaluate_retrieval(
    images: ModalityItems,
    texts: ModalityItems,
    *,
    aligner: Aligner | None,
    calibration: Calibration | None = None,
    pair_limit: int | None = None,
) -> Evaluation:
    """Judge retrieval over the items' pairs as an exact search would serve it.

    Every item is an answer; items whose pair key has both modalities are queries.

    Args:
        images: Raw image embeddings.
        texts: Raw text embeddings.
        aligner: Maps both to one space; None when they are in one space already.
        calibration: Merge by this one; None takes the aligner's own, else estimates it from the items.
        pair_limit: Judge at most so many pair keys, chosen by their hash.

    Raises:
        NotEnoughItemsError: No pair key has items of both modalities.
        SpacesMismatchError: There is no aligner and the dimensions differ.
        ShapeError: A dimension is not the aligner's.
    """
    pairs = paired_rows({Modality.IMAGE: images.pair_keys, Modality.TEXT: texts.pair_keys}, pair_limit=pair_limit)
    vectors = _item_rows(images, texts, aligner)
    asked = _query_rows(images, texts, aligner) if aligner is not None and aligner.corrects_hubness else vectors
    if calibration is None:
        calibration = aligner.calibration if aligner is not None else None
    if calibration is None:
        calibration = _estimated(images, texts, vectors)

    recall = {
        query: cross_modal_recall(
            asked[query][pairs.rows[query]],
            vectors[query.other],
            query_codes=pairs.codes[query][pairs.rows[query]],
            item_codes=pairs.codes[query.other],
        )
        for query in Modality
    }
    mixed = {
        query: mixed_retrieval(
            pairs.rows[query],
            query=query,
            vectors=vectors,
            codes=pairs.codes,
            calibration=calibration,
            query_vectors=asked[query],
        )
        for query in Modality
    }
    report = RetrievalReport(
        pair_count=pairs.pair_count,
        image_query_count=len(pairs.rows[Modality.IMAGE]),
        text_query_count=len(pairs.rows[Modality.TEXT]),
        t2i=recall[Modality.TEXT],
        i2t=recall[Modality.IMAGE],
        mixed_image_query=mixed[Modality.IMAGE],
        mixed_text_query=mixed[Modality.TEXT],
    )
    return Evaluation(report=report, calibration=calibration)


def _item_rows(
    images: ModalityItems, texts: ModalityItems, aligner: Aligner | None
) -> dict[Modality, NDArray[np.float32]]:
    if aligner is not None:
        return {
            Modality.IMAGE: aligner.item_rows(images.vectors, Modality.IMAGE),
            Modality.TEXT: aligner.item_rows(texts.vectors, Modality.TEXT),
        }
    if images.vectors.shape[1] != texts.vectors.shape[1]:
        msg = "vectors: images and texts are of two raw spaces; an aligner must join them first"
        raise SpacesMismatchError(msg)
    return {Modality.IMAGE: images.vectors, Modality.TEXT: texts.vectors}


def _query_rows(images: ModalityItems, texts: ModalityItems, aligner: Aligner) -> dict[Modality, NDArray[np.float32]]:
    return {
        Modality.IMAGE: aligner.query_rows(images.vectors, Modality.IMAGE),
        Modality.TEXT: aligner.query_rows(texts.vectors, Modality.TEXT),
    }


def _estimated(
    images: ModalityItems, texts: ModalityItems, vectors: dict[Modality, NDArray[np.float32]]
) -> Calibration:
    image_rows = calibration_sample(images.ids, seed=CALIBRATION_SEED)
    text_rows = calibration_sample(texts.ids, seed=CALIBRATION_SEED)
    return estimate_calibration(
        vectors[Modality.IMAGE][image_rows],
        vectors[Modality.TEXT][text_rows],
        image_keys=[images.pair_keys[row] for row in image_rows],
        text_keys=[texts.pair_keys[row] for row in text_rows],
    )
