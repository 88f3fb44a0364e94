"""What must hold for any input: canonical rows, calibrated merge, metrics."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from isthmus.core import Modality, canonical
from isthmus.core.calibration import Calibration, CalibrationSource, ScoreCurve
from isthmus.core.calibration.calibration import MODALITY_PAIRS
from isthmus.core.metrics import RecallAt, cross_modal_recall, mixed_retrieval

rows = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24),
    elements=st.floats(-1e4, 1e4, width=32),
).filter(lambda x: bool((np.abs(x).max(axis=1) > 0).all()))

curves = st.builds(
    ScoreCurve,
    location=st.floats(-1, 1),
    scale=st.floats(1e-3, 1),
    slope=st.floats(0.01, 10),
    intercept=st.floats(-20, 20),
    tail=st.none() | st.floats(0.01, 10),
)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Any fitted calibration."""
    return Calibration(source=CalibrationSource.FITTED, curves={pair: draw(curves) for pair in MODALITY_PAIRS})


@given(x=rows)
def test_canonical_is_idempotent(x: NDArray[np.float32]) -> None:
    """Making canonical rows canonical again changes not one bit."""
    once = canonical(x)
    assert (canonical(once) == once).all()


@given(x=rows, power=st.integers(-20, 20))
def test_canonical_ignores_length(x: NDArray[np.float32], power: int) -> None:
    """Scaling by a power of two, which is exact, gives the same bits, unless the row was canonical already."""
    scaled = x.astype(np.float64) * 2.0**power
    for row in range(len(x)):
        one, other = canonical(x[row : row + 1]), canonical(scaled[row : row + 1])
        assert np.abs(one - other).max() <= 2.0**-11


@given(x=rows)
def test_canonical_rows_do_not_depend_on_their_batch(x: NDArray[np.float32]) -> None:
    """Row by row or all at once: equal bits."""
    assert (np.concatenate([canonical(row[None]) for row in x]) == canonical(x)).all()


@given(calibration=calibrations(), scores=st.lists(st.floats(-1, 1, width=32), min_size=2, unique=True))
def test_a_merge_never_changes_a_ranking_inside_one_modality(calibration: Calibration, scores: list[float]) -> None:
    """For any calibration the merge score is strictly increasing in the cosine, in float64, for any two float32."""
    ordered = np.array(sorted(scores), dtype=np.float32)
    # Two denormal cosines apart by less than float64 resolves after the shift are one cosine for any purpose.
    assume(bool((np.diff(ordered.astype(np.float64)) > 1e-9).all()))
    for query, item in MODALITY_PAIRS:
        assert (np.diff(calibration.merge_scores(ordered, query=query, item=item)) > 0).all()


@given(calibration=calibrations())
def test_any_calibration_survives_json(calibration: Calibration) -> None:
    """To plain values and back, every bit is kept."""
    assert Calibration.from_dict(calibration.to_dict()) == calibration


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_figures_are_shares_and_grow_with_depth(data: st.DataObject, seed: int) -> None:
    """Every figure lies in [0, 1], deeper lists hold more, and cross-modal recall ignores the calibration."""
    rng = np.random.default_rng(seed)
    photos, captions = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    levels = rng.integers(-1, 2, size=(photos * (1 + captions), 3)) + 0.01
    vectors = canonical(levels)
    by_modality = {Modality.IMAGE: vectors[:photos], Modality.TEXT: vectors[photos:]}
    codes = {Modality.IMAGE: np.arange(photos), Modality.TEXT: np.repeat(np.arange(photos), captions)}
    calibration = data.draw(calibrations())
    for query in Modality:
        recall = cross_modal_recall(
            by_modality[query],
            by_modality[query.other],
            query_codes=codes[query],
            item_codes=codes[query.other],
        )
        assert 0 <= recall.r1 <= recall.r5 <= recall.r10 <= 1
        mixed = mixed_retrieval(
            np.arange(len(codes[query])), query=query, vectors=by_modality, codes=codes, calibration=calibration
        )
        assert 0 <= mixed.r1 <= mixed.r10 <= mixed.r20 <= 1
        assert 0 <= mixed.ndcg10 <= 1
        assert 0 <= mixed.own_share <= 1
        assert mixed.r1 <= recall.r1 + 1e-12


@given(scale=st.floats(0.1, 10), shift=st.floats(-5, 5), seed=st.integers(0, 1000))
def test_recall_is_a_matter_of_order_alone(scale: float, shift: float, seed: int) -> None:
    """Euclidean distance ranks unit vectors as the cosine does, so recall is the same."""
    rng = np.random.default_rng(seed)
    x, y = canonical(rng.normal(size=(20, 6))), canonical(rng.normal(size=(20, 6)))
    codes = np.arange(20)
    cosine = cross_modal_recall(y, x, query_codes=codes, item_codes=codes)
    distances = np.linalg.norm(y[:, None] - x[None], axis=2) * scale + shift
    ranks = (distances < np.diag(distances)[:, None]).sum(axis=1).astype(np.float64)
    # canonical rows are of unit norm within float16 rounding, which may swap near ties
    assert abs(RecallAt.of(ranks).r5 - cosine.r5) <= 0.05
