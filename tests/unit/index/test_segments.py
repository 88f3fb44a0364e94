"""Segments: finding ids, searching around dead rows, merging."""

from __future__ import annotations

import faiss
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index import flat
from isthmus.index import segments as module
from isthmus.index.segments import LiveSegment, Segment, merge_segments
from isthmus.index.snapshot import Merge, plan_merge
from isthmus.runtime.base.filters import Between, End, Filter, OneOf
from tests.unit.index.support import vectors


def _segment(count: int, *, seed: int = 0, prefix: str = "item") -> Segment:
    """Return a segment of random vectors."""
    return _segment_of(vectors(seed, count), prefix=prefix)


def _segment_of(rows: NDArray[np.float32], *, prefix: str = "item") -> Segment:
    """Return a segment; the attribute `n` of item 3 is 3."""
    count = len(rows)
    items = pa.table(
        {
            "id": [f"{prefix}-{number}" for number in range(count)],
            "attributes": [b'{"n":%d}' % number for number in range(count)],
            "pair_key": ["" if number % 2 else f"key-{number}" for number in range(count)],
            "content_digest": [b""] * count,
            "revision": [1] * count,
            "_rowid": pa.array(range(count), pa.uint64()),
        }
    )
    return Segment(Modality.IMAGE, [rows], items)


def _dead(rows: list[int]) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64)


class TestFind:
    """`Segment.find` and `LiveSegment.find`."""

    def test_ids_are_found_wherever_they_are(self) -> None:
        """Every id gives its row, an unknown one gives -1."""
        segment = _segment(500)
        ids = [f"item-{number}" for number in (499, 0, 250)]
        assert segment.find([*ids, "nobody"]).tolist() == [499, 0, 250, -1]

    def test_ids_with_equal_hashes_are_told_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Correctness does not hang on the hash."""
        monkeypatch.setattr(module, "_hashes", lambda ids: np.zeros(len(ids), dtype=np.int64))
        segment = _segment(20)
        assert segment.find(["item-13", "nobody", "item-0"]).tolist() == [13, -1, 0]

    def test_a_dead_row_is_not_found(self) -> None:
        """A snapshot does not find what it does not hold."""
        live = LiveSegment(_segment(5)).without(_dead([2]))
        assert live.find(["item-1", "item-2"]).tolist() == [1, -1]


class TestFilteredSearch:
    """`LiveSegment.search` with a filter."""

    @pytest.mark.parametrize("queries", [1, 3, 4, 40])
    @pytest.mark.parametrize("chosen", [0, 1, 7, 299, 300])
    @pytest.mark.parametrize("dead", [[], [0, 4], list(range(0, 300, 3))])
    def test_the_best_of_those_that_it_holds_for_are_found(self, queries: int, chosen: int, dead: list[int]) -> None:
        """However few are left, all that were asked for come, with the scores that brute force gives them."""
        segment = LiveSegment(_segment(300)).without(_dead(dead))
        asked = vectors(9, queries)
        scores, rows = segment.search(asked, 10, Between("n", None, End(chosen, closed=False)))
        left = [row for row in range(chosen) if row not in dead]
        expected = -np.sort(-(asked @ segment.segment.vectors[left].T), axis=1)[:, :10]
        for query in range(queries):
            found = {row: score for row, score in zip(rows[query], scores[query], strict=True) if score > -np.inf}
            assert set(found) <= set(left)
            best = sorted(found.values(), reverse=True)[:10]
            np.testing.assert_allclose(best, expected[query], atol=1e-6)

    def test_parts_of_the_chosen_rows_are_searched_one_after_the_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """More rows than are copied at once, or fewer in the last part than neighbours wanted: the same answer."""
        segment = LiveSegment(_segment(100))
        asked, wanted = vectors(9, 8), Between("n", End(50, closed=True), None)
        whole = segment.search(asked, 10, wanted)
        monkeypatch.setattr(flat, "_GATHER_ROWS", 12)
        parts = segment.search(asked, 10, wanted)
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_merged_segment_filters_by_the_attributes_that_came_with_it(self) -> None:
        """What lived in two segments is found by its attributes in the one that they became."""
        first = LiveSegment(_segment(20)).without(_dead([3]))
        merged = merge_segments([first, LiveSegment(_segment(20, seed=1, prefix="other"))])
        assert merged is not None
        _, rows = merged.search(vectors(9, 1), 50, OneOf("n", (3, 4)))
        assert sorted(merged.segment.id_at(row) for row in rows[0].tolist()) == ["item-4", "other-3", "other-4"]


class TestSearch:
    """`LiveSegment.search`."""

    @pytest.mark.parametrize("where", [None, Between("n", End(7, closed=True), None)])
    @pytest.mark.parametrize("dead", [[], [3, 4], list(range(1_200))])
    @pytest.mark.parametrize("equals", [1, 5, 900])
    def test_a_batch_scores_as_its_queries_alone(self, where: Filter | None, dead: list[int], equals: int) -> None:
        """To the last bit, with many equal vectors too: a product of matrices would round equals apart."""
        count, dimension = 3_000, 384
        rows = vectors(3, count, dimension)
        rows[:: count // equals] = rows[0]
        segment = LiveSegment(_segment_of(rows)).without(_dead(dead))
        queries = vectors(9, 33, dimension)
        queries[5] = rows[0]
        batch = np.sort(segment.search(queries, 20, where)[0], axis=1)[:, -20:]
        alone = [np.sort(segment.search(query[None], 20, where)[0], axis=1)[0, -20:] for query in queries]
        np.testing.assert_array_equal(batch, alone)

    def test_rounding_hides_no_row_from_a_batch(self) -> None:
        """900 rows whose scores differ by less than a product's rounding: the best are those of one query alone."""
        rng = np.random.default_rng(4)
        rows, queries = vectors(3, 3_000, 384), vectors(9, 8, 384)
        rows[:900] = queries[0] + rng.normal(scale=1e-8, size=(900, 384)).astype(np.float32)
        queries += 3 * rng.normal(scale=384**-0.5, size=queries.shape).astype(np.float32)
        segment = LiveSegment(_segment_of(rows))
        batch = segment.search(queries, 20)[0]
        alone = np.concatenate([segment.search(query[None], 20)[0] for query in queries])
        np.testing.assert_array_equal(batch, alone)

    def test_faiss_multiplies_matrices_for_four_queries_and_more(self) -> None:
        """Its own default is 128,000 in 1.15. `make bench` measures what ours is worth: 0.1 to 0.2 of the time."""
        assert faiss.cvar.distance_compute_blas_threshold == flat.PRODUCT_MIN_QUERIES == 4

    @pytest.mark.parametrize("dead", [0, 1, 40, 65, 190])
    @pytest.mark.parametrize("top_k", [1, 10, 300])
    def test_live_rows_are_searched_exactly(self, dead: int, top_k: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Few dead rows are overfetched, many are masked inside FAISS: the answers are those of brute force."""
        monkeypatch.setattr(module, "_OVERFETCH_MAX_ROWS", 64)
        segment = _segment(200)
        gone = np.random.default_rng(1).permutation(200)[:dead]
        live = LiveSegment(segment).without(gone)
        queries = vectors(9, 7)
        scores, rows = live.search(queries, top_k)
        exact = queries @ segment.vectors.T
        exact[:, gone] = -np.inf
        for query in range(7):
            order = np.argsort(-scores[query], kind="stable")[: min(top_k, 200 - dead)]
            expected = np.sort(exact[query])[::-1][: len(order)]
            np.testing.assert_allclose(scores[query][order], expected, atol=1e-6)
            assert not set(rows[query][order].tolist()) & set(gone.tolist())

    def test_killing_rows_leaves_the_older_state_alone(self) -> None:
        """A reader that holds the older state goes on seeing the row."""
        before = LiveSegment(_segment(5))
        after = before.without(_dead([1, -1])).without(_dead([3]))
        assert (before.live_count, after.live_count) == (5, 3)
        assert before.find(["item-1"]).tolist() == [1]
        assert after.live is not None
        assert not after.live.flags.writeable


class TestMerge:
    """`merge_segments`, `plan_merge` and `Merge`."""

    def test_a_merge_keeps_live_rows_with_their_vectors(self) -> None:
        """Dead rows are left behind; ids, keys and vectors stay together."""
        parts = [LiveSegment(_segment(10)).without(_dead([0])), LiveSegment(_segment(5, seed=1, prefix="other"))]
        merged = merge_segments(parts)
        assert merged is not None
        assert (merged.live_count, merged.dead_count) == (14, 0)
        (row,) = merged.find(["other-3"])
        np.testing.assert_array_equal(merged.segment.vectors[row], parts[1].segment.vectors[3])
        assert merged.find(["item-0"]).tolist() == [-1]

    def test_a_merge_of_dead_segments_is_nothing(self) -> None:
        """There is no empty segment."""
        assert merge_segments([LiveSegment(_segment(2)).without(_dead([0, 1]))]) is None

    def test_rows_that_died_during_a_merge_stay_dead(self) -> None:
        """The copy takes its parts' place in the newest list, with what happened meanwhile."""
        old, young = LiveSegment(_segment(6)), LiveSegment(_segment(4, seed=1, prefix="other"))
        merge = Merge((old, young), merge_segments([old, young]))
        newest = (old.without(_dead([5])), young, LiveSegment(_segment(1, prefix="late")))
        merged, late = merge.apply(newest)
        assert merged.find(["item-5", "item-4"]).tolist() == [-1, 4]
        assert late is newest[2]

    def test_a_merge_whose_parts_are_gone_is_dropped(self) -> None:
        """After a rebuild nothing of the old segments may come back."""
        old = LiveSegment(_segment(6))
        rebuilt = (LiveSegment(_segment(6)),)
        assert Merge((old,), merge_segments([old])).apply(rebuilt) is rebuilt

    def test_a_growing_collection_has_few_segments_and_copies_each_row_seldom(self) -> None:
        """1,000 catch-ups of 3 rows: a dozen segments at most, each row copied a logarithmic number of times."""
        parts: tuple[LiveSegment, ...] = ()
        copied = 0
        for number in range(1000):
            parts = (*parts, LiveSegment(_segment(3, prefix=str(number))))
            due = plan_merge(parts)
            if due:
                merged = merge_segments(due)
                assert merged is not None
                copied += merged.live_count
                parts = Merge(due, merged).apply(parts)
            assert len(parts) <= 12
        assert sum(part.live_count for part in parts) == 3000
        assert copied / 3000 <= 12  # 5.6

    def test_a_full_segment_is_not_copied_for_a_small_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Segments stop growing at their largest size."""
        monkeypatch.setattr("isthmus.index.snapshot.SEGMENT_MAX_ROWS", 10)
        parts = (LiveSegment(_segment(8)), LiveSegment(_segment(6, prefix="b")), LiveSegment(_segment(4, prefix="c")))
        assert plan_merge(parts) == parts[1:]

    def test_a_sparse_segment_is_written_anew(self) -> None:
        """More than a quarter of dead rows is too much."""
        sparse = LiveSegment(_segment(8)).without(_dead([0, 1, 2]))
        large = LiveSegment(_segment(100, prefix="large"))
        assert plan_merge((large, sparse)) == (sparse,)
        assert plan_merge((large, LiveSegment(_segment(8)).without(_dead([0, 1])))) == ()


def test_a_pair_key_is_told_from_none() -> None:
    """Empty means none."""
    assert _segment(4).has_pair_key.tolist() == [True, False, True, False]
