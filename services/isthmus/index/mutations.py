"""What a caller may change in a collection, checked before it waits for a commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.events import item_digest
from isthmus.index.model import (
    CollectionSettings,
    ItemFailure,
    NewItem,
    SpacedVectors,
    attributes_to_json,
)
from isthmus.runtime.base.digests import DIGEST_BYTES, metadata_digest
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, IsthmusError
from isthmus.runtime.base.limits import (
    ATTRIBUTE_VALUE_MAX_BYTES,
    ATTRIBUTES_MAX_BYTES,
    ATTRIBUTES_MAX_COUNT,
    CONTENT_WORDS_MAX_COUNT,
    RESERVED_ATTRIBUTE_PREFIX,
    TEXT_MAX_BYTES,
    THUMBNAIL_MAX_BYTES,
)
from isthmus.runtime.base.names import check_item_id, check_pair_key

if TYPE_CHECKING:
    from isthmus.index.events import Answer
    from isthmus.index.group_plan import GroupPlan
    from isthmus.index.state import CollectionState

__all__ = [
    "Compound",
    "Delete",
    "Mutation",
    "PreparedItem",
    "Rollback",
    "SetAligner",
    "SetShadow",
    "Upsert",
    "prepare_upsert",
]

_NORM_SLACK = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedItem:
    """An item that passed every check, as its row will hold it."""

    id: str
    modality: Modality
    space: str
    embedding: bytes
    attributes: bytes
    pair_key: str
    thumbnail: bytes
    content_digest: bytes
    metadata_digest: bytes
    item_digest: bytes


@dataclass(frozen=True, slots=True)
class Upsert:
    """Store items.

    Attributes:
        request_id: Names the mutation.
        items: To store, ids distinct.
    """

    request_id: str
    items: tuple[PreparedItem, ...]

    @property
    def rows(self) -> int:
        """Rows it may write."""
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete items.

    Attributes:
        request_id: Names the mutation.
        ids: Distinct.
    """

    request_id: str
    ids: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows it may write."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class SetAligner:
    """Make an aligner the active one.

    Attributes:
        request_id: Names the mutation.
        space: Its aligned space.
        payload: Its artefact, packed.
        override_reason: Why it is taken although it breaks the guard; empty when it does not.
        unverified: Whether it is taken without a verdict, on the caller's word.
        against: The aligner that it was judged against, which must be the active one still; None when that is waived.
    """

    request_id: str
    space: str
    payload: bytes
    override_reason: str = ""
    unverified: bool = False
    against: str | None = None

    @property
    def rows(self) -> int:
        """Rows it may write."""
        return 1


@dataclass(frozen=True, slots=True)
class Rollback:
    """Make the aligner before the active one active again.

    Attributes:
        request_id: Names the mutation.
    """

    request_id: str

    @property
    def rows(self) -> int:
        """Rows it may write."""
        return 1


@dataclass(frozen=True, slots=True)
class SetShadow:
    """Compare an aligner with the active one on real searches, or stop that.

    Attributes:
        request_id: Names the mutation.
        space: Its aligned space; empty to stop.
        payload: Its artefact, packed; empty to stop.
    """

    request_id: str
    space: str
    payload: bytes

    @property
    def rows(self) -> int:
        """Rows it may write."""
        return 1


@dataclass(frozen=True, slots=True)
class Compound:
    """Changes of several kinds that are committed together.

    Attributes:
        request_id: Names the mutation.
        plan: Adds them to the plan of a group, given the state; returns the answer of the last event, a SHADOW event.
    """

    request_id: str
    plan: Callable[[CollectionState, GroupPlan], Answer]

    @property
    def rows(self) -> int:
        """Rows it may write, for the bounds of the queue: it is one mutation, however much it changes."""
        return 1


Mutation = Upsert | Delete | SetAligner | Rollback | SetShadow | Compound


def prepare_upsert(
    items: Sequence[NewItem],
    vectors: Mapping[Modality, SpacedVectors],
    *,
    settings: CollectionSettings,
    request_id: str,
) -> tuple[Upsert, tuple[ItemFailure, ...]]:
    """Check items and make rows of them.

    Args:
        items: To store.
        vectors: For each modality among the items, their raw embeddings in their order.
        settings: Of the collection.
        request_id: Names the mutation.

    Returns:
        The mutation of the items that are right, and what is wrong with each of the others.

    Raises:
        FailedPreconditionError: SPACE_MISMATCH; vectors are not of the collection's space.
        InvalidArgumentError: INVALID_VECTOR; the vectors are not as many as the items, or of another dimension.
    """
    embeddings = {
        modality: _Embeddings.judge(_checked_rows(items, vectors, modality, settings)) for modality in Modality
    }
    positions = dict.fromkeys(Modality, 0)
    prepared: list[PreparedItem] = []
    failures: list[ItemFailure] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        row = positions[item.modality]
        positions[item.modality] += 1
        try:
            _check_item(item, settings, seen)
            embedding = embeddings[item.modality].stored(row)
        except IsthmusError as error:
            failures.append(ItemFailure(index, error))
            continue
        seen.add(item.id)
        prepared.append(_prepare(item, settings.space(item.modality), embedding))
    return Upsert(request_id, tuple(prepared)), tuple(failures)


def _prepare(item: NewItem, space: str, embedding: bytes) -> PreparedItem:
    metadata = metadata_digest(
        item.modality.value,
        attributes=item.attributes,
        pair_key=item.pair_key,
        thumbnail=item.thumbnail,
        content_words=item.content_words,
    )
    return PreparedItem(
        id=item.id,
        modality=item.modality,
        space=space,
        embedding=embedding,
        attributes=attributes_to_json(item.attributes, content_words=item.content_words, text=item.text),
        pair_key=item.pair_key,
        thumbnail=item.thumbnail,
        content_digest=item.content_digest,
        metadata_digest=metadata,
        item_digest=item_digest(
            space=space, content_digest=item.content_digest, embedding=embedding, metadata_digest=metadata
        ),
    )


def _checked_rows(
    items: Sequence[NewItem],
    vectors: Mapping[Modality, SpacedVectors],
    modality: Modality,
    settings: CollectionSettings,
) -> NDArray[np.float32]:
    """Return the (n, d) embeddings of the items of one modality."""
    count = sum(item.modality is modality for item in items)
    given = vectors.get(modality)
    rows = given.rows if given is not None else np.empty((0, settings.dimension(modality)), dtype=np.float32)
    if given is not None and given.space != settings.space(modality):
        msg = f"the {modality} embeddings are not of the collection's {modality} space"
        metadata = {"modality": modality.value, "space": given.space, "expected": settings.space(modality)}
        raise FailedPreconditionError(msg, reason="SPACE_MISMATCH", metadata=metadata)
    if count != len(rows):
        msg = f"{modality}_embeddings holds {len(rows)} rows for {count} items"
        raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": f"{modality}_embeddings"})
    if count and rows.shape[1] != settings.dimension(modality):
        msg = f"{modality}_embeddings has dimension {rows.shape[1]}; expected {settings.dimension(modality)}"
        raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": f"{modality}_embeddings"})
    return rows


@dataclass(frozen=True, slots=True)
class _Embeddings:
    """The embeddings of one modality, judged all at once: row by row it took a third of the time of an upsert.

    Attributes:
        halves: (n, d) little-endian float16.
        is_unit: (n,) which are finite and of unit norm.
        is_rounded: (n,) which are float16 values.
    """

    halves: NDArray[np.float16]
    is_unit: NDArray[np.bool_]
    is_rounded: NDArray[np.bool_]

    @classmethod
    def judge(cls, rows: NDArray[np.float32]) -> _Embeddings:
        """Judge (n, d) rows that should be canonical."""
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
            halves = rows.astype("<f2")
            return cls(halves, np.abs(norms - 1.0) <= _NORM_SLACK, (halves == rows).all(axis=1))

    def stored(self, row: int) -> bytes:
        """Return one row as it is stored.

        Raises:
            InvalidArgumentError: INVALID_VECTOR.
        """
        if not self.is_unit[row]:  # NaN and infinity are not, either
            msg = "the embedding is not finite or not of unit norm"
            raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": "embedding"})
        if not self.is_rounded[row]:
            msg = "the embedding is not rounded to float16 values"
            raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": "embedding"})
        stored: bytes = self.halves[row].tobytes()
        return stored


def _check_item(item: NewItem, settings: CollectionSettings, seen: set[str]) -> None:
    check_item_id(item.id)
    check_pair_key(item.pair_key)
    if item.id in seen:
        msg = "id occurs twice in the request"
        raise InvalidArgumentError(msg, reason="DUPLICATE_ITEM_ID", metadata={"field": "id"})
    if len(item.content_digest) not in (0, DIGEST_BYTES):
        msg = f"content_digest must have {DIGEST_BYTES} bytes; it has {len(item.content_digest)}"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "content_digest"})
    if item.content_words and not 0 < item.content_words <= CONTENT_WORDS_MAX_COUNT:
        msg = f"content_words is {item.content_words}; the limit is {CONTENT_WORDS_MAX_COUNT}"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "content_words"})
    if item.text:
        _check_text(item, settings)
    if item.attributes:
        _check_attributes(item)
    if item.thumbnail and not settings.store_thumbnails:
        msg = "the collection does not store thumbnails"
        raise FailedPreconditionError(msg, reason="THUMBNAILS_DISABLED")
    if len(item.thumbnail) > THUMBNAIL_MAX_BYTES:
        msg = f"thumbnail has {len(item.thumbnail)} bytes; the limit is {THUMBNAIL_MAX_BYTES}"
        raise InvalidArgumentError(msg, reason="INVALID_THUMBNAIL", metadata={"limit": str(THUMBNAIL_MAX_BYTES)})


def _check_text(item: NewItem, settings: CollectionSettings) -> None:
    if not settings.keyword_search:
        msg = "the collection keeps no texts"
        raise FailedPreconditionError(msg, reason="KEYWORDS_DISABLED", metadata={"field": "text"})
    if item.modality is not Modality.TEXT:
        msg = "text belongs to items of texts"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "text"})
    size = len(item.text.encode())
    if size > TEXT_MAX_BYTES:
        msg = f"text has {size} bytes; the limit is {TEXT_MAX_BYTES}"
        metadata = {"field": "text", "limit": str(TEXT_MAX_BYTES), "size": str(size)}
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata=metadata)


def _check_attributes(item: NewItem) -> None:
    if len(item.attributes) > ATTRIBUTES_MAX_COUNT:
        _refuse_attributes(f"attributes holds {len(item.attributes)} entries; the limit is {ATTRIBUTES_MAX_COUNT}")
    total = 0
    for name, value in item.attributes.items():
        if name.startswith(RESERVED_ATTRIBUTE_PREFIX):
            _refuse_attributes(f"attributes has a name that begins with {RESERVED_ATTRIBUTE_PREFIX}")
        size = len(value.encode()) if isinstance(value, str) else 8
        if size > ATTRIBUTE_VALUE_MAX_BYTES:
            _refuse_attributes(f"an attribute has {size} bytes; the limit is {ATTRIBUTE_VALUE_MAX_BYTES}")
        if isinstance(value, float) and not np.isfinite(value):
            _refuse_attributes("an attribute is not a finite number")
        total += len(name.encode()) + size
    if total > ATTRIBUTES_MAX_BYTES:
        _refuse_attributes(f"attributes has {total} bytes; the limit is {ATTRIBUTES_MAX_BYTES}")


def _refuse_attributes(msg: str) -> None:
    raise InvalidArgumentError(msg, reason="INVALID_ATTRIBUTES", metadata={"field": "attributes"})
