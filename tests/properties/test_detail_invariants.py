"""What must hold for slices and gains of any corpus."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import Modality
from isthmus.core.calibration import Calibration
from isthmus.core.gain import GainRequest, GainTable, ShownRows, judge_gain
from isthmus.core.notes import ItemNotes
from isthmus.core.slices import SliceKind, SlicePlan, SliceRequest

values = st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=30)


@given(images=values, texts=values, data=st.data())
def test_slices_of_an_attribute_are_a_partition(images: list[str], texts: list[str], data: st.DataObject) -> None:
    """Every query is in one slice, or counted as without a value; an own value is never overruled."""
    keys = {
        modality: data.draw(st.lists(st.sampled_from(["", "k", "l", "m"]), min_size=len(own), max_size=len(own)))
        for modality, own in ((Modality.IMAGE, images), (Modality.TEXT, texts))
    }
    if not any([*images, *texts]):
        return
    notes = {
        modality: ItemNotes(ids=[f"{modality}{row}" for row in range(len(own))], values=own)
        for modality, own in ((Modality.IMAGE, images), (Modality.TEXT, texts))
    }
    plan = SlicePlan.of(SliceRequest(by_attribute=True), notes=notes, keys=keys)
    parts = [one for one in plan.slices if one.kind is SliceKind.ATTRIBUTE]
    covered = {
        modality: np.sum([part.members[modality] for part in parts], axis=0, dtype=np.intp) for modality in Modality
    }
    assert all(count.max() <= 1 for count in covered.values())
    assert sum(int((count == 0).sum()) for count in covered.values()) == plan.without[SliceKind.ATTRIBUTE]
    for part in parts:
        for modality, found in notes.items():
            inside = [value for value, here in zip(found.values, part.members[modality], strict=True) if here]
            assert {*inside} <= {"", part.value}


@st.composite
def tables(draw: st.DrawFn) -> tuple[GainTable, ShownRows]:
    """A small table over items whose few different vectors make many ties."""
    counts = {modality: draw(st.integers(1, 3)) for modality in Modality}
    grid = st.integers(-1, 1)
    items = {
        modality: np.array(draw(st.lists(st.tuples(grid, grid), min_size=count, max_size=count)), dtype=np.float32)
        for modality, count in counts.items()
    }
    ids = {modality: [f"{modality}{row}" for row in range(count)] for modality, count in counts.items()}
    every = [item_id for found in ids.values() for item_id in found]
    pairs = st.tuples(st.sampled_from(every), st.sampled_from(every)).filter(lambda pair: pair[0] != pair[1])
    rows = draw(st.lists(st.tuples(pairs, st.floats(-5, 5)), min_size=1, max_size=6))
    request = GainRequest(
        query_ids=[pair[0] for pair, _ in rows],
        item_ids=[pair[1] for pair, _ in rows],
        gains=[gain for _, gain in rows],
        top_k=draw(st.integers(1, 6)),
    )
    table = GainTable.of(request, ids=ids)
    asked = {modality: found[table.queries[modality]] for modality, found in items.items()}
    return table, ShownRows(queries=asked, items=items, calibration=Calibration.default())


@settings(max_examples=60, deadline=None)
@given(made=tables())
def test_a_query_collects_the_mean_over_all_orders_of_equal_answers(made: tuple[GainTable, ShownRows]) -> None:
    """Second route: every order of the answers that a sort may give, taken one after the other."""
    table, shown = made
    found = table.collected(shown)
    for query in Modality:
        rows = table.rows[query]
        for place, row in enumerate(table.queries[query]):
            answers = [
                (float(shown.queries[query][place] @ vector), item is query, number)
                for item in Modality
                for number, vector in enumerate(shown.items[item])
                if not (item is query and number == row)
            ]
            sums = []
            for order in itertools.permutations(answers):
                if any(first[0] < second[0] for first, second in itertools.pairwise(order)):
                    continue
                first = [answer[1:] for answer in order[: table.top_k]]
                sums.append(
                    sum(
                        gain
                        for at, own, item, gain in zip(rows.query, rows.own, rows.item, rows.gain, strict=True)
                        if at == place and (bool(own), int(item)) in first
                    )
                )
            assert found[query][place] == pytest.approx(np.mean(sums), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(made=tables(), seed=st.integers(0, 2**32 - 1))
def test_nothing_is_worth_more_than_what_is_possible(made: tuple[GainTable, ShownRows], seed: int) -> None:
    """The interval holds the figure; the figure is below what could be had; a change of nothing is exactly nothing."""
    table, shown = made
    codes = {modality: np.arange(len(found)) for modality, found in shown.items.items()}
    found = judge_gain(table, shown, shown, codes=codes, seed=seed)
    assert found.after.value <= found.possible + 1e-9
    assert found.before.low <= found.before.value <= found.before.high
    assert found.difference.figure.low == found.difference.figure.high == 0.0
    assert found.used_count + sum(map(len, found.skipped.values())) >= found.query_count
