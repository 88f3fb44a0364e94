"""From an artefact to the class that applies it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from isthmus.core.aligners.artefact import Artefact
from isthmus.core.aligners.base import Aligner
from isthmus.core.aligners.center import CenterAligner
from isthmus.core.aligners.heads import HeadsAligner
from isthmus.core.aligners.identity import IdentityAligner
from isthmus.core.errors import ArtefactError

__all__ = ["METHODS", "load_aligner"]

METHODS: Final[Mapping[str, type[Aligner]]] = MappingProxyType(
    {aligner.method: aligner for aligner in (IdentityAligner, CenterAligner, HeadsAligner)}
)
"""Every aligner class by its name in a manifest."""


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
