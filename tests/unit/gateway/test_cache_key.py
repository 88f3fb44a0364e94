"""The key of a cached embedding covers everything the embedding depends on."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.modality import Modality
from isthmus.gateway.cache_key import KEY_BYTES, CacheKeys
from isthmus.gateway.domain import EncoderInfo

ENCODER = EncoderInfo("enc@0123456789abcdef", Modality.TEXT, 384)
DIGEST = bytes(range(32))


def test_equal_parts_give_the_same_key() -> None:
    """Two gateways agree on the key, so they can share a Redis."""
    assert CacheKeys("default", ENCODER).key(DIGEST) == CacheKeys("default", ENCODER).key(DIGEST)
    assert len(CacheKeys("default", ENCODER).key(DIGEST)) == KEY_BYTES


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(ENCODER, space="enc@0123456789abcdee"),
        dataclasses.replace(ENCODER, modality=Modality.IMAGE),
        dataclasses.replace(ENCODER, dimension=385),
    ],
)
def test_another_encoder_gives_another_key(other: EncoderInfo) -> None:
    """Revision, modality and dimension each change the key: a model upgrade needs no flush."""
    assert CacheKeys("default", other).key(DIGEST) != CacheKeys("default", ENCODER).key(DIGEST)


def test_what_does_not_shape_the_embedding_leaves_the_key_alone() -> None:
    """Counters and the device of an encoder are no part of the key."""
    other = dataclasses.replace(ENCODER, device="cuda", encoded_items=7, forward_calls=3, compute_type="bfloat16")
    assert CacheKeys("default", other).key(DIGEST) == CacheKeys("default", ENCODER).key(DIGEST)


@given(st.tuples(st.text(max_size=8), st.text(max_size=8)), st.tuples(st.text(max_size=8), st.text(max_size=8)))
def test_no_two_lists_of_parts_share_a_key(left: tuple[str, str], right: tuple[str, str]) -> None:
    """Parts are told apart by their lengths: moving a character from one to the next changes the key."""
    keys = [CacheKeys(tenant, dataclasses.replace(ENCODER, space=space)).key(DIGEST) for tenant, space in (left, right)]
    assert (keys[0] == keys[1]) == (left == right)


def test_a_key_maker_can_be_used_again() -> None:
    """Making one key does not change the next."""
    keys = CacheKeys("default", ENCODER)
    assert keys.key(DIGEST) == keys.key(DIGEST)
    assert keys.key(DIGEST) != keys.key(DIGEST[::-1])
