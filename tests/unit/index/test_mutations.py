"""Items are checked before they wait for a commit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.index.model import NewItem, SpacedVectors
from isthmus.index.mutations import prepare_upsert
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError
from tests.unit.index.support import DIMENSION, ONE_SPACE, SPACE, TWO_SPACES, images, texts, vectors

_GOOD = NewItem(id="good", modality=Modality.IMAGE)


def _prepare(
    *items: NewItem, rows: np.ndarray | None = None, settings: object = ONE_SPACE
) -> tuple[list[str], list[tuple[int, str]]]:
    given = vectors(0, len(items)) if rows is None else rows
    mutation, failures = prepare_upsert(
        items,
        {Modality.IMAGE: SpacedVectors(SPACE, given)},
        settings=settings,  # type: ignore[arg-type]
        request_id="r",
    )
    return [item.id for item in mutation.items], [(failure.index, failure.error.reason) for failure in failures]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (replace(_GOOD, id=""), "INVALID_ITEM_ID"),
        (replace(_GOOD, id="a\nb"), "INVALID_ITEM_ID"),
        (replace(_GOOD, id="é" * 129), "INVALID_ITEM_ID"),
        (replace(_GOOD, id="b", pair_key="k" * 257), "INVALID_PAIR_KEY"),
        (replace(_GOOD, id="b", attributes={str(n): n for n in range(65)}), "INVALID_ATTRIBUTES"),
        (replace(_GOOD, id="b", attributes={"a": "x" * 4097}), "INVALID_ATTRIBUTES"),
        (replace(_GOOD, id="b", attributes={str(n): "x" * 4096 for n in range(4)}), "INVALID_ATTRIBUTES"),
        (replace(_GOOD, id="b", attributes={"a": float("inf")}), "INVALID_ATTRIBUTES"),
        (replace(_GOOD, id="b", content_digest=b"short"), "INVALID_FIELD"),
        (replace(_GOOD, id="b", thumbnail=bytes(64 * 1024 + 1)), "INVALID_THUMBNAIL"),
        (_GOOD, "DUPLICATE_ITEM_ID"),
    ],
)
def test_a_wrong_item_is_reported_and_does_not_harm_its_neighbours(bad: NewItem, reason: str) -> None:
    """The item before and the item after are stored."""
    after = replace(_GOOD, id="after")
    assert _prepare(_GOOD, bad, after) == (["good", "after"], [(1, reason)])


@pytest.mark.parametrize(
    "row",
    [
        np.full(DIMENSION, np.nan),
        np.full(DIMENSION, np.inf),
        np.zeros(DIMENSION),
        np.full(DIMENSION, 1.0),
        np.eye(DIMENSION)[0] * (1 + 2.0**-12),
    ],
    ids=["nan", "infinity", "zero", "long", "not rounded"],
)
def test_a_vector_that_is_not_canonical_is_refused(row: np.ndarray) -> None:
    """The store holds unit vectors of float16 values and nothing else."""
    rows = vectors(0, 2)
    rows[1] = row
    assert _prepare(_GOOD, replace(_GOOD, id="bad"), rows=rows) == (["good"], [(1, "INVALID_VECTOR")])


def test_limits_themselves_are_allowed() -> None:
    """Everything at its limit is stored."""
    item = NewItem(
        id="é" * 128,
        modality=Modality.IMAGE,
        attributes={f"{n:02}": "x" * 254 for n in range(64)},
        pair_key="k" * 256,
        content_digest=bytes(32),
        thumbnail=bytes(64 * 1024),
    )
    assert _prepare(item) == ([item.id], [])


def test_thumbnails_are_refused_where_the_collection_stores_none() -> None:
    """A thumbnail is never dropped in silence."""
    item = replace(_GOOD, thumbnail=b"x")
    settings = replace(ONE_SPACE, store_thumbnails=False)
    assert _prepare(item, settings=settings) == ([], [(0, "THUMBNAILS_DISABLED")])


def test_vectors_of_another_space_are_refused_with_both_spaces() -> None:
    """Spaces are never mixed; the error names what came and what was expected."""
    given = {Modality.IMAGE: SpacedVectors("other@0000000000000000", vectors(0, 1))}
    with pytest.raises(FailedPreconditionError) as caught:
        prepare_upsert([_GOOD], given, settings=ONE_SPACE, request_id="r")
    assert caught.value.reason == "SPACE_MISMATCH"
    assert caught.value.metadata == {"modality": "image", "space": "other@0000000000000000", "expected": SPACE}


@pytest.mark.parametrize("rows", [vectors(0, 1), vectors(0, 3), vectors(0, 2, DIMENSION + 1)])
def test_vectors_that_do_not_match_the_items_are_refused(rows: np.ndarray) -> None:
    """Too few, too many, or of another dimension: the whole request is wrong."""
    with pytest.raises(InvalidArgumentError) as caught:
        prepare_upsert(images("ab"), {Modality.IMAGE: SpacedVectors(SPACE, rows)}, settings=ONE_SPACE, request_id="r")
    assert caught.value.reason == "INVALID_VECTOR"


def test_each_item_gets_its_own_row_when_modalities_alternate() -> None:
    """Rows are counted by modality, in the order of the items, wrong items included."""
    items = [*texts(["t0"]), *images(["i0"]), *texts(["\n", "t2"]), *images(["i1"])]
    image_rows, text_rows = vectors(0, 2), vectors(1, 3, TWO_SPACES.text_dimension)
    mutation, _ = prepare_upsert(
        items,
        {
            Modality.IMAGE: SpacedVectors(TWO_SPACES.image_space, image_rows),
            Modality.TEXT: SpacedVectors(TWO_SPACES.text_space, text_rows),
        },
        settings=TWO_SPACES,
        request_id="r",
    )
    expected = {"t0": text_rows[0], "i0": image_rows[0], "t2": text_rows[2], "i1": image_rows[1]}
    assert {item.id: item.embedding for item in mutation.items} == {
        item_id: row.astype("<f2").tobytes() for item_id, row in expected.items()
    }
