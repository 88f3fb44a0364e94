"""Decide what an upsert of some items has to do: skip, take from the store, encode, or refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Collection, Content, Row, StoredDigest, UpsertDraft
from isthmus.gateway.validation import GivenVector, check_vector_fits, modality_unsupported
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError

__all__ = ["CheckedItem", "UpsertPlan", "plan_upsert", "refuse_duplicates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedItem:
    """An item to store, checked as far as it can be without knowing the collection.

    Attributes:
        item_id: Its id.
        source: The content to encode, or a vector.
        attributes: Its attributes.
        pair_key: Its pair key; empty means none.
        thumbnail: A small picture; empty means none.
        metadata_digest: SHA-256 over modality, attributes, pair key, thumbnail and words.
        content_words: Words of its text; 0 where that is not known.
    """

    item_id: str
    source: Content | GivenVector
    attributes: Mapping[str, AttributeScalar]
    pair_key: str
    thumbnail: bytes
    metadata_digest: bytes
    content_words: int = 0

    @property
    def modality(self) -> Modality:
        """What it is made of."""
        return self.source.modality

    def draft(self, row: Row) -> UpsertDraft:
        """Return the item with its embedding."""
        return UpsertDraft(
            item_id=self.item_id,
            modality=self.modality,
            row=row,
            attributes=self.attributes,
            pair_key=self.pair_key,
            content_digest=self.source.digest if isinstance(self.source, Content) else b"",
            thumbnail=self.thumbnail,
            content_words=self.content_words,
            text=self.source.data.decode()
            if isinstance(self.source, Content) and self.modality is Modality.TEXT
            else "",
        )


@dataclass(slots=True)
class UpsertPlan:
    """What to do with each item of a request, by its position.

    Attributes:
        errors: Items that are refused.
        unchanged: Items that are stored just so.
        drafts: Items whose embedding is known.
        stored: Items whose content is stored with other metadata: its embedding can be taken from there.
        contents: Items to encode, by modality.
    """

    errors: dict[int, IsthmusError] = field(default_factory=dict)
    unchanged: list[int] = field(default_factory=list)
    drafts: dict[int, UpsertDraft] = field(default_factory=dict)
    stored: list[int] = field(default_factory=list)
    contents: dict[Modality, list[int]] = field(default_factory=dict)

    def encode(self, position: int, modality: Modality) -> None:
        """Have the item at `position` encoded."""
        self.contents.setdefault(modality, []).append(position)


def refuse_duplicates(items: Sequence[CheckedItem | IsthmusError]) -> list[CheckedItem | IsthmusError]:
    """Replace every item whose id was there before in the same request by its error."""
    seen: set[str] = set()
    kept: list[CheckedItem | IsthmusError] = []
    for item in items:
        if isinstance(item, IsthmusError):
            kept.append(item)
        elif item.item_id in seen:
            msg = "id occurs more than once in items; the first is kept"
            kept.append(InvalidArgumentError(msg, reason="DUPLICATE_ITEM_ID", metadata={"field": "id"}))
        else:
            seen.add(item.item_id)
            kept.append(item)
    return kept


def plan_upsert(
    items: Sequence[CheckedItem | IsthmusError],
    *,
    collection: Collection,
    stored: Mapping[str, StoredDigest],
    refuse_long: bool,
) -> UpsertPlan:
    """Decide what to do with each item.

    Args:
        items: In the order of the request; ids distinct.
        collection: Where they go.
        stored: What it holds under their ids.
        refuse_long: Texts that do not fit the encoder's context are refused. What is stored does not say whether a
            text was cut, so then every text is looked up in the cache or encoded.
    """
    plan = UpsertPlan()
    for position, item in enumerate(items):
        if isinstance(item, IsthmusError):
            plan.errors[position] = item
            continue
        space = collection.space(item.modality)
        if not space:
            plan.errors[position] = modality_unsupported(item.modality)
        elif isinstance(item.source, GivenVector):
            try:
                check_vector_fits(item.source, space=space, dimension=collection.dimension(item.modality))
            except IsthmusError as error:
                plan.errors[position] = error
            else:
                plan.drafts[position] = item.draft(item.source.row)
        else:
            known = stored.get(item.item_id)
            trusted = not (refuse_long and item.modality is Modality.TEXT)
            if known is None or not trusted or (known.content_digest, known.space) != (item.source.digest, space):
                plan.encode(position, item.modality)
            elif known.metadata_digest == item.metadata_digest:
                plan.unchanged.append(position)
            else:
                plan.stored.append(position)
    return plan
