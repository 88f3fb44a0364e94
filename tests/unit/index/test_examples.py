"""Queries that are made of several examples: what they ask for, against the formula, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.core.aligners import FitOptions, Label, load_aligner
from isthmus.core.calibration import CalibrationSource
from isthmus.core.modality import Modality
from isthmus.core.recipe import RawPairs, fit_calibrated
from isthmus.index.examples import ExampleVectors, combined_query
from isthmus.index.model import AlignerFiles, SearchResult
from isthmus.index.ranking import Question, search_examples, search_snapshot
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError
from tests.unit.index.hand_made import snapshot_of
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

_IMAGES, _TEXTS = vectors(0, 25), vectors(1, 25)


def _examples(modality: Modality, rows: NDArray[np.float32], *weights: float, space: str = SPACE) -> ExampleVectors:
    return ExampleVectors(modality, space, rows, np.array(weights))


def _search(snapshot: Snapshot, *examples: ExampleVectors, **options: Any) -> SearchResult:
    return search_examples(snapshot, examples, **{"top_k": 50, "item_modality": None, **options})


def _both(aligner: AlignerFiles | None = None) -> Snapshot:
    return snapshot_of({Modality.IMAGE: [_IMAGES], Modality.TEXT: [_TEXTS[:10], _TEXTS[10:]]}, aligner=aligner)


_weights = st.floats(-100, 100, allow_subnormal=False).filter(lambda weight: abs(weight) > 0.01)


@settings(max_examples=100, deadline=None)
@given(
    weights=st.lists(st.tuples(st.sampled_from(list(Modality)), _weights), min_size=1, max_size=8),
    wanted=st.sampled_from([None, *Modality]),
    top_k=st.integers(1, 50),
)
def test_answers_are_those_of_the_weighted_mean(
    weights: list[tuple[Modality, float]], wanted: Modality | None, top_k: int
) -> None:
    """Scores are the cosines with the weighted mean of unit vectors; the merge is by the mean of the curves."""
    calibration = fitted_calibration()
    snapshot = _both(identity(calibration))
    rows = vectors(3, len(weights))
    units = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    batches = [
        _examples(kind, rows[places], *(weights[place][1] for place in places))
        for kind in Modality
        if (places := [place for place, (modality, _) in enumerate(weights) if modality is kind])
    ]
    mean = np.array([weight for _, weight in weights]) @ units
    total = sum(abs(weight) for _, weight in weights)
    assume(float(np.linalg.norm(mean)) > 0.01 * total)
    query = mean / np.linalg.norm(mean)
    share = {kind: sum(abs(weight) for modality, weight in weights if modality is kind) / total for kind in Modality}
    expected = []
    for modality, items in ((Modality.IMAGE, _IMAGES), (Modality.TEXT, _TEXTS)):
        if wanted in (None, modality):
            for number, score in enumerate((items @ query).tolist()):
                curves = {kind: calibration.curves[kind, modality].merge_score(score) for kind in Modality}
                merged = sum(share[kind] * float(curve) for kind, curve in curves.items())
                expected.append((merged, score, f"{modality}-{number}"))
    expected.sort(key=lambda entry: -entry[0])
    (found,) = _search(snapshot, *batches, item_modality=wanted, top_k=top_k).neighbors
    assert len(found) == min(top_k, len(expected))
    np.testing.assert_allclose(
        [each.calibrated_score for each in found], [each[0] for each in expected][:top_k], atol=1e-4
    )
    scores = {item_id: score for _, score, item_id in expected}
    np.testing.assert_allclose([each.score for each in found], [scores[each.item.id] for each in found], atol=1e-5)


def test_one_example_is_a_query_like_another_but_for_its_probability() -> None:
    """Whatever its weight: the same answers and scores as a search by its vector; no probability was fitted to such."""
    snapshot = _both(identity(fitted_calibration()))
    row = vectors(5, 1)
    plain = search_snapshot(snapshot, row, Question(modality=Modality.TEXT, space=SPACE, top_k=50))
    found = _search(snapshot, _examples(Modality.TEXT, row, 7.0))
    assert found.calibration is CalibrationSource.FITTED
    assert [each.item.id for each in found.neighbors[0]] == [each.item.id for each in plain.neighbors[0]]
    np.testing.assert_allclose(
        # The example is scaled to unit norm; a plain query is so within the rounding of float16 values.
        [each.score for each in found.neighbors[0]],
        [each.score for each in plain.neighbors[0]],
        atol=1e-4,
    )
    assert all(each.probability is None for each in found.neighbors[0])


def test_an_unlike_example_pushes_its_neighbours_back() -> None:
    """What is unlike the example gains, and the nearest to it is last when there is nothing else."""
    snapshot = _both()
    (found,) = _search(snapshot, _examples(Modality.IMAGE, _IMAGES[3:4], -1.0), item_modality=Modality.IMAGE).neighbors
    assert found[-1].item.id == "image-3"
    assert found[-1].score == pytest.approx(-1.0, abs=1e-3)


def test_examples_that_cancel_one_another_are_refused() -> None:
    """There is no direction left to look in."""
    with pytest.raises(InvalidArgumentError) as refused:
        _search(_both(), _examples(Modality.IMAGE, _IMAGES[[3, 3]], 2.0, -2.0))
    assert (refused.value.reason, refused.value.metadata) == ("INVALID_FIELD", {"field": "examples"})


class TestTwoSpaces:
    """Examples of two raw spaces meet in the aligned space and nowhere else."""

    _IMAGE_ROWS = vectors(0, 9, TWO_SPACES.image_dimension)
    _TEXT_ROWS = vectors(1, 9, TWO_SPACES.text_dimension)

    def _snapshot(self, aligner: AlignerFiles | None) -> Snapshot:
        raw = {Modality.IMAGE: [self._IMAGE_ROWS], Modality.TEXT: [self._TEXT_ROWS]}
        return snapshot_of(raw, collection=TWO_SPACES, aligner=aligner)

    def _examples(self, *modalities: Modality) -> list[ExampleVectors]:
        rows = {Modality.IMAGE: (self._IMAGE_ROWS, IMAGE_SPACE), Modality.TEXT: (self._TEXT_ROWS, TEXT_SPACE)}
        return [_examples(each, rows[each][0][:2], 1.0, -0.5, space=rows[each][1]) for each in modalities]

    @pytest.mark.parametrize(
        ("examples", "wanted"),
        [
            ((Modality.IMAGE, Modality.TEXT), Modality.IMAGE),
            ((Modality.IMAGE,), Modality.TEXT),
            ((Modality.TEXT,), None),
        ],
    )
    def test_without_an_aligner_two_modalities_do_not_meet(
        self, examples: tuple[Modality, ...], wanted: Modality | None
    ) -> None:
        """Two among the examples, or another one wanted: NO_ALIGNER."""
        with pytest.raises(FailedPreconditionError) as refused:
            _search(self._snapshot(None), *self._examples(*examples), item_modality=wanted)
        assert refused.value.reason == "NO_ALIGNER"

    def test_without_an_aligner_one_modality_is_searched_in_its_raw_space(self) -> None:
        """Examples of images among images need nothing else."""
        found = _search(self._snapshot(None), *self._examples(Modality.IMAGE), item_modality=Modality.IMAGE)
        query = self._IMAGE_ROWS[0] - 0.5 * self._IMAGE_ROWS[1]
        scores = self._IMAGE_ROWS @ query / np.linalg.norm(query)
        assert [each.item.id for each in found.neighbors[0]] == [f"image-{n}" for n in np.argsort(-scores)]
        assert found.space == IMAGE_SPACE

    def test_an_aligner_lets_them_meet(self) -> None:
        """The mean is of aligned vectors."""
        snapshot = self._snapshot(heads())
        found = _search(snapshot, *self._examples(*Modality))
        assert snapshot.aligner is not None
        aligned = {
            Modality.IMAGE: snapshot.aligner.align(self._IMAGE_ROWS, Modality.IMAGE),
            Modality.TEXT: snapshot.aligner.align(self._TEXT_ROWS, Modality.TEXT),
        }
        query = sum(rows[0] - 0.5 * rows[1] for rows in aligned.values())
        query /= np.linalg.norm(query)
        for each in found.neighbors[0]:
            number = int(each.item.id.split("-")[1])
            assert each.score == pytest.approx(float(aligned[each.item.modality][number] @ query), abs=1e-5)
        assert len(found.neighbors[0]) == 18

    def test_a_vector_of_another_space_is_refused(self) -> None:
        """As for any query, with both spaces."""
        wrong = _examples(Modality.IMAGE, self._IMAGE_ROWS[:1], 1.0, space="other@0000000000000001")
        with pytest.raises(FailedPreconditionError) as refused:
            _search(self._snapshot(heads()), wrong)
        assert refused.value.reason == "SPACE_MISMATCH"


def test_a_hubness_correction_is_that_of_the_mean() -> None:
    """For examples of one modality exactly as for a query of it; of two, each modality's coordinates by its share."""
    shared, noise = vectors(0, 240), vectors(1, 240)
    keys = [f"pair-{number}" for number in range(240)]
    pairs = RawPairs(images=shared, texts=noise, image_keys=keys, text_keys=keys, image_space=SPACE, text_space=SPACE)
    artefact = fit_calibrated(
        "center", pairs, label=Label(aligner_id="hub", created_by="test"), options=FitOptions(hubness=True)
    )
    aligner = load_aligner(artefact)
    snapshot = snapshot_of({}, collection=ONE_SPACE, aligner=AlignerFiles(*artefact.to_bytes()))
    rows = vectors(3, 3)
    single, _ = combined_query(snapshot, [_examples(Modality.TEXT, rows[:1], 3.0)])
    np.testing.assert_allclose(single, aligner.query_rows(rows[:1], Modality.TEXT), atol=1e-5)
    mixed, shares = combined_query(
        snapshot, [_examples(Modality.TEXT, rows[:1], 3.0), _examples(Modality.IMAGE, rows[1:2], -1.0)]
    )
    assert shares == pytest.approx({Modality.TEXT: 0.75, Modality.IMAGE: 0.25})
    forth = aligner.asked_rows(mixed[:, : aligner.dimension], Modality.TEXT)
    back = aligner.asked_rows(mixed[:, : aligner.dimension], Modality.IMAGE)
    np.testing.assert_allclose(mixed, 0.75 * forth + 0.25 * back, atol=1e-5)
    assert np.linalg.norm(mixed[:, : aligner.dimension]) == pytest.approx(1.0, abs=1e-5)
