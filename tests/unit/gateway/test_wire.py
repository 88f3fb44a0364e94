"""Whatever comes over the wire is taken or refused with a reason; it never breaks anything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Content, Row
from isthmus.gateway.messages import attribute_values, attributes_message, row_data, rows_message
from isthmus.gateway.upsert_plan import CheckedItem
from isthmus.gateway.validation import GivenVector
from isthmus.gateway.wire import checked_contents, checked_items, refuses_long, search_command
from isthmus.runtime.base.digests import content_digest, metadata_digest
from isthmus.runtime.base.errors import InternalError, IsthmusError
from isthmus.v1 import common_pb2, gateway_service_pb2

ALLOWED = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}

scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)


def _vectors() -> st.SearchStrategy[common_pb2.Vectors]:
    return st.builds(
        common_pb2.Vectors,
        data=st.binary(max_size=64),
        dimension=st.integers(0, 20),
        type=st.integers(0, 4),
    )


def _spaced() -> st.SearchStrategy[gateway_service_pb2.SpacedVector]:
    return st.builds(
        gateway_service_pb2.SpacedVector,
        vector=_vectors(),
        modality=st.integers(0, 4),
        space=st.sampled_from(["", "a", "enc@0123456789abcdef", "../x@0123456789abcdef"]),
    )


def _items() -> st.SearchStrategy[gateway_service_pb2.UpsertItem]:
    def build(
        item_id: str, pair_key: str, thumbnail: bytes, content: tuple[str, object]
    ) -> gateway_service_pb2.UpsertItem:
        return gateway_service_pb2.UpsertItem(
            id=item_id,
            pair_key=pair_key,
            thumbnail=thumbnail,
            **{content[0]: content[1]},  # type: ignore[arg-type]
        )

    contents = st.one_of(
        st.tuples(st.just("text"), st.text(max_size=20)),
        st.tuples(st.just("image"), st.binary(max_size=60)),
        st.tuples(st.just("vector"), _spaced()),
    )
    return st.builds(build, st.text(max_size=8), st.text(max_size=8), st.binary(max_size=8), contents)


@settings(max_examples=200)
@given(st.lists(_items(), max_size=8))
def test_any_items_are_taken_or_refused_one_by_one(items: list[gateway_service_pb2.UpsertItem]) -> None:
    """As many answers as items; every refusal has a code for callers."""
    checked = checked_items(items)
    assert len(checked) == len(items)
    for entry in checked:
        assert isinstance(entry, CheckedItem) or entry.code in ALLOWED


@settings(max_examples=200)
@given(st.lists(st.one_of(st.text(max_size=30), st.binary(max_size=80)), max_size=8))
def test_any_contents_are_taken_or_refused_one_by_one(contents: list[str | bytes]) -> None:
    """As many answers as inputs; what is taken carries the digest of its modality and bytes."""
    inputs = [
        common_pb2.Input(text=content) if isinstance(content, str) else common_pb2.Input(image=content)
        for content in contents
    ]
    for content, entry in zip(contents, checked_contents(inputs), strict=True):
        if isinstance(entry, Content):
            data = content.encode() if isinstance(content, str) else content
            assert entry.digest == content_digest("text" if isinstance(content, str) else "image", data)
        else:
            assert entry.code in ALLOWED


@settings(max_examples=200)
@given(st.binary(max_size=120))
def test_any_bytes_as_a_search_are_taken_or_refused(data: bytes) -> None:
    """Bytes that parse as a request never raise anything but a refusal."""
    request = gateway_service_pb2.SearchItemsRequest()
    try:
        request.ParseFromString(data)
    except Exception:  # noqa: BLE001 - the parser's own refusals are not ours to judge
        return
    request.collection = "things"
    code = "INVALID_ARGUMENT"
    try:
        search_command(request)
    except IsthmusError as error:
        code = error.code
    assert code in ALLOWED


def test_a_vector_is_canonical_once_it_is_in() -> None:
    """Whatever its length, it is scaled and rounded; its space and modality are the caller's word."""
    message = gateway_service_pb2.UpsertItem(
        id="v",
        vector=gateway_service_pb2.SpacedVector(
            vector=common_pb2.Vectors(data=b"\x00\x00\x80\x40\x00\x00\x00\x00", dimension=2),  # (4, 0)
            modality=common_pb2.MODALITY_IMAGE,
            space="enc@0123456789abcdef",
        ),
    )
    (item,) = checked_items([message])
    assert isinstance(item, CheckedItem)
    assert item.source == GivenVector(Modality.IMAGE, "enc@0123456789abcdef", Row(b"\x00\x3c\x00\x00"), 2)


@given(st.dictionaries(st.text(max_size=8), scalars, max_size=8))
def test_attributes_come_back_with_their_types(attributes: dict[str, str | int | float | bool]) -> None:
    """1, 1.0, True and "1" are four things, on the wire and in the digest."""
    back = attribute_values(attributes_message(attributes))
    assert {name: (type(value), value) for name, value in back.items()} == {
        name: (type(value), value) for name, value in attributes.items()
    }


def test_the_digest_of_metadata_tells_types_and_fields_apart() -> None:
    """No two of these descriptions of an item share a digest, and order does not matter."""
    variants = [
        {"attributes": {}, "pair_key": "", "thumbnail": b""},
        {"attributes": {}, "pair_key": "a", "thumbnail": b""},
        {"attributes": {}, "pair_key": "", "thumbnail": b"a"},
        *(
            {"attributes": {"a": value}, "pair_key": "", "thumbnail": b""}
            for value in (1, 1.0, True, "1", 0, False, "")
        ),
        {"attributes": {"a": 1, "b": 2}, "pair_key": "", "thumbnail": b""},
        {"attributes": {"a": 2, "b": 1}, "pair_key": "", "thumbnail": b""},
    ]
    digests = {metadata_digest("text", **variant) for variant in variants}  # type: ignore[arg-type]
    assert len(digests) == len(variants)
    assert metadata_digest("text", attributes={"a": 1, "b": 2}, pair_key="", thumbnail=b"") == metadata_digest(
        "text", attributes={"b": 2, "a": 1}, pair_key="", thumbnail=b""
    )
    assert metadata_digest("text", attributes={}, pair_key="", thumbnail=b"") != metadata_digest(
        "image", attributes={}, pair_key="", thumbnail=b""
    )


def test_truncation_unset_means_flag() -> None:
    """Unset and FLAG cut; REFUSE refuses."""
    assert [refuses_long(number) for number in (0, 1, 2)] == [False, False, True]


@pytest.mark.parametrize(
    "vectors",
    [
        common_pb2.Vectors(data=bytes(3), dimension=2, type=2),  # type: ignore[arg-type]
        common_pb2.Vectors(data=bytes(6), dimension=1),
        common_pb2.Vectors(data=bytes(4), dimension=0),
    ],
)
def test_torn_vectors_of_a_service_are_a_bug(vectors: common_pb2.Vectors) -> None:
    """What one of our own services sends is not the caller's fault."""
    with pytest.raises(InternalError):
        row_data(vectors)


@given(st.lists(st.binary(min_size=8, max_size=8), max_size=5))
def test_rows_pass_through_untouched(rows: list[bytes]) -> None:
    """Packing and unpacking float16 rows moves no bit."""
    assert row_data(rows_message([Row(row) for row in rows], 4)) == rows if rows else True
