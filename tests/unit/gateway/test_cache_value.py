"""No damage and no forgery of a cached value is ever served."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.canonical import canonical
from isthmus.gateway.cache_value import Damage, open_values, seal_value, unit_rows
from isthmus.gateway.domain import Row

SECRET = b"s" * 32
KEY = bytes(range(32))
DIMENSION = 48


def _row(seed: int = 0, *, truncated: bool = False) -> Row:
    values = np.random.default_rng(seed).standard_normal((1, DIMENSION))
    return Row(canonical(values).astype("<f2").tobytes(), truncated)


def _forged(row: Row) -> bytes:
    """Return a value sealed with the right secret, whatever the row holds."""
    return seal_value(SECRET, KEY, row)


@given(seed=st.integers(0, 2**32), truncated=st.booleans())
def test_a_value_opens_to_what_was_sealed(*, seed: int, truncated: bool) -> None:
    """Row and flag come back bit for bit."""
    row = _row(seed, truncated=truncated)
    assert open_values(SECRET, [KEY], [seal_value(SECRET, KEY, row)], DIMENSION) == [row]


def test_a_thousand_damages_are_all_refused() -> None:
    """Flips, cuts, growth and swapped bytes at random places: 1,000 of 1,000 refused."""
    rng = np.random.default_rng(7)
    sealed = seal_value(SECRET, KEY, _row())
    refused = 0
    for number in range(1_000):
        value = bytearray(sealed)
        kind = number % 4
        place = int(rng.integers(len(value)))
        if kind == 0:
            value[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del value[place:]
        elif kind == 2:
            value[place:place] = rng.bytes(int(rng.integers(1, 9)))
        else:
            value[place] = (value[place] + int(rng.integers(1, 256))) % 256
        (opened,) = open_values(SECRET, [KEY], [bytes(value)], DIMENSION)
        refused += isinstance(opened, Damage)
    assert refused == 1_000  # measured: 1,000


def test_a_value_of_another_key_is_refused() -> None:
    """A sound value that was moved to another key, as a replay would, is refused."""
    value = seal_value(SECRET, KEY, _row())
    assert open_values(SECRET, [KEY[::-1]], [value], DIMENSION) == [Damage.CODE]


def test_a_value_of_another_secret_is_refused() -> None:
    """Whoever can write to Redis but does not know the secret can put nothing in."""
    value = seal_value(b"t" * 32, KEY, _row())
    assert open_values(SECRET, [KEY], [value], DIMENSION) == [Damage.CODE]


def test_a_checksum_mended_by_hand_is_not_enough() -> None:
    """A changed payload under a matching CRC still fails the code."""
    value = bytearray(seal_value(SECRET, KEY, _row()))
    value[40] ^= 1
    value[8:12] = struct.pack("<I", zlib.crc32(value[28:], zlib.crc32(value[:8])))
    assert open_values(SECRET, [KEY], [bytes(value)], DIMENSION) == [Damage.CODE]


@pytest.mark.parametrize(
    "values", [np.full(DIMENSION, np.nan), np.full(DIMENSION, np.inf), np.zeros(DIMENSION), np.full(DIMENSION, 0.2)]
)
def test_a_row_that_is_no_unit_vector_is_refused(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """NaN, infinity, zero and a norm of 1.39 are refused even under a right code."""
    row = Row(values.astype("<f2").tobytes())
    assert open_values(SECRET, [KEY], [_forged(row)], DIMENSION) == [Damage.NOT_UNIT]


def test_a_row_of_another_dimension_is_refused() -> None:
    """The dimension that the encoder states is the only one that opens."""
    value = seal_value(SECRET, KEY, _row())
    assert open_values(SECRET, [KEY], [value], DIMENSION + 1) == [Damage.LENGTH]


def test_an_unknown_version_or_flag_is_refused() -> None:
    """A value of a later format is a miss, not a guess."""
    value = seal_value(SECRET, KEY, _row())
    later = value[:2] + b"\x02" + value[3:]
    flagged = value[:3] + b"\x80" + value[4:]
    assert open_values(SECRET, [KEY, KEY], [later, flagged], DIMENSION) == [Damage.HEADER, Damage.HEADER]


def test_damage_of_one_value_leaves_its_neighbours_alone() -> None:
    """Sound values, absences and damages of one look-up are told apart."""
    row = _row(3)
    value = seal_value(SECRET, KEY, row)
    opened = open_values(SECRET, [KEY] * 3, [value, None, value[:-1]], DIMENSION)
    assert opened == [row, None, Damage.LENGTH]


def test_rows_are_judged_one_by_one() -> None:
    """One bad row among good ones is named, and only it."""
    rows = [_row(1).data, bytes(2 * DIMENSION), _row(2).data]
    assert unit_rows(rows, DIMENSION) == [True, False, True]
