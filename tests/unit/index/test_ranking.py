"""Answers from a snapshot: spaces, alignment, calibrated merge. Snapshots are built by hand, without a store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration, CalibrationSource, ScoreCurve
from isthmus.core.modality import Modality
from isthmus.index.calibrate import CalibrationKeeper
from isthmus.index.model import Neighbor
from isthmus.index.ranking import Question, search_snapshot
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError
from isthmus.runtime.base.no_aligner import PROMOTE_COMMAND
from tests.unit.index.hand_made import snapshot_of as _snapshot
from tests.unit.index.support import (
    IMAGE_SPACE,
    ONE_SPACE,
    SPACE,
    TEXT_SPACE,
    TWO_SPACES,
    fitted_calibration,
    heads,
    identity,
    vectors,
)

_PAIRS = [(query, item) for query in Modality for item in Modality]


def _ids(neighbors: tuple[Neighbor, ...]) -> list[str]:
    return [neighbor.item.id for neighbor in neighbors]


def _estimated(image_location: float, text_location: float) -> Calibration:
    locations = {Modality.IMAGE: image_location, Modality.TEXT: text_location}
    curves = {(query, item): ScoreCurve(location=locations[item], scale=0.5) for query, item in _PAIRS}
    return Calibration(source=CalibrationSource.ESTIMATED, curves=curves)


class TestSpaces:
    """What is compared with what."""

    def _search(self, snapshot: Snapshot, **changes: Any) -> Any:
        options: dict[str, Any] = {
            "modality": Modality.IMAGE,
            "space": SPACE,
            "top_k": 3,
            "item_modality": None,
        } | changes
        return search_snapshot(snapshot, options.pop("queries", vectors(9, 1)), Question(**options))

    def test_a_query_of_another_space_is_refused_with_both_spaces(self) -> None:
        """Vectors of different spaces are refused, never scored."""
        snapshot = _snapshot({Modality.IMAGE: [vectors(0, 3)]})
        with pytest.raises(FailedPreconditionError) as caught:
            self._search(snapshot, space="other@0000000000000000")
        assert caught.value.reason == "SPACE_MISMATCH"
        assert caught.value.metadata["expected"] == SPACE

    def test_a_query_of_a_modality_the_collection_lacks_is_refused(self) -> None:
        """A collection of images has no space that a text could be of."""
        only_images = replace(ONE_SPACE, text_space="", text_dimension=0)
        snapshot = _snapshot({Modality.IMAGE: [vectors(0, 3)]}, collection=only_images)
        with pytest.raises(FailedPreconditionError) as caught:
            self._search(snapshot, modality=Modality.TEXT, space="")
        assert caught.value.reason == "SPACE_MISMATCH"

    @pytest.mark.parametrize("item_modality", [Modality.TEXT, None])
    def test_without_an_aligner_two_spaces_are_never_compared(self, item_modality: Modality | None) -> None:
        """The error names the command that mends it."""
        snapshot = _snapshot({Modality.IMAGE: [vectors(0, 3)]}, collection=TWO_SPACES)
        with pytest.raises(FailedPreconditionError) as caught:
            self._search(snapshot, space=IMAGE_SPACE, item_modality=item_modality)
        assert caught.value.reason == "NO_ALIGNER"
        assert caught.value.metadata == {"command": PROMOTE_COMMAND}

    def test_without_an_aligner_one_modality_is_searched_in_its_raw_space(self) -> None:
        """Image to image needs no aligner."""
        rows = vectors(0, 5)
        result = self._search(
            _snapshot({Modality.IMAGE: [rows]}, collection=TWO_SPACES),
            space=IMAGE_SPACE,
            item_modality=Modality.IMAGE,
            queries=rows[3:4],
        )
        assert result.neighbors[0][0].item.id == "image-3"
        assert (result.space, result.calibration) == (IMAGE_SPACE, None)

    def test_an_aligner_lets_two_spaces_meet(self) -> None:
        """The query goes through its own side of the aligner that the items went through; the reply names its space."""
        pictures, sentences = vectors(0, 9), vectors(1, 9, TWO_SPACES.text_dimension)
        snapshot = _snapshot(
            {Modality.IMAGE: [pictures], Modality.TEXT: [sentences]}, collection=TWO_SPACES, aligner=heads()
        )
        queries = vectors(2, 2, TWO_SPACES.text_dimension)
        result = self._search(
            snapshot, modality=Modality.TEXT, space=TEXT_SPACE, item_modality=Modality.IMAGE, queries=queries
        )
        assert snapshot.aligner is not None
        exact = snapshot.aligner.align(queries, Modality.TEXT) @ snapshot.aligner.align(pictures, Modality.IMAGE).T
        for neighbors, scores in zip(result.neighbors, exact, strict=True):
            assert _ids(neighbors) == [f"image-{row}" for row in np.argsort(-scores)[:3]]
            np.testing.assert_allclose([n.score for n in neighbors], np.sort(scores)[::-1][:3], atol=1e-5)
        assert result.space == snapshot.aligner.space

    @pytest.mark.parametrize("queries", [vectors(0, 1, 5), np.full((1, 16), np.nan, np.float32)])
    def test_a_query_that_is_no_vector_of_the_space_is_refused(self, queries: NDArray[np.float32]) -> None:
        """Another dimension, or a value that is not finite."""
        with pytest.raises(InvalidArgumentError) as caught:
            self._search(_snapshot({Modality.IMAGE: [vectors(0, 3)]}), queries=queries)
        assert caught.value.reason == "INVALID_VECTOR"


class TestMerge:
    """How images and texts get into one list."""

    def test_one_modality_alone_is_not_calibrated(self) -> None:
        """The score is what it is, and no source is named."""
        result = search_snapshot(
            _snapshot({Modality.IMAGE: [vectors(0, 5)]}, calibration=_estimated(0.3, 0.1)),
            vectors(9, 1),
            Question(modality=Modality.IMAGE, space=SPACE, top_k=2, item_modality=Modality.IMAGE),
        )
        assert result.calibration is None
        assert all(n.calibrated_score == n.score and n.probability is None for n in result.neighbors[0])

    def test_a_fitted_calibration_tells_probabilities(self) -> None:
        """Even for one modality; they agree with the curve of that pair."""
        snapshot = _snapshot(
            {Modality.IMAGE: [vectors(0, 5)], Modality.TEXT: [vectors(1, 5)]}, aligner=identity(fitted_calibration())
        )
        result = search_snapshot(snapshot, vectors(9, 1), Question(modality=Modality.TEXT, space=SPACE, top_k=10))
        assert result.calibration is CalibrationSource.FITTED
        assert len(result.neighbors[0]) == 10
        for neighbor in result.neighbors[0]:
            curve = fitted_calibration().curves[Modality.TEXT, neighbor.item.modality]
            assert neighbor.calibrated_score == pytest.approx(float(curve.merge_score(neighbor.score)), abs=1e-5)
            assert neighbor.probability == pytest.approx(1 / (1 + np.exp(-neighbor.calibrated_score)))

    def test_the_merge_follows_the_calibrated_score(self) -> None:
        """Where texts run higher than images, the plain cosine would show texts only."""
        raw = {Modality.IMAGE: [vectors(0, 20)], Modality.TEXT: [vectors(1, 20)]}
        query = Question(modality=Modality.TEXT, space=SPACE, top_k=20)
        by_cosine = search_snapshot(_snapshot(raw), vectors(9, 1), query)
        shifted = _snapshot(raw, calibration=_estimated(-2.0, 0.0))
        favouring_images = search_snapshot(shifted, vectors(9, 1), query)
        assert by_cosine.calibration is CalibrationSource.DEFAULT
        assert {n.item.modality for n in by_cosine.neighbors[0]} == set(Modality)
        assert {n.item.modality for n in favouring_images.neighbors[0]} == {Modality.IMAGE}

    @settings(max_examples=60, deadline=None)
    @given(
        sizes=st.lists(st.integers(1, 12), min_size=0, max_size=3),
        other=st.lists(st.integers(1, 12), min_size=0, max_size=3),
        top_k=st.integers(1, 40),
        locations=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
        seed=st.integers(0, 50),
    )
    def test_calibration_never_touches_an_order_within_a_modality(
        self, sizes: list[int], other: list[int], top_k: int, locations: tuple[float, float], seed: int
    ) -> None:
        """Cross-modal rankings are those of the cosine, whatever the segments; the mixed list is their merge."""
        raw = {
            Modality.IMAGE: [vectors(seed + n, size) for n, size in enumerate(sizes)],
            Modality.TEXT: [vectors(seed + 100 + n, size) for n, size in enumerate(other)],
        }
        snapshot = _snapshot(raw, calibration=_estimated(*locations))
        query = vectors(seed + 999, 1)
        mixed = search_snapshot(snapshot, query, Question(modality=Modality.IMAGE, space=SPACE, top_k=top_k)).neighbors[
            0
        ]
        assert len(mixed) == min(top_k, sum(sizes) + sum(other))
        assert sorted((n.calibrated_score for n in mixed), reverse=True) == [n.calibrated_score for n in mixed]
        for modality in Modality:
            rows = np.concatenate(raw[modality]) if raw[modality] else np.empty((0, 16), np.float32)
            scores = rows @ query[0]
            found = [n for n in mixed if n.item.modality is modality]
            np.testing.assert_allclose([n.score for n in found], np.sort(scores)[::-1][: len(found)], atol=1e-5)


class TestCalibrationKeeper:
    """`CalibrationKeeper`."""

    def _pair(self, count: int) -> Snapshot:
        return _snapshot({Modality.IMAGE: [vectors(0, count)], Modality.TEXT: [vectors(1, count)]})

    def test_a_small_collection_has_the_default(self) -> None:
        """Below 64 items a modality nothing is estimated."""
        calibration, final = CalibrationKeeper().calibrate(self._pair(63))
        assert (calibration.source, final) == (CalibrationSource.DEFAULT, True)

    def test_a_larger_collection_is_estimated(self) -> None:
        """From its own vectors, for every modality pair."""
        calibration, final = CalibrationKeeper().calibrate(self._pair(64))
        assert (calibration.source, final) == (CalibrationSource.ESTIMATED, True)

    def test_the_estimate_does_not_depend_on_how_items_are_spread_over_segments(self) -> None:
        """A searcher that followed for long and one that was started a moment ago merge alike."""
        pictures, sentences = vectors(0, 1500), vectors(1, 100)
        one = _snapshot({Modality.IMAGE: [pictures], Modality.TEXT: [sentences]})
        spread = _snapshot({Modality.IMAGE: list(np.split(pictures, [7, 900])), Modality.TEXT: [sentences]})
        assert CalibrationKeeper().calibrate(one) == CalibrationKeeper().calibrate(spread)

    def test_a_fitted_calibration_is_never_replaced(self) -> None:
        """What came with the aligner stands."""
        pair = {Modality.IMAGE: [vectors(0, 80)], Modality.TEXT: [vectors(1, 80)]}
        calibration, _ = CalibrationKeeper().calibrate(_snapshot(pair, aligner=identity(fitted_calibration())))
        assert calibration == fitted_calibration()

    def test_two_spaces_without_aligner_have_no_calibration(self) -> None:
        """Nothing is compared, so nothing is estimated."""
        raw = {Modality.IMAGE: [vectors(0, 80)], Modality.TEXT: [vectors(1, 80, 8)]}
        calibration, final = CalibrationKeeper().calibrate(_snapshot(raw, collection=TWO_SPACES))
        assert (calibration.source, final) == (CalibrationSource.DEFAULT, True)

    def test_while_items_pour_in_the_last_estimate_serves(self) -> None:
        """Estimates rest between one another; at rest the estimate is that of the items that are there."""
        keeper = CalibrationKeeper()
        first, _ = keeper.calibrate(self._pair(64))
        grown = self._pair(200)
        keeper._next_s = float("inf")
        assert keeper.calibrate(grown) == (first, False)
        keeper._next_s = 0.0
        assert keeper.calibrate(grown) == CalibrationKeeper().calibrate(grown)
