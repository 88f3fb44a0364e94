"""What is refused before anything waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from isthmus.core.modality import Modality
from isthmus.index.model import CollectionSettings
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import DIMENSION_MAX_COUNT, TOP_K_MAX_COUNT, UPSERT_MAX_COUNT
from isthmus.runtime.base.names import check_count, check_item_id, check_space

__all__ = ["check_collection_count", "check_ids", "check_settings", "check_top_k"]

_COLLECTIONS_MAX_COUNT: Final = 10_000


def check_collection_count(count: int) -> None:
    """Refuse one collection more than a tenant may have.

    Raises:
        ResourceExhaustedError: LIMIT_EXCEEDED.
    """
    if count >= _COLLECTIONS_MAX_COUNT:
        msg = f"there are {count} collections; the limit is {_COLLECTIONS_MAX_COUNT}"
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata={"limit": str(_COLLECTIONS_MAX_COUNT)})


def check_ids(ids: Sequence[str]) -> None:
    """Refuse ids that are none, too many, or no ids.

    Raises:
        InvalidArgumentError: EMPTY_INPUT, INVALID_ITEM_ID.
        ResourceExhaustedError: BATCH_TOO_LARGE.
    """
    check_count(ids, field="ids", limit=UPSERT_MAX_COUNT)
    for item_id in ids:
        check_item_id(item_id)


def check_settings(settings: CollectionSettings) -> None:
    """Refuse settings that contradict themselves.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED or INVALID_FIELD.
    """
    if not settings.modalities:
        msg = "at least one of image_space and text_space is required"
        raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "image_space"})
    for modality in Modality:
        space, dimension = settings.space(modality), settings.dimension(modality)
        if space:
            check_space(space, field=f"{modality}_space")
        if not int(bool(space)) <= dimension <= (DIMENSION_MAX_COUNT if space else 0):
            msg = f"{modality}_dimension must be 1 to {DIMENSION_MAX_COUNT} with {modality}_space, and unset without it"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": f"{modality}_dimension"})
    if settings.image_space == settings.text_space and settings.image_dimension != settings.text_dimension:
        msg = "image_dimension and text_dimension must agree when both modalities share a space"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "text_dimension"})


def check_top_k(top_k: int) -> None:
    """Check how many neighbours are wanted.

    Raises:
        InvalidArgumentError: INVALID_FIELD.
        ResourceExhaustedError: LIMIT_EXCEEDED.
    """
    if top_k < 1:
        msg = f"top_k must be 1 to {TOP_K_MAX_COUNT}; it is {top_k}"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "top_k"})
    if top_k > TOP_K_MAX_COUNT:
        msg = f"top_k is {top_k}; the limit is {TOP_K_MAX_COUNT}"
        metadata = {"field": "top_k", "limit": str(TOP_K_MAX_COUNT)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
