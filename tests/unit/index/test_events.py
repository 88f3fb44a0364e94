"""Rows of the event table and the digests that prove them."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from isthmus.index.events import (
    EVENT_SCHEMA,
    VERIFIED_COLUMNS,
    Answer,
    Event,
    Op,
    embedding_rows,
    events_to_table,
    item_digest,
    pack_aligner,
    unpack_aligner,
    verify_rows,
    verify_thumbnails,
)
from isthmus.index.model import AlignerFiles
from isthmus.runtime.base.digests import metadata_digest
from isthmus.runtime.base.errors import DataLossError
from tests.unit.index.support import vectors


def _event(number: int = 0, **changes: object) -> Event:
    values: dict[str, object] = {
        "revision": 7,
        "op": Op.UPSERT,
        "request_id": "r",
        "id": f"item-{number}",
        "modality": 1,
        "space": "dual@0123456789abcdef",
        "embedding": vectors(number, 1).astype("<f2").tobytes(),
        "attributes": b'{"year":1999}',
        "pair_key": "pair",
        "thumbnail": b"picture",
        "content_digest": hashlib.sha256(b"content").digest(),
        "metadata_digest": metadata_digest("image", attributes={"year": 1999}, pair_key="pair", thumbnail=b"picture"),
        "item_digest": bytes(32),
        "answer": b"[1,0,0,0]",
        "payload": b"artefact",
    }
    return Event(**(values | changes))  # type: ignore[arg-type]


def _with(table: pa.Table, name: str, value: object) -> pa.Table:
    column = pa.array([value, *table[name].to_pylist()[1:]], EVENT_SCHEMA.field(name).type)
    return table.set_column(table.schema.get_field_index(name), EVENT_SCHEMA.field(name), column)


class TestRowDigest:
    """`verify_rows`."""

    def test_rows_as_written_verify(self) -> None:
        """Rows pass, whether thumbnails are read with them or not."""
        table = events_to_table([_event(number) for number in range(3)])
        verify_rows(table)
        verify_rows(table.drop_columns(["thumbnail"]))
        verify_thumbnails(table)

    @pytest.mark.parametrize("name", VERIFIED_COLUMNS)
    def test_a_change_in_any_column_is_found(self, name: str) -> None:
        """No column can change without the row's digest telling; the error counts the rows."""
        table = events_to_table([_event(number) for number in range(3)])
        value = table[name][0].as_py()
        changed = value + 1 if isinstance(value, int) else value[:-1]
        with pytest.raises(DataLossError) as caught:
            verify_rows(_with(table, name, changed))
        assert (caught.value.reason, caught.value.metadata) == ("STORE_DAMAGED", {"rows": "1"})

    def test_bytes_cannot_move_between_columns(self) -> None:
        """Two neighbouring columns with a byte shifted from one to the other do not have the same digest."""
        table = events_to_table([_event(answer=b"ab", payload=b"c")])
        with pytest.raises(DataLossError):
            verify_rows(_with(_with(table, "answer", b"a"), "payload", b"bc"))

    def test_a_changed_thumbnail_is_found_when_it_is_read(self) -> None:
        """A thumbnail is covered by the metadata digest."""
        table = events_to_table([_event()])
        verify_rows(_with(table, "thumbnail", b"another"))
        with pytest.raises(DataLossError):
            verify_thumbnails(_with(table, "thumbnail", b"another"))


class TestItemDigest:
    """`item_digest`."""

    def test_equal_content_is_an_equal_item_whatever_its_embedding(self) -> None:
        """Two encodings of one content, in batches of different mates, are one item."""
        common = {"space": "a@00000000", "content_digest": bytes(range(32)), "metadata_digest": bytes(32)}
        assert item_digest(embedding=b"one", **common) == item_digest(embedding=b"two", **common)  # type: ignore[arg-type]

    def test_an_item_given_as_a_vector_is_compared_by_the_vector(self) -> None:
        """Without content, another vector is another item."""
        common = {"space": "a@00000000", "content_digest": b"", "metadata_digest": bytes(32)}
        assert item_digest(embedding=b"one", **common) != item_digest(embedding=b"two", **common)  # type: ignore[arg-type]

    def test_a_vector_never_equals_a_content(self) -> None:
        """A vector whose digest happens to be given as a content digest is another item all the same."""
        digest = hashlib.sha256(b"vector").digest()
        as_vector = item_digest(space="s", content_digest=b"", embedding=b"vector", metadata_digest=b"")
        as_content = item_digest(space="s", content_digest=digest, embedding=b"vector", metadata_digest=b"")
        assert as_vector != as_content


class TestEmbeddingRows:
    """`embedding_rows`."""

    def test_canonical_rows_come_back_bit_for_bit(self) -> None:
        """Storing as float16 loses nothing of a canonical row; slices and chunks are read as well."""
        rows = vectors(0, 10)
        column = pa.chunked_array(
            [pa.array([row.astype("<f2").tobytes() for row in part], pa.binary()) for part in (rows[:4], rows[4:])]
        )
        np.testing.assert_array_equal(embedding_rows(column, rows.shape[1]), rows)
        np.testing.assert_array_equal(embedding_rows(column.slice(3, 4), rows.shape[1]), rows[3:7])
        np.testing.assert_array_equal(embedding_rows(column.chunk(1).slice(2), rows.shape[1]), rows[6:])

    def test_no_rows_are_an_empty_matrix(self) -> None:
        """A table without rows has no vectors, of the right dimension."""
        assert embedding_rows(pa.array([], pa.binary()), 5).shape == (0, 5)

    def test_rows_of_unequal_length_are_damage(self) -> None:
        """Lengths are looked at one by one: two that add up to the right sum do not pass."""
        with pytest.raises(DataLossError):
            embedding_rows(pa.array([b"123", b"12345"], pa.binary()), 2)


def test_an_answer_is_read_back_as_it_was_given() -> None:
    """The counts, the operation and the revision survive the store."""
    answer = Answer(op=Op.UPSERT, revision=9, created_count=1, updated_count=2, unchanged_count=3)
    assert Answer.from_json(answer.to_json(), op=1, revision=9) == answer


def test_an_aligner_is_unpacked_as_it_was_packed() -> None:
    """Both files come back; an empty payload is no aligner."""
    files = AlignerFiles(manifest=b"{}", tensors=b"\x00\x01")
    assert unpack_aligner(pack_aligner(files)) == files
    assert unpack_aligner(b"") is None
