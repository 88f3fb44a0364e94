"""Fit an aligner to a collection's pairs, and judge it on pairs it has not seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from isthmus.alignment.items import LoadedCollection
from isthmus.core.aligners import Artefact, FitOptions, IdentityAligner, Label
from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.gap import PAIRS_MIN
from isthmus.core.guard import GuardLimits
from isthmus.core.modality import Modality
from isthmus.core.notes import ItemNotes
from isthmus.core.recipe import RawPairs, fit_calibrated, verify_artefact, with_report
from isthmus.core.reference import with_reference
from isthmus.runtime.base.guard import GuardTerms

__all__ = ["FitRequest", "FittedPairs", "fit_pairs", "raw_pairs", "verify_fitted"]

_CREATED_BY: Final = "isthmus FitAligner"


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What to fit."""

    aligner_id: str
    method: str
    """One of FITTED_METHODS, or RECALIBRATE."""
    options: FitOptions
    min_pairs: int
    """Pair keys to learn from below which nothing but `identity` is fitted."""
    on_top_of: Artefact | None = None
    """Whose maps RECALIBRATE keeps; None takes the collection's active aligner."""


@dataclass(frozen=True, kw_only=True)
class FittedPairs:
    """An artefact, and which pairs it has seen."""

    artefact: Artefact
    """Calibrated, without a report."""
    learned: RawPairs
    judged: RawPairs | None
    """Pairs that nothing was fitted on; None when there are too few of them to judge by."""


def raw_pairs(loaded: LoadedCollection) -> RawPairs:
    """Return a collection's items as the numerics take them.

    Raises:
        NotEnoughItemsError: The collection takes one modality only.
    """
    head = loaded.head
    if not (head.image_space and head.text_space):
        msg = "pairs: the collection holds one modality only"
        raise NotEnoughItemsError(msg)
    images, texts = loaded.items[Modality.IMAGE], loaded.items[Modality.TEXT]
    return RawPairs(
        images=images.vectors,
        texts=texts.vectors,
        image_keys=images.pair_keys,
        text_keys=texts.pair_keys,
        image_space=head.image_space,
        text_space=head.text_space,
        notes={
            modality: ItemNotes(ids=found.ids, values=found.values, words=found.words)
            for modality, found in loaded.items.items()
        },
    )


def fit_pairs(pairs: RawPairs, request: FitRequest, *, active: Artefact | None) -> FittedPairs:
    """Fit on four fifths of the pair keys; the fifth that is held out is never looked at.

    `identity` learns nothing but its calibration, so it is made even of a collection without pairs; it then has none.

    Args:
        pairs: Of a collection.
        request: What to fit.
        active: The collection's aligner.

    Raises:
        SpacesMismatchError: The method needs one raw space and there are two, or the aligner to recalibrate accepts
            others.
        NotEnoughItemsError: There are fewer pairs than the method needs.
        OptionError: The method does not have an option that was set, or there is nothing to recalibrate.
        LeakError: One photo is among the pairs to fit on and among those held out.
    """
    label = Label(aligner_id=request.aligner_id, created_by=_CREATED_BY, seed=request.options.seed)
    learns = request.method != IdentityAligner.method
    one_space = pairs.image_space == pairs.text_space
    if not learns and one_space and len(pairs.paired_keys) < request.min_pairs:
        artefact = IdentityAligner.fit(
            aligner_id=request.aligner_id,
            space=pairs.image_space,
            dimension=max(pairs.images.shape[1], pairs.texts.shape[1]),
            created_by=_CREATED_BY,
        )
        return FittedPairs(artefact=artefact, learned=pairs, judged=None)
    learned, judged = pairs.split()
    count = len(learned.paired_keys)
    if learns and count < request.min_pairs:
        msg = f"pairs: {count} to fit on, at least {request.min_pairs}; add pairs"
        raise NotEnoughItemsError(msg)
    on_top_of = request.on_top_of or active
    artefact = fit_calibrated(request.method, learned, label=label, options=request.options, on_top_of=on_top_of)
    enough = len(judged.paired_keys) >= PAIRS_MIN
    artefact = with_reference(artefact, learned=learned, judged=judged if enough else None, seed=request.options.seed)
    return FittedPairs(artefact=artefact, learned=learned, judged=judged if enough else None)


def verify_fitted(fitted: FittedPairs, *, active: Artefact | None, guard: GuardTerms) -> Artefact:
    """Return the artefact with its report on the held-out pairs; without one when they are too few to judge by.

    Args:
        fitted: What was fitted.
        active: The collection's aligner, which it is judged against.
        guard: What an aligner may cost the collection.
    """
    if fitted.judged is None:
        return fitted.artefact
    limits = GuardLimits(**asdict(guard))
    found = verify_artefact(fitted.artefact, fitted.judged, learned=fitted.learned, baseline=active, limits=limits)
    return with_report(fitted.artefact, found)
