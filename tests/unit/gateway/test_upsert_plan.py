"""What an upsert does with each item: skip, take from the store, encode, or refuse."""

from __future__ import annotations

from typing import Any

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Collection, Row, StoredDigest
from isthmus.gateway.upsert_plan import CheckedItem, UpsertPlan, plan_upsert, refuse_duplicates
from isthmus.gateway.validation import GivenVector, text_content
from isthmus.runtime.base.digests import metadata_digest
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError

SPACE = "enc@0000000000000001"
COLLECTION = Collection(name="c", text_space=SPACE, text_dimension=4)


def _item(item_id: str, text: str, *, pair_key: str = "") -> CheckedItem:
    return CheckedItem(
        item_id=item_id,
        source=text_content(text),
        attributes={},
        pair_key=pair_key,
        thumbnail=b"",
        metadata_digest=metadata_digest("text", attributes={}, pair_key=pair_key, thumbnail=b""),
    )


def _vector(item_id: str, *, space: str = SPACE, dimension: int = 4, modality: Modality = Modality.TEXT) -> CheckedItem:
    return CheckedItem(
        item_id=item_id,
        source=GivenVector(modality, space, Row(bytes(2 * dimension)), dimension),
        attributes={},
        pair_key="",
        thumbnail=b"",
        metadata_digest=b"",
    )


def _stored(text: str, *, space: str = SPACE, pair_key: str = "") -> StoredDigest:
    item = _item("x", text, pair_key=pair_key)
    return StoredDigest(text_content(text).digest, space, item.metadata_digest)


def _plan(item: CheckedItem | IsthmusError, stored: StoredDigest | None = None, **how: Any) -> UpsertPlan:
    settings: dict[str, Any] = {"collection": COLLECTION, "refuse_long": False, **how}
    return plan_upsert([item], stored={} if stored is None else {"a": stored}, **settings)


def test_what_is_not_there_is_encoded() -> None:
    """A new id goes to the encoder of its modality."""
    assert _plan(_item("a", "t")).contents == {Modality.TEXT: [0]}


def test_what_is_there_just_so_is_skipped() -> None:
    """Same content, same space, same metadata: nothing to do."""
    assert _plan(_item("a", "t"), _stored("t")).unchanged == [0]


def test_other_metadata_keeps_the_embedding() -> None:
    """Same content with another pair key: the embedding is in the store already."""
    assert _plan(_item("a", "t", pair_key="new"), _stored("t")).stored == [0]


def test_other_content_or_another_space_is_encoded() -> None:
    """A digest of other content, of none, or an embedding of another space is of no use."""
    for stored in (_stored("other"), _stored("t", space="old@0000000000000001"), StoredDigest(b"", SPACE, b"")):
        assert _plan(_item("a", "t"), stored).contents == {Modality.TEXT: [0]}


def test_when_long_texts_are_refused_the_store_is_not_trusted() -> None:
    """The store does not say whether a text was cut: with REFUSE it is looked up or encoded."""
    assert _plan(_item("a", "t"), _stored("t"), refuse_long=True).contents == {Modality.TEXT: [0]}


def test_a_vector_is_taken_as_it_is() -> None:
    """A vector of the collection's space needs nothing but a place; it is never called unchanged here."""
    plan = _plan(_vector("a"), StoredDigest(b"", SPACE, b""))
    assert plan.drafts[0].row == Row(bytes(8))
    assert plan.drafts[0].content_digest == b""


def test_a_vector_of_another_space_or_dimension_is_refused() -> None:
    """Both ids are named; vectors of different spaces are never stored side by side."""
    mismatch = _plan(_vector("a", space="other@0000000000000001")).errors[0]
    assert (mismatch.reason, mismatch.metadata["space"], mismatch.metadata["expected"]) == (
        "SPACE_MISMATCH",
        "other@0000000000000001",
        SPACE,
    )
    assert _plan(_vector("a", dimension=5)).errors[0].reason == "INVALID_VECTOR"


def test_a_modality_without_a_space_is_refused() -> None:
    """A collection of texts takes no images, however they come."""
    assert _plan(_vector("a", modality=Modality.IMAGE)).errors[0].reason == "MODALITY_UNSUPPORTED"


def test_an_error_is_carried_to_its_place() -> None:
    """What the door refused stays refused."""
    msg = "no"
    error = InvalidArgumentError(msg, reason="EMPTY_TEXT")
    assert _plan(error).errors == {0: error}


def test_of_two_with_one_id_the_first_is_kept() -> None:
    """Each later one is refused, whatever became of the first; errors have no id and pass."""
    msg = "no"
    error = InvalidArgumentError(msg, reason="EMPTY_TEXT")
    items: list[CheckedItem | IsthmusError] = [
        _item("a", "1"),
        _item("b", "2"),
        error,
        _item("a", "1"),
        _item("a", "3"),
    ]
    kept = refuse_duplicates(items)
    assert kept[:3] == items[:3]
    assert [entry.reason for entry in kept[3:] if isinstance(entry, IsthmusError)] == ["DUPLICATE_ITEM_ID"] * 2
