"""What a job is refused for before its numerics start."""

from __future__ import annotations

from isthmus.alignment.ports import CollectionHead
from isthmus.core.aligners import FITTED_METHODS, RECALIBRATE, Artefact
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError
from isthmus.runtime.base.no_aligner import no_aligner

__all__ = ["check_base", "check_method", "check_spaces"]


def check_method(method: str, *, field: str) -> None:
    """Refuse a method that a collection cannot fit.

    Args:
        method: Asked for.
        field: Of the request, which it was asked for in.

    Raises:
        InvalidArgumentError: INVALID_FIELD.
    """
    if method not in (*FITTED_METHODS, RECALIBRATE):
        msg = f"{field} must be one of {', '.join(FITTED_METHODS)} or {RECALIBRATE}"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": field})


def check_base(reference: str | None, *, method: str) -> None:
    """Refuse an aligner to build on for a method that builds on none.

    Args:
        reference: The aligner that was named, if one was.
        method: Asked for.

    Raises:
        InvalidArgumentError: INVALID_FIELD.
    """
    if reference is not None and method != RECALIBRATE:
        msg = f"options.on_top_of: {method} keeps no aligner's maps; {RECALIBRATE} does"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "options.on_top_of"})


def check_spaces(artefact: Artefact | None, head: CollectionHead) -> None:
    """Refuse a collection that nothing joins, and an aligner made for other spaces.

    Args:
        artefact: The aligner; None judges raw embeddings.
        head: The collection.

    Raises:
        FailedPreconditionError: NO_ALIGNER or ALIGNER_SPACES_MISMATCH.
    """
    if not (head.image_space and head.text_space):
        return  # One modality only: there is nothing to join, and no pair to judge by.
    if artefact is None:
        if head.image_space != head.text_space:
            raise no_aligner()
        return
    manifest = artefact.manifest
    expected = {"image_space": head.image_space, "text_space": head.text_space}
    given = {"image_space": manifest.image_space, "text_space": manifest.text_space}
    if expected != given:
        msg = "aligner: its raw spaces are not those of the collection"
        raise FailedPreconditionError(
            msg,
            reason="ALIGNER_SPACES_MISMATCH",
            metadata={f"collection_{name}": space for name, space in expected.items()}
            | {f"aligner_{name}": space for name, space in given.items()},
        )
