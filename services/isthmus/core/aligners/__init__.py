"""Aligners: fit → artefact → apply, all in numpy."""

from __future__ import annotations

from isthmus.core.aligners.artefact import (
    MANIFEST_NAME,
    TENSORS_HEADER_MAX_BYTES,
    TENSORS_MAX_BYTES,
    TENSORS_NAME,
    Artefact,
    Tensors,
)
from isthmus.core.aligners.base import Aligner
from isthmus.core.aligners.center import CenterAligner
from isthmus.core.aligners.fitted import Label
from isthmus.core.aligners.heads import HeadsAligner
from isthmus.core.aligners.identity import IdentityAligner
from isthmus.core.aligners.manifest import MANIFEST_MAX_BYTES, Manifest
from isthmus.core.aligners.methods import (
    FITTED_METHODS,
    METHODS,
    FitOptions,
    add_hubness_correction,
    fit_artefact,
    load_aligner,
)
from isthmus.core.aligners.pairs import FitPairs
from isthmus.core.aligners.recalibrate import RECALIBRATE
from isthmus.core.aligners.reference import FitReference, ProbeRecall

__all__ = [
    "FITTED_METHODS",
    "MANIFEST_MAX_BYTES",
    "MANIFEST_NAME",
    "METHODS",
    "RECALIBRATE",
    "TENSORS_HEADER_MAX_BYTES",
    "TENSORS_MAX_BYTES",
    "TENSORS_NAME",
    "Aligner",
    "Artefact",
    "CenterAligner",
    "FitOptions",
    "FitPairs",
    "FitReference",
    "HeadsAligner",
    "IdentityAligner",
    "Label",
    "Manifest",
    "ProbeRecall",
    "Tensors",
    "add_hubness_correction",
    "fit_artefact",
    "load_aligner",
]
