"""Every method by its name: from pairs to an artefact, and from an artefact to the class that applies it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from isthmus.core.aligners.artefact import Artefact
from isthmus.core.aligners.base import Aligner
from isthmus.core.aligners.cca import CcaAligner, fit_cca
from isthmus.core.aligners.center import CenterAligner
from isthmus.core.aligners.fitted import FitResult, Label
from isthmus.core.aligners.heads import HeadsAligner
from isthmus.core.aligners.hubness import HUBNESS_NEIGHBOURS, HUBNESS_SAMPLE_MAX, ItemOffsets
from isthmus.core.aligners.identity import IdentityAligner
from isthmus.core.aligners.pairs import FitPairs
from isthmus.core.aligners.procrustes import ProcrustesAligner, fit_procrustes
from isthmus.core.aligners.recalibrate import RECALIBRATE, recalibrated
from isthmus.core.aligners.ridge import RidgeAligner, fit_ridge
from isthmus.core.aligners.shift import ShiftAligner, fit_shift
from isthmus.core.aligners.spectral import SpectralAligner, fit_spectral
from isthmus.core.aligners.standardize import StandardizeAligner, fit_standardize
from isthmus.core.aligners.transport import TransportAligner, fit_transport
from isthmus.core.errors import ArtefactError, OptionError
from isthmus.core.modality import Modality

__all__ = ["FITTED_METHODS", "METHODS", "FitOptions", "add_hubness_correction", "fit_artefact", "load_aligner"]

METHODS: Final[Mapping[str, type[Aligner]]] = MappingProxyType(
    {
        aligner.method: aligner
        for aligner in (
            IdentityAligner,
            ShiftAligner,
            CenterAligner,
            StandardizeAligner,
            ProcrustesAligner,
            CcaAligner,
            RidgeAligner,
            SpectralAligner,
            TransportAligner,
            HeadsAligner,
        )
    }
)
"""Every aligner class by its name in a manifest."""
FITTED_METHODS: Final = tuple(method for method in METHODS if method != HeadsAligner.method)
"""Those that are fitted from nothing, in numpy; `heads` are trained by `isthmus train aligner`."""

_STRENGTH_METHODS: Final = ("shift", "center", "standardize", "procrustes", "transport")
_DIMENSION_METHODS: Final = ("cca", "spectral")


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What a person may choose about a fit, whatever the method."""

    strength: float = 1.0
    """Share of the correction, in [0, 1]; shift, center, standardize, procrustes and transport have one."""
    dimension: int | None = None
    """Length of an aligned vector; cca and spectral have a choice."""
    by_sigma: bool = False
    """Let coordinates of spectral count by their singular value."""
    lift: float | None = None
    """What spectral adds to every similarity, at least 0; None adds only where degrees need it."""
    hubness: bool = False
    """Correct hubness on top."""
    seed: int = 0
    """Of everything random."""


_FITTERS: Final[Mapping[str, Callable[[FitPairs, FitOptions], FitResult]]] = MappingProxyType(
    {
        "shift": lambda pairs, options: fit_shift(pairs, strength=options.strength),
        "standardize": lambda pairs, options: fit_standardize(pairs, strength=options.strength),
        "procrustes": lambda pairs, options: fit_procrustes(pairs, strength=options.strength),
        "cca": lambda pairs, options: fit_cca(pairs, dimension=options.dimension, seed=options.seed),
        "ridge": lambda pairs, _: fit_ridge(pairs),
        "spectral": lambda pairs, options: fit_spectral(
            pairs, dimension=options.dimension, by_sigma=options.by_sigma, lift=options.lift, seed=options.seed
        ),
        "transport": lambda pairs, options: fit_transport(pairs, strength=options.strength, seed=options.seed),
    }
)


def fit_artefact(
    method: str,
    pairs: FitPairs,
    *,
    label: Label,
    options: FitOptions | None = None,
    on_top_of: Artefact | None = None,
) -> Artefact:
    """Fit one method to pairs.

    Args:
        method: One of FITTED_METHODS, or RECALIBRATE.
        pairs: What to fit to, never those it will be judged on.
        label: Name and origin of the artefact.
        options: None takes the defaults.
        on_top_of: The aligner whose maps RECALIBRATE keeps.

    Raises:
        OptionError: The method is unknown, does not have an option that was set, or there is nothing to recalibrate.
        NotEnoughItemsError: There are too few pairs; says how many are needed.
        SpacesMismatchError: The method needs one raw space and there are two.
        DegreesError: The similarity graph of spectral has an item without edges.
        ArtefactError: The label is malformed, or the numbers are over the artefact's limit.
    """
    chosen = options or FitOptions()
    _check_options(method, chosen)
    artefact: Artefact
    if method == RECALIBRATE:
        if on_top_of is None:
            msg = f"{method}: needs an aligner whose maps it keeps; name one, or make one active"
            raise OptionError(msg)
        artefact = recalibrated(on_top_of, pairs, label=label)
    elif method == IdentityAligner.method:
        artefact = IdentityAligner.fit_pairs(pairs, label=label)
    elif method == CenterAligner.method:
        artefact = CenterAligner.fit_pairs(pairs, label=label, strength=chosen.strength)
    else:
        artefact = _FITTERS[method](pairs, chosen).seal(pairs, label=label)
    return add_hubness_correction(artefact, pairs, seed=chosen.seed) if chosen.hubness else artefact


def add_hubness_correction(artefact: Artefact, pairs: FitPairs, *, seed: int = 0) -> Artefact:
    """Return the same aligner with item offsets, measured against up to 1,000 fitted rows a modality.

    Args:
        artefact: Of any method; a correction that it has is replaced.
        pairs: What to measure against, never those it will be judged on.
        seed: Of the choice of rows.

    Raises:
        NotEnoughItemsError: A modality has fewer than 11 rows.
        ShapeError: The pairs are not of the aligner's raw dimensions.
    """
    aligner = load_aligner(artefact)
    rng = np.random.default_rng(seed)
    samples = {}
    for modality in Modality:
        rows = pairs.vectors(modality)
        chosen = rng.permutation(len(rows))[:HUBNESS_SAMPLE_MAX]
        samples[modality] = aligner.align(rows[chosen], modality)
    tensors = dict(artefact.tensors) | ItemOffsets(samples=samples).to_tensors()
    settings = dict(artefact.manifest.settings) | {"hubness_neighbours": HUBNESS_NEIGHBOURS}
    manifest = replace(artefact.manifest, settings=settings, calibration=None, report={})
    return Artefact.create(manifest, tensors)


def load_aligner(artefact: Artefact) -> Aligner:
    """Return the aligner that `artefact` holds.

    Raises:
        ArtefactError: The method is unknown, or the tensors are not what it needs.
    """
    method = METHODS.get(artefact.manifest.method)
    if method is None:
        msg = f"manifest: method must be one of {', '.join(METHODS)}"
        raise ArtefactError(msg)
    return method.from_artefact(artefact)


def _check_options(method: str, options: FitOptions) -> None:
    if method not in (*FITTED_METHODS, RECALIBRATE):
        msg = f"method: must be one of {', '.join(FITTED_METHODS)} or {RECALIBRATE}"
        raise OptionError(msg)
    asked = {
        "strength": (options.strength != FitOptions.strength, _STRENGTH_METHODS),
        "dimension": (options.dimension is not None, _DIMENSION_METHODS),
        "lift": (options.lift is not None, ("spectral",)),
        "by_sigma": (options.by_sigma, ("spectral",)),
    }
    for name, (is_set, having) in asked.items():
        if is_set and method not in having:
            msg = f"{name}: {method} has none; {', '.join(having)} {'has' if len(having) == 1 else 'have'}"
            raise OptionError(msg)
