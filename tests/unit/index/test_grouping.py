"""One answer a thing: search against a loop over everything, on snapshots built by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration, CalibrationSource, ScoreCurve
from isthmus.core.modality import Modality
from isthmus.index import ranking
from isthmus.index.merging import first_of_each
from isthmus.index.ranking import Question, search_snapshot
from isthmus.index.segments import LiveSegment, Segment
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.filters import Exists
from tests.unit.index.support import ONE_SPACE, SPACE, vectors

_CURVES = {
    (query, item): ScoreCurve(location=0.3 if item is Modality.IMAGE else 0.0, scale=0.5)
    for query in Modality
    for item in Modality
}
_CALIBRATION = Calibration(source=CalibrationSource.ESTIMATED, curves=_CURVES)


@dataclass(frozen=True)
class _Thing:
    """An item of the model."""

    item_id: str
    modality: Modality
    pair_key: str
    row: NDArray[np.float32]
    is_priced: bool
    is_live: bool = True


def _snapshot(things: Sequence[_Thing], segment_rows: int) -> Snapshot:
    segments: dict[Modality, tuple[LiveSegment, ...]] = {}
    for modality in Modality:
        own = [thing for thing in things if thing.modality is modality]
        parts = []
        for start in range(0, len(own), segment_rows):
            some = own[start : start + segment_rows]
            items = pa.table(
                {
                    "id": [thing.item_id for thing in some],
                    "attributes": [b'{"price":1}' if thing.is_priced else b"{}" for thing in some],
                    "pair_key": [thing.pair_key for thing in some],
                    "content_digest": [b""] * len(some),
                    "revision": [1] * len(some),
                    "_rowid": pa.array(range(start, start + len(some)), pa.uint64()),
                }
            )
            whole = LiveSegment(Segment(modality, [np.stack([thing.row for thing in some])], items))
            dead = [place for place, thing in enumerate(some) if not thing.is_live]
            parts.append(whole.without(np.array(dead, dtype=np.int64)))
        segments[modality] = tuple(parts)
    view: Any = None
    return Snapshot(
        name="things",
        settings=ONE_SPACE,
        revision=3,
        view=view,
        aligner=None,
        segments=segments,
        calibration=_CALIBRATION,
    )


def _expected(things: Sequence[_Thing], query: NDArray[np.float32], holds: Callable[[_Thing], bool]) -> list[str]:
    """Sort everything, keep the first of each pair key: the specification."""
    scores = {
        thing.item_id: float(
            _CALIBRATION.merge_scores(np.array([thing.row @ query]), query=Modality.TEXT, item=thing.modality)[0]
        )
        for thing in things
        if thing.is_live and holds(thing)
    }
    keys = {thing.item_id: thing.pair_key for thing in things}
    seen, found = set(), []
    for item_id in sorted(scores, key=lambda item_id: -scores[item_id]):
        if keys[item_id] not in seen:
            found.append(item_id)
        if keys[item_id]:
            seen.add(keys[item_id])
    return found


def _search(snapshot: Snapshot, queries: NDArray[np.float32], **options: Any) -> list[list[str]]:
    question = Question(modality=Modality.TEXT, space=SPACE, **options)
    return [[each.item.id for each in found] for found in search_snapshot(snapshot, queries, question).neighbors]


_things = st.lists(
    st.tuples(
        st.sampled_from(list(Modality)), st.sampled_from(["", "", "a", "b", "c", "d"]), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(drawn=_things, data=st.data())
def test_an_answer_is_the_best_of_each_pair_key(drawn: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """Random keys, modalities, dead rows, filters, excluded items, segments and top_k: as a sort of everything says."""
    rows = vectors(1, len(drawn))
    things = [
        _Thing(f"i{number}", modality, key, row, is_priced, is_live)
        for number, ((modality, key, is_priced, is_live), row) in enumerate(zip(drawn, rows, strict=True))
    ]
    snapshot = _snapshot(things, data.draw(st.integers(1, 60)))
    queries = vectors(2, data.draw(st.integers(1, 5)))
    top_k = data.draw(st.integers(1, 20))
    wanted = data.draw(st.sampled_from([None, *Modality]))
    priced_only = data.draw(st.booleans())
    excluded = data.draw(st.lists(st.sampled_from([thing.item_id for thing in things]), max_size=5))
    found = _search(
        snapshot,
        queries,
        top_k=top_k,
        item_modality=wanted,
        where=Exists("price") if priced_only else None,
        terms=AnswerTerms(exclude_ids=tuple(excluded), one_per_pair_key=True),
    )

    def holds(thing: _Thing) -> bool:
        is_wanted = thing.modality is wanted or wanted is None
        return is_wanted and (thing.is_priced or not priced_only) and thing.item_id not in excluded

    assert found == [_expected(things, query, holds)[:top_k] for query in queries]


def _crowded(count: int, others: int) -> tuple[list[_Thing], NDArray[np.float32]]:
    """Return `count` items of one key beside the query, and farther away some of other keys; and the query."""
    query = vectors(5, 1)
    near = query[0] + 0.01 * vectors(6, count)
    rows = np.concatenate([near / np.linalg.norm(near, axis=1, keepdims=True), vectors(7, others)])
    keys = ["crowd"] * count + [f"k{number}" for number in range(others)]
    things = [
        _Thing(f"i{number}", Modality.IMAGE, key, row, is_priced=True)
        for number, (key, row) in enumerate(zip(keys, rows, strict=True))
    ]
    return things, query


def test_however_many_items_one_thing_has_the_others_are_found() -> None:
    """3,000 items of one pair key are nearer than anything else; nine more things come all the same, in order."""
    things, query = _crowded(3_000, 30)
    (found,) = _search(_snapshot(things, 500), query, top_k=10, terms=AnswerTerms(one_per_pair_key=True))
    assert found == _expected(things, query[0], lambda _: True)[:10]
    assert len({item_id for item_id in found if int(item_id[1:]) >= 3_000}) == 9


def test_a_batch_takes_no_more_memory_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep looks are taken for a few queries at a time: with room for 2,000 candidates, 3,000 are held for one only."""
    things, query = _crowded(3_000, 30)
    monkeypatch.setattr(ranking, "_CANDIDATES_MAX_COUNT", 2_000)
    widths: list[int] = []
    nearest = ranking._nearest

    def counted(parts: Any, queries: NDArray[np.float32], count: int, where: Any, *, exact: bool) -> Any:
        widths.append(len(queries) * count if len(queries) > 1 else 0)
        return nearest(parts, queries, count, where, exact=exact)

    monkeypatch.setattr(ranking, "_nearest", counted)
    queries = np.repeat(query, 20, axis=0)
    found = _search(_snapshot(things, 500), queries, top_k=10, terms=AnswerTerms(one_per_pair_key=True))
    assert found == [_expected(things, query[0], lambda _: True)[:10]] * 20
    assert max(widths) <= 2_000 + 20


def test_excluded_items_take_no_place() -> None:
    """`top_k` answers come beside those left out, and ids that are not there are no error."""
    things = [_Thing(f"i{n}", Modality.IMAGE, "", row, is_priced=True) for n, row in enumerate(vectors(1, 30))]
    query = vectors(2, 1)
    best = _expected(things, query[0], lambda _: True)
    terms = AnswerTerms(exclude_ids=(best[0], best[3], "nothing"))
    assert _search(_snapshot(things, 7), query, top_k=5, terms=terms) == [[best[n] for n in (1, 2, 4, 5, 6)]]


def test_the_first_of_each_text_and_every_empty_one() -> None:
    """Places, ascending; nothing of nothing."""
    assert first_of_each(pa.array(["b", "", "a", "b", "", "a", "c"])).tolist() == [0, 1, 2, 4, 6]
    assert first_of_each(pa.array([], pa.string())).tolist() == []
