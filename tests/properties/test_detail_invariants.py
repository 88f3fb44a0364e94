"""What must hold for slices and gains of any corpus."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.core import Modality
from isthmus.core.calibration import Calibration, CalibrationSource, ScoreCurve
from isthmus.core.gain import GainRequest, GainTable, judge_gain
from isthmus.core.notes import ItemNotes
from isthmus.core.shown import BlockSizes, ShownRows
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


@st.composite
def crowds(draw: st.DrawFn) -> tuple[GainTable, ShownRows]:
    """Up to 40 items of each kind in few places, merged by lines and bends of any steepness, perhaps not joined."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items = {
        modality: rng.integers(-2, 3, size=(draw(st.integers(1, 40)), 2)).astype(np.float32) for modality in Modality
    }
    ids = {modality: [f"{modality}{row}" for row in range(len(found))] for modality, found in items.items()}
    every = [item_id for found in ids.values() for item_id in found]
    pairs = [(every[0], every[-1]), (every[-1], every[0])]
    pairs += [tuple(rng.choice(every, size=2, replace=False)) for _ in range(30)]
    table = GainTable.of(
        GainRequest(
            query_ids=[str(pair[0]) for pair in pairs],
            item_ids=[str(pair[1]) for pair in pairs],
            gains=rng.integers(-3, 4, size=len(pairs)).tolist(),
            top_k=draw(st.integers(1, 90)),
            item_modality=draw(st.sampled_from([None, *Modality])),
        ),
        ids=ids,
    )
    curves = {
        (query, item): ScoreCurve(
            location=rng.integers(-2, 3) / 2,
            scale=draw(st.sampled_from([0.5, 1.0, 2.0])),
            tail=draw(st.sampled_from([None, 1.0])),
        )
        for query in Modality
        for item in Modality
    }
    return table, ShownRows(
        queries={modality: found[table.queries[modality]] for modality, found in items.items()},
        items=items,
        item_rows=lambda rows, modality: rows * (2.0 if modality is Modality.TEXT else 1.0),
        calibration=Calibration(source=CalibrationSource.ESTIMATED, curves=curves),
        joined=draw(st.booleans()),
    )


def _share_of_all_scores(table: GainTable, shown: ShownRows, query: Modality) -> NDArray[np.float64]:
    """Return each row's share from the matrix of all scores at once."""
    rows, count = table.rows[query], len(table.queries[query])
    whole = []
    for item in (query, query.other):
        if table.item_modality in (None, item) and (shown.joined or item is query):
            found = shown.queries[query] @ shown.item_rows(shown.items[item], item).T
            scores = shown.calibration.merge_scores(found, query=query, item=item)
        else:
            scores = np.full((count, len(shown.items[item])), -np.inf)
        if item is query:
            scores[np.arange(count), table.queries[query]] = -np.inf
        whole.append(scores)
    scores = np.concatenate(whole, axis=1)
    columns = np.where(rows.own, rows.item, len(shown.items[query]) + rows.item)
    shares = np.zeros(len(rows.query))
    for number, (place, column) in enumerate(zip(rows.query, columns, strict=True)):
        ahead = int((scores[place] > scores[place, column]).sum())
        equal = int((scores[place] == scores[place, column]).sum())
        if np.isfinite(scores[place, column]):
            shares[number] = min(1.0, max(0, table.top_k - ahead) / equal)
    return shares


@settings(max_examples=150, deadline=None)
@given(
    made=crowds(),
    blocks=st.builds(BlockSizes, items=st.integers(1, 50), scores=st.integers(1, 200), kept=st.integers(1, 500)),
)
def test_what_is_found_in_blocks_is_what_all_scores_at_once_say(
    made: tuple[GainTable, ShownRows], blocks: BlockSizes
) -> None:
    """Second route: the matrix of every score; blocks of any size, ties across their borders, queries in parts."""
    table, shown = made
    found = table.collected(shown, blocks=blocks)
    for query, rows in table.rows.items():
        expected = np.zeros(len(table.queries[query]))
        np.add.at(expected, rows.query, rows.gain * _share_of_all_scores(table, shown, query))
        assert found[query] == pytest.approx(expected, abs=1e-12)


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
