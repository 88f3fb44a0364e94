"""What a filter leaves of several segments: searched together, the answers are those of the segments one by one."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from isthmus.core.modality import Modality
from isthmus.index import ranking
from isthmus.index.segments import LiveSegment, Segment
from isthmus.runtime.base.filters import Between, End

_ROWS, _DIMENSION = 4_000, 32
_RNG = np.random.default_rng(0)
_VECTORS = _RNG.standard_normal((_ROWS, _DIMENSION)).astype(np.float32)
_VECTORS[1_000:1_040] = _VECTORS[0]
_QUERIES = np.concatenate([_VECTORS[:1], _RNG.standard_normal((39, _DIMENSION)).astype(np.float32)])


def _segment(start: int, end: int) -> Segment:
    numbers = range(start, end)
    items = pa.table(
        {
            "id": [f"{number:05d}" for number in numbers],
            "attributes": pa.array([json.dumps({"n": number}).encode() for number in numbers], pa.binary()),
            "pair_key": [""] * len(numbers),
            "content_digest": [b""] * len(numbers),
            "revision": [1] * len(numbers),
            "_rowid": pa.array(numbers, pa.uint64()),
        }
    )
    return Segment(Modality.IMAGE, [_VECTORS[start:end]], items)


_PARTS = [
    LiveSegment(_segment(0, 1_024)).without(np.arange(0, 1_024, 7)),
    LiveSegment(_segment(1_024, 1_030)),
    LiveSegment(_segment(1_030, _ROWS)),
]


@pytest.mark.parametrize("queries", [1, 3, 4, 40])
@pytest.mark.parametrize("left", [(0, 4_000), (990, 1_100), (1_020, 1_024), (3_990, 3_991), (9_000, 9_001)])
def test_scores_segments_and_rows_are_equal_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, queries: int, left: tuple[int, int]
) -> None:
    """Whatever is left, all of it, copies of one vector across two segments, less than is wanted, or nothing."""
    where = Between("n", End(left[0], closed=True), End(left[1], closed=False))
    together = ranking._best_of(_PARTS, _QUERIES[:queries], 10, where)
    monkeypatch.setattr(ranking, "FEW_ROWS", -1)
    one_by_one = ranking._best_of(_PARTS, _QUERIES[:queries], 10, where)
    for ours, theirs in zip(together, one_by_one, strict=True):
        np.testing.assert_array_equal(ours, theirs)
