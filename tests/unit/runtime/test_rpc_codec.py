"""Vectors from the wire are checked before an array is made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from isthmus.core.canonical import canonical
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.rpc.codec import check_modality, decode_vectors, encode_vectors
from isthmus.v1 import common_pb2

finite = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=finite))
def test_float32_comes_back_bit_for_bit(vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    """Rows go out and come back as they were."""
    back = decode_vectors(encode_vectors(vectors), field="v", max_rows=5)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back.view(np.uint32), vectors.view(np.uint32))


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 64))
def test_canonical_rows_come_back_bit_for_bit_as_float16(seed: int, rows: int, dimension: int) -> None:
    """Half the bytes, nothing lost."""
    vectors = canonical(np.random.default_rng(seed).standard_normal((rows, dimension)))
    message = encode_vectors(vectors, half=True)
    assert len(message.data) == 2 * rows * dimension
    np.testing.assert_array_equal(decode_vectors(message, field="v", max_rows=4), vectors)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (common_pb2.Vectors(), "INVALID_VECTOR"),
        (common_pb2.Vectors(data=b"", dimension=4), "INVALID_VECTOR"),
        (common_pb2.Vectors(data=bytes(15), dimension=4), "INVALID_VECTOR"),
        (common_pb2.Vectors(data=bytes(16), dimension=0), "INVALID_VECTOR"),
        (common_pb2.Vectors(data=bytes(16), dimension=8_193), "INVALID_VECTOR"),
        (common_pb2.Vectors(data=bytes(16), dimension=2**32 - 1), "INVALID_VECTOR"),
        (common_pb2.Vectors(data=bytes(16), dimension=4, type=9), "UNKNOWN_ENUM_VALUE"),  # type: ignore[arg-type]
        (common_pb2.Vectors(data=bytes(48), dimension=4), "BATCH_TOO_LARGE"),
    ],
)
def test_what_is_no_batch_of_vectors_is_refused(message: common_pb2.Vectors, reason: str) -> None:
    """Each has its reason, and the message names the field."""
    with pytest.raises(IsthmusError) as caught:
        decode_vectors(message, field="query.vector", max_rows=2)
    assert caught.value.reason == reason
    assert "query.vector" in caught.value.message


def test_another_dimension_than_the_known_one_is_refused() -> None:
    """Both numbers are named."""
    with pytest.raises(IsthmusError) as caught:
        decode_vectors(common_pb2.Vectors(data=bytes(16), dimension=4), field="v", max_rows=1, dimension=5)
    assert caught.value.metadata == {"field": "v", "dimension": "4", "expected": "5"}


@given(st.binary(max_size=200))
def test_no_bytes_from_the_wire_break_it(data: bytes) -> None:
    """Whatever parses as a message is decoded or refused, never anything else."""
    message = common_pb2.Vectors()
    try:
        message.ParseFromString(data)
    except Exception:  # noqa: BLE001 - the parser's own refusals are not ours to judge
        return
    code = "OK"
    try:
        rows = decode_vectors(message, field="v", max_rows=10)
    except IsthmusError as error:
        code = error.code
    else:
        assert rows.shape[1] == message.dimension
    assert code in ("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(
    ("number", "reason"), [(0, "FIELD_REQUIRED"), (3, "UNKNOWN_ENUM_VALUE"), (-1, "UNKNOWN_ENUM_VALUE")]
)
def test_a_modality_that_is_none_is_refused(number: int, reason: str) -> None:
    """Unset is not unknown."""
    with pytest.raises(IsthmusError) as caught:
        check_modality(number, field="modality")
    assert caught.value.reason == reason


def test_unset_may_mean_any() -> None:
    """Where a request allows it, unset passes."""
    assert check_modality(0, field="modality", allow_any=True) == common_pb2.MODALITY_UNSPECIFIED
    assert check_modality(2, field="modality") == common_pb2.MODALITY_TEXT
