"""Names, ids and keys are checked at the door."""

from __future__ import annotations

import pytest

from isthmus.runtime.base import names
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, ResourceExhaustedError

HOSTILE = [
    "",
    "..",
    "../x",
    "a/b",
    "A",
    "-a",
    "_a",
    "a" * 64,
    "a b",
    "a\n",
    "a\x00",
    "é",
    ".hidden",
    "a.b",
    "con:",
    "a%2f",
]


@pytest.mark.parametrize("name", ["a", "0", "my-collection_2", "a" * 63])
def test_plain_names_pass(name: str) -> None:
    """Lower-case letters, digits, `_` and `-`, up to 63 characters, pass unchanged."""
    assert names.check_name(name, field="name") == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_without_being_repeated(name: str) -> None:
    """A name that could walk the disk is refused; the message names the field and the length, never the value."""
    with pytest.raises(InvalidArgumentError) as caught:
        names.check_name(name, field="collection")
    assert caught.value.reason == "INVALID_NAME"
    assert caught.value.message.startswith("collection must match")
    assert len(name) < 3 or name not in caught.value.message


@pytest.mark.parametrize("item_id", ["a", "x" * 256, "bücher/überall ✓", "../fine as an id"])
def test_item_ids_are_any_text_of_256_bytes(item_id: str) -> None:
    """An id is never part of a path, so it may hold anything but control characters."""
    assert names.check_item_id(item_id) == item_id


@pytest.mark.parametrize("item_id", ["", "x" * 257, "ü" * 129, "a\tb", "a\x7f"])
def test_item_ids_too_long_or_with_control_characters_are_refused(item_id: str) -> None:
    """The limit is 256 bytes of UTF-8, not characters."""
    with pytest.raises(InvalidArgumentError) as caught:
        names.check_item_id(item_id)
    assert caught.value.reason == "INVALID_ITEM_ID"


def test_a_missing_pair_key_is_not_an_error() -> None:
    """An empty pair key means that the item belongs to no pair."""
    assert names.check_pair_key("") == ""


@pytest.mark.parametrize(
    ("request_id", "reason"), [("", "FIELD_REQUIRED"), ("a" * 65, "INVALID_FIELD"), ("a b", "INVALID_FIELD")]
)
def test_a_mutation_needs_a_loggable_request_id(request_id: str, reason: str) -> None:
    """A request id is 1 to 64 harmless characters."""
    with pytest.raises(InvalidArgumentError) as caught:
        names.check_request_id(request_id)
    assert caught.value.reason == reason


def test_the_limit_passes_and_one_more_is_refused() -> None:
    """A batch of exactly the limit is accepted."""
    names.check_count([0] * 3, field="ids", limit=3)
    with pytest.raises(ResourceExhaustedError) as over:
        names.check_count([0] * 4, field="ids", limit=3)
    assert over.value.metadata == {"field": "ids", "limit": "3", "count": "4"}
    with pytest.raises(IsthmusError) as empty:
        names.check_count([], field="ids", limit=3)
    assert empty.value.reason == "EMPTY_INPUT"


@pytest.mark.parametrize("space", ["clip@0123456789abcdef", "all-minilm-l6-v2@" + "0" * 16])
def test_a_space_is_an_id_and_a_revision(space: str) -> None:
    """`encoder_id@revision` passes unchanged."""
    assert names.check_space(space, field="space") == space


@pytest.mark.parametrize("space", ["", "clip", "@0123456789abcdef", "clip@", "clip@XYZ", "a/b@0123456789abcdef"])
def test_a_malformed_space_is_refused(space: str) -> None:
    """Anything that is not `id@revision` is refused before it is compared with anything."""
    with pytest.raises(InvalidArgumentError):
        names.check_space(space, field="space")
