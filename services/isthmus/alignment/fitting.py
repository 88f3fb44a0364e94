"""Fit `identity` or `center` to a collection's pairs, and judge it on pairs it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from isthmus.core.aligners import Aligner, Artefact, CenterAligner, IdentityAligner, load_aligner
from isthmus.core.aligners.base import require_one_space
from isthmus.core.calibration import FIT_LIMIT, Calibration, fit_calibration
from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.modality import Modality
from isthmus.core.sampling import hashed_share, keyed_sample
from isthmus.evaluation import ModalityItems, evaluate_retrieval

__all__ = ["FITTED_METHODS", "HELD_OUT_SHARE", "FitRequest", "fit_aligner"]

FITTED_METHODS: Final = ("identity", "center")
"""What a collection's own vectors can fit; `heads` are trained by `isthmus train aligner`."""
HELD_OUT_SHARE: Final = 0.2
"""Share of pair keys, chosen by their hash, that nothing is ever fitted on."""

_CREATED_BY: Final = "isthmus FitAligner"
_CALIBRATION_KEYS: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What to fit."""

    aligner_id: str
    method: str
    """One of FITTED_METHODS."""
    seed: int
    min_pairs: int
    """Pair keys below which `center` is not fitted."""


def fit_aligner(
    items: Mapping[Modality, ModalityItems], *, image_space: str, text_space: str, request: FitRequest
) -> Artefact:
    """Fit on four fifths of the pair keys, judge on the fifth that is held out.

    `identity` learns nothing but its calibration, so it is made even of a collection without pairs; it then has no
    calibration and no report.

    Args:
        items: Items of both modalities that have pair keys, with their raw embeddings.
        image_space: Raw space of the images.
        text_space: Raw space of the texts.
        request: What to fit.

    Raises:
        SpacesMismatchError: The raw spaces differ.
        NotEnoughItemsError: `center` has fewer pairs than it needs, or a modality is missing altogether.
    """
    if not (image_space and text_space):
        msg = "pairs: the collection holds one modality only"
        raise NotEnoughItemsError(msg)
    require_one_space(image_space, text_space, method=request.method)
    shared = {key for key in items[Modality.IMAGE].pair_keys if key} & {
        key for key in items[Modality.TEXT].pair_keys if key
    }
    held_out = {key for key in shared if hashed_share(key, seed=0) < HELD_OUT_SHARE}
    seen = shared - held_out
    parts = {modality: _with_keys(found, seen) for modality, found in items.items()}
    artefact = _bare(parts, items, image_space=image_space, pair_count=len(seen), request=request)
    aligner = load_aligner(artefact)
    calibration = _calibration(parts, aligner, seed=request.seed)
    artefact = artefact.with_findings(calibration=calibration, report={})
    if held_out:
        judged = evaluate_retrieval(
            _with_keys(items[Modality.IMAGE], held_out),
            _with_keys(items[Modality.TEXT], held_out),
            aligner=load_aligner(artefact),
            pair_limit=_CALIBRATION_KEYS,
        )
        artefact = artefact.with_findings(calibration=calibration, report=judged.report.to_dict())
    return artefact


def _bare(
    parts: Mapping[Modality, ModalityItems],
    items: Mapping[Modality, ModalityItems],
    *,
    image_space: str,
    pair_count: int,
    request: FitRequest,
) -> Artefact:
    """Return the artefact before anything is known of how well it does."""
    if request.method == "identity":
        dimension = max(found.vectors.shape[1] for found in items.values())
        return IdentityAligner.fit(
            aligner_id=request.aligner_id, space=image_space, dimension=dimension, created_by=_CREATED_BY
        )
    if pair_count < request.min_pairs:
        msg = f"pairs: {pair_count} to fit on, at least {request.min_pairs}"
        raise NotEnoughItemsError(msg)
    return CenterAligner.fit(
        parts[Modality.IMAGE].vectors,
        parts[Modality.TEXT].vectors,
        aligner_id=request.aligner_id,
        space=image_space,
        created_by=_CREATED_BY,
        pair_count=pair_count,
        seed=request.seed,
    )


def _with_keys(items: ModalityItems, keys: set[str]) -> ModalityItems:
    rows = [row for row, key in enumerate(items.pair_keys) if key in keys]
    return ModalityItems(
        ids=[items.ids[row] for row in rows],
        pair_keys=[items.pair_keys[row] for row in rows],
        vectors=items.vectors[rows],
    )


def _calibration(parts: Mapping[Modality, ModalityItems], aligner: Aligner, *, seed: int) -> Calibration | None:
    """Return the calibration fitted on a sample of the pairs seen, or None when they are too few."""
    keys = sorted({key for key in parts[Modality.IMAGE].pair_keys if key})
    if not keys:
        return None
    chosen = {keys[position] for position in keyed_sample(keys, seed=seed, limit=_CALIBRATION_KEYS)}
    sample = {}
    for modality, found in parts.items():
        part = _with_keys(found, chosen)
        rows = keyed_sample(part.ids, seed=seed, limit=FIT_LIMIT)
        sample[modality] = (aligner.align(part.vectors[rows], modality), [part.pair_keys[row] for row in rows])
    try:
        return fit_calibration(
            sample[Modality.IMAGE][0],
            sample[Modality.TEXT][0],
            image_keys=sample[Modality.IMAGE][1],
            text_keys=sample[Modality.TEXT][1],
        )
    except NotEnoughItemsError:
        return None
