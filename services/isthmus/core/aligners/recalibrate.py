"""Recalibration: keep the maps of an aligner, and fit to other pairs what lies on top of them.

Learned maps carry over to a collection that they were not learned from; which items are hubs there, and what score is a
surprise, does not. Both need few pairs. (Hubness correction and calibrated merge: docs/methods.md)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from isthmus.core.aligners.artefact import Artefact
from isthmus.core.aligners.fitted import Label
from isthmus.core.aligners.pairs import FitPairs
from isthmus.core.aligners.reference import without_reference
from isthmus.core.errors import SpacesMismatchError

__all__ = ["RECALIBRATE", "recalibrated"]

RECALIBRATE: Final = "recalibrate"
"""Its name beside those of the methods; the artefact keeps the method of its maps."""


def recalibrated(base: Artefact, pairs: FitPairs, *, label: Label) -> Artefact:
    """Return an aligner with the maps of `base`, and its hubness correction if it has one, but nothing else of it.

    Args:
        base: Whose maps are kept; `settings.on_top_of` names it.
        pairs: What a calibration will be fitted to.
        label: Name and origin of the new artefact.

    Raises:
        SpacesMismatchError: The pairs are not of the raw spaces that `base` accepts.
        ArtefactError: The label is malformed.
    """
    manifest = base.manifest
    if (pairs.image_space, pairs.text_space) != (manifest.image_space, manifest.text_space):
        msg = f"{RECALIBRATE}: the pairs are not of the raw spaces that the aligner accepts"
        raise SpacesMismatchError(msg)
    changed = replace(
        manifest,
        aligner_id=label.aligner_id,
        created_by=label.created_by,
        pair_count=pairs.pair_count,
        seed=label.seed,
        settings=dict(manifest.settings) | {"on_top_of": base.space},
        calibration=None,
        report={},
    )
    return Artefact.create(changed, without_reference(base.tensors))
