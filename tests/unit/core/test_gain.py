"""What answers are worth: who collects what, and which rows count for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from isthmus.core import Modality, NotEnoughItemsError
from isthmus.core.aligners import Label, load_aligner
from isthmus.core.calibration import Calibration
from isthmus.core.changes import Change
from isthmus.core.checkpoint import checked
from isthmus.core.details import DetailRequest
from isthmus.core.errors import OptionError
from isthmus.core.gain import GAIN_MAX, GainRequest, GainTable, judge_gain
from isthmus.core.notes import ItemNotes
from isthmus.core.raw_pairs import RawPairs
from isthmus.core.recipe import fit_and_judge, verify_artefact
from isthmus.core.shown import ShownRows
from tests.unit.core.conftest import SPACE, Pairs

MakePairs = Callable[..., Pairs]
IDS = {Modality.IMAGE: ["i0", "i1", "i2"], Modality.TEXT: ["t0", "t1", "t2"]}


def request(*rows: tuple[str, str, float], **more: object) -> GainRequest:
    """Return a request of rows."""
    queries, items, gains = zip(*rows, strict=True) if rows else ((), (), ())
    return GainRequest(query_ids=queries, item_ids=items, gains=gains, **more)  # type: ignore[arg-type]


def shown(table: GainTable, *, joined: bool = True) -> ShownRows:
    """Serve three photos and three captions on a circle, merged by plain cosine."""
    angles = {Modality.IMAGE: np.array([0.0, 0.4, 0.8]), Modality.TEXT: np.array([0.1, 0.5, 3.0])}
    rows = {
        modality: np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
        for modality, angle in angles.items()
    }
    return ShownRows(
        queries={modality: found[table.queries[modality]] for modality, found in rows.items()},
        items=rows,
        calibration=Calibration.default(),
        joined=joined,
    )


def per_query(*rows: tuple[str, str, float], joined: bool = True, **more: object) -> list[float]:
    """Return what each query collects, photos first."""
    table = GainTable.of(request(*rows, **more), ids=IDS)
    found = table.collected(shown(table, joined=joined))
    return [*found[Modality.IMAGE].tolist(), *found[Modality.TEXT].tolist()]


def test_a_query_collects_what_is_among_the_first_answers() -> None:
    """The order after i0 is t0, i1, t1, i2, t2: two are shown, their gains and costs add up, rows may repeat."""
    rows = [("i0", "t0", 3.0), ("i0", "i1", -1.0), ("i0", "t1", 100.0), ("i0", "t0", 0.5)]
    assert per_query(*rows, top_k=2) == [2.5]
    assert per_query(*rows, top_k=1) == [3.5]
    assert per_query(*rows, top_k=1_000) == [102.5]
    assert per_query(*rows, ("t2", "i2", 7.0), top_k=2) == [2.5, 7.0]


def test_one_modality_may_be_searched_alone() -> None:
    """Then only its items are shown; a row of the other one is told, not counted."""
    rows = [("i0", "t0", 3.0), ("i0", "i2", 1.0), ("i0", "t1", 10.0)]
    assert per_query(*rows, top_k=2, item_modality=Modality.TEXT) == [13.0]
    table = GainTable.of(request(*rows, item_modality=Modality.TEXT), ids=IDS)
    assert table.skipped == {"other_modality": (2,)}


def test_what_nothing_joins_shows_no_answer_of_the_other_modality() -> None:
    """Two raw spaces before an aligner: a query sees its own modality, however few that are."""
    assert per_query(("i0", "t0", 3.0), ("i0", "i2", 1.0), top_k=1_000, joined=False) == [1.0]


def test_answers_that_tie_share_the_last_places() -> None:
    """Three equal answers for two places: each is shown in two orders of three."""
    same = np.ones((3, 1), dtype=np.float32)
    table = GainTable.of(request(("i0", "t0", 3.0), top_k=2), ids=IDS | {Modality.IMAGE: ["i0"]})
    served = ShownRows(
        queries={Modality.IMAGE: same[:1], Modality.TEXT: same[:0]},
        items={Modality.IMAGE: same[:1], Modality.TEXT: same},
        calibration=Calibration.default(),
    )
    assert table.collected(served)[Modality.IMAGE] == pytest.approx([2.0])


@pytest.mark.parametrize("query_count", [1, 2, 9])
def test_equal_items_tie_wherever_they_lie(query_count: int) -> None:
    """A last block of two items, and a single query: products of other shapes round in another way, and hid ties."""
    rng = np.random.default_rng(0)
    photos = rng.normal(size=(4_098, 100)).astype(np.float32)
    photos[[0, 1, 7, 4_095, 4_096, 4_097]] = photos[0]
    asked = (photos[:1] + rng.normal(size=(query_count, 100)) / 10).astype(np.float32)
    ids = {
        Modality.IMAGE: [f"i{row}" for row in range(len(photos))],
        Modality.TEXT: [f"t{row}" for row in range(query_count)],
    }
    rows = [(query, f"i{row}", gain) for query in ids[Modality.TEXT] for row, gain in ((1, 1.0), (4_097, 10.0))]
    table = GainTable.of(request(*rows, top_k=3, item_modality=Modality.IMAGE), ids=ids)
    turn = np.linalg.qr(rng.normal(size=(100, 100)))[0].astype(np.float32)
    served = ShownRows(
        queries={Modality.IMAGE: photos[:0] @ turn, Modality.TEXT: asked @ turn},
        items={Modality.IMAGE: photos, Modality.TEXT: asked},
        item_rows=lambda given, _: given @ turn,
        calibration=Calibration.default(),
    )
    assert table.collected(served)[Modality.TEXT] == pytest.approx([11 * 3 / 6] * query_count)


def test_the_work_can_be_ended_between_blocks() -> None:
    """Many queries over many items take minutes: a caller that went away must not be worked for."""
    table = GainTable.of(request(("i0", "t0", 3.0)), ids=IDS)

    def gone() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError), checked(gone):
        judge_gain(table, shown(table), shown(table), codes={modality: np.arange(3) for modality in Modality})


def test_a_row_that_counts_for_nothing_is_told_with_its_reason() -> None:
    """Unknown ids, a query that was learned from, a query that is its own answer: by row, from 1."""
    table = GainTable.of(
        request(
            ("gone", "t0", 1.0),
            ("i0", "gone", 1.0),
            ("i1", "t1", 1.0),
            ("i0", "i0", 1.0),
            ("i0", "t1", 1.0),
            ("no", "no", 1.0),
        ),
        ids=IDS,
        learned_ids=["i1", "t1"],
    )
    assert table.skipped == {"unknown_query": (1, 6), "unknown_item": (2,), "learned_query": (3,), "query_itself": (4,)}
    assert table.used_count == 1
    with pytest.raises(NotEnoughItemsError, match=r"none of 2 rows can be judged \(1 unknown query, 1 unknown item\)"):
        GainTable.of(request(("gone", "t0", 1.0), ("i0", "gone", 1.0)), ids=IDS)


@pytest.mark.parametrize("gain", [float("nan"), float("inf"), float("-inf")])
def test_a_gain_that_is_no_number_is_refused_with_its_row(gain: float) -> None:
    """Before anything is read; the message holds the row and nothing of its content."""
    with pytest.raises(OptionError, match="gains: row 2 has a gain that is not a finite number"):
        request(("i0", "t0", 1.0), ("secret", "t0", gain))


def test_a_gain_may_be_large_but_not_without_end() -> None:
    """1e12 either way is accepted, the next number is refused with its row: no sum can leave what a number holds."""
    assert request(("i0", "t0", GAIN_MAX), ("i0", "t1", -GAIN_MAX)).gains == (GAIN_MAX, -GAIN_MAX)
    with pytest.raises(OptionError, match=r"gains: row 2 has a gain beyond 1e\+12 in size"):
        request(("i0", "t0", 1.0), ("i0", "t0", -np.nextafter(GAIN_MAX, np.inf)))


def test_a_row_without_an_id_is_refused_with_its_row() -> None:
    """So is a table without rows, and a page that shows nothing."""
    with pytest.raises(OptionError, match="gains: row 1 lacks a query id or an item id"):
        request(("", "t0", 1.0))
    with pytest.raises(OptionError, match="need at least one row"):
        request()
    with pytest.raises(OptionError, match="top_k: must be at least 1"):
        request(("i0", "t0", 1.0), top_k=0)


def test_the_figure_is_the_mean_over_queries_times_a_thousand() -> None:
    """With what could be had at most: the most valuable items of each query, costs left out."""
    rows = [("i0", "t0", 3.0), ("i0", "t1", 5.0), ("i0", "i1", -4.0), ("t2", "i2", 7.0), ("t2", "i2", 1.0)]
    table = GainTable.of(request(*rows, top_k=1), ids=IDS)
    served = shown(table)
    codes = {modality: np.arange(3) for modality in Modality}
    found = judge_gain(table, served, served, codes=codes)
    assert found.before.value == pytest.approx(1_000 * (3.0 + 8.0) / 2)
    assert found.possible == pytest.approx(1_000 * (5.0 + 8.0) / 2)
    assert (found.query_count, found.pair_count, found.used_count) == (2, 2, 5)
    assert found.difference.figure.value == found.difference.figure.low == found.difference.figure.high == 0.0
    assert found.difference.change is Change.TOO_FEW
    assert found.to_dict()["per_1000"]["difference"]["change"] == "too few to tell"


def _raw(made: Pairs) -> RawPairs:
    return RawPairs(
        images=made.images,
        texts=made.texts,
        image_keys=made.image_keys,
        text_keys=made.text_keys,
        image_space=SPACE,
        text_space=SPACE,
        notes={
            Modality.IMAGE: ItemNotes(ids=[f"photo-{row}" for row in range(len(made.images))]),
            Modality.TEXT: ItemNotes(ids=[f"caption-{row}" for row in range(len(made.texts))]),
        },
    )


def test_an_aligner_that_helps_is_worth_more(make_pairs: MakePairs) -> None:
    """Second route: the first ten answers over everything, sorted query by query, give the same sums; it rises."""
    pairs = _raw(make_pairs(count=300, captions=1, noise=0.8))
    artefact, _ = fit_and_judge("center", pairs, label=Label(aligner_id="a", created_by="a test"))
    learned, judged = pairs.split()
    held_out = set(judged.ids[Modality.TEXT])
    rows = [(f"caption-{row}", f"photo-{row}", 1.0 + row % 3) for row in range(300)]
    found = verify_artefact(
        artefact, judged, learned=learned, details=DetailRequest(gains=request(*rows), searched=pairs)
    ).gain
    assert found is not None
    assert found.query_count == len(held_out) == len(judged.texts)
    assert found.skipped == {
        "learned_query": tuple(number for number, row in enumerate(rows, 1) if row[0] not in held_out)
    }
    aligner = load_aligner(artefact)
    calibration = aligner.calibration
    assert calibration is not None
    asked = aligner.query_rows(pairs.texts, Modality.TEXT)
    photos, captions = (
        aligner.item_rows(rows_of, modality)
        for modality, rows_of in ((Modality.IMAGE, pairs.images), (Modality.TEXT, pairs.texts))
    )
    expected = []
    for row in (int(item_id.removeprefix("caption-")) for item_id in held_out):
        query = asked[row : row + 1]
        to_photos = calibration.merge_scores(query @ photos.T, query=Modality.TEXT, item=Modality.IMAGE)
        to_captions = calibration.merge_scores(query @ captions.T, query=Modality.TEXT, item=Modality.TEXT)
        to_captions[0, row] = -np.inf
        first = np.argsort(-np.concatenate([to_photos[0], to_captions[0]]))[:10]
        expected.append((1.0 + row % 3) * (row in first))
    assert found.after.value == pytest.approx(1_000 * np.mean(expected))
    # 865 before, 1,712 after, of 2,000 possible: +846 [567, 1,135]
    assert found.difference.change is Change.RISES
    assert found.before.value < found.after.value < found.possible
    assert found.before.low <= found.before.value <= found.before.high


def test_an_item_that_is_in_no_pair_may_ask_and_be_found(make_pairs: MakePairs) -> None:
    """It was not fitted on: a customer's photo, or the ware that nobody has described yet."""
    made = make_pairs(count=200, captions=1)
    pairs = _raw(made)
    loose = replace(pairs, image_keys=[*pairs.image_keys[:-1], None], text_keys=[*pairs.text_keys[:-2], None, None])
    artefact, _ = fit_and_judge("center", loose, label=Label(aligner_id="a", created_by="a test"))
    learned, judged = loose.split()
    gains = request(("photo-199", "caption-199", 1.0), ("photo-199", "gone", 1.0))
    details = DetailRequest(gains=gains, searched=loose)
    found = verify_artefact(artefact, judged, learned=learned, details=details).gain
    assert found is not None
    assert (found.query_count, found.used_count, found.skipped) == (1, 1, {"unknown_item": (2,)})
