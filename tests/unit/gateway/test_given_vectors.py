"""Vectors of a request are judged together and answered each by itself."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.gateway.given_vectors import given_vector, given_vectors
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.rpc.codec import encode_vectors
from isthmus.v1 import common_pb2, gateway_service_pb2

SPACE = "dual@0123456789abcdef"


def _message(
    values: np.ndarray, *, space: str = SPACE, modality: common_pb2.Modality.ValueType = common_pb2.MODALITY_IMAGE
) -> gateway_service_pb2.SpacedVector:
    return gateway_service_pb2.SpacedVector(modality=modality, space=space, vector=encode_vectors(values[None]))


def test_each_vector_is_as_it_would_be_alone() -> None:
    """Two dimensions, NaN, zeros, an unknown space and no modality between them: bit for bit, error for error."""
    rng = np.random.default_rng(0)
    messages = [_message(rng.standard_normal(16).astype(np.float32) * 10.0 ** (n - 3)) for n in range(6)]
    messages += [_message(rng.standard_normal(8).astype(np.float32)) for _ in range(2)]
    messages += [_message(np.full(16, np.nan, dtype=np.float32)), _message(np.zeros(8, dtype=np.float32))]
    messages += [
        _message(np.ones(16, dtype=np.float32), space="no space"),
        _message(np.ones(16, dtype=np.float32), modality=common_pb2.MODALITY_UNSPECIFIED),
    ]
    messages = [messages[place] for place in rng.permutation(len(messages))]
    refused = 0
    for message, found in zip(messages, given_vectors(messages), strict=True):
        if isinstance(found, IsthmusError):
            refused += 1
            with pytest.raises(type(found)) as alone:
                given_vector(message)
            assert (alone.value.reason, str(alone.value)) == (found.reason, str(found))
        else:
            assert found == given_vector(message)
    assert refused == 4
    assert given_vectors([]) == []
