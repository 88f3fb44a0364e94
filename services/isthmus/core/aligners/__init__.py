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
from isthmus.core.aligners.heads import HeadsAligner
from isthmus.core.aligners.identity import IdentityAligner
from isthmus.core.aligners.manifest import MANIFEST_MAX_BYTES, Manifest
from isthmus.core.aligners.methods import METHODS, load_aligner

__all__ = [
    "MANIFEST_MAX_BYTES",
    "MANIFEST_NAME",
    "METHODS",
    "TENSORS_HEADER_MAX_BYTES",
    "TENSORS_MAX_BYTES",
    "TENSORS_NAME",
    "Aligner",
    "Artefact",
    "CenterAligner",
    "HeadsAligner",
    "IdentityAligner",
    "Manifest",
    "Tensors",
    "load_aligner",
]
