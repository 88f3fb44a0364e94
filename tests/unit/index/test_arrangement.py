"""What structures a snapshot is given: within a memory, under an aligner that corrects hubness, with one modality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core.aligners import FitOptions, Label
from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.core.recipe import RawPairs, fit_calibrated
from isthmus.index.arrangement import Arrangement, ArrangementTerms, OverBudgetError, arrange, held_bytes, is_outdated
from isthmus.index.snapshot import Snapshot
from isthmus.index.structures import Structure, estimated_bytes, train
from isthmus.runtime.base.structure_kinds import Kind
from tests.unit.index.hand_made import snapshot_of
from tests.unit.index.structures.two_lands import DIMENSION, TwoLands, two_lands
from tests.unit.index.support import ONE_SPACE, SPACE, files

ROWS: Final = 4_000
SETTINGS: Final = replace(ONE_SPACE, image_dimension=DIMENSION, text_dimension=DIMENSION)
RECALL_MIN: Final = 0.95


@pytest.fixture(scope="module")
def lands() -> TwoLands:
    """Vectors of two modalities."""
    return two_lands(images=ROWS, texts=500)


def _snapshot(lands: TwoLands, **options: Any) -> Snapshot:
    """Return two segments of images and one of texts."""
    images = [lands.images[:2_500], lands.images[2_500:]]
    return snapshot_of({Modality.IMAGE: images, Modality.TEXT: [lands.texts]}, collection=SETTINGS, **options)


def _arranged(snapshot: Snapshot, *, room: int = 1 << 30, **changes: Any) -> Arrangement:
    held = held_bytes(snapshot)
    terms = ArrangementTerms(
        wanted=None, recall_min=RECALL_MIN, segment_min_rows=500, held_bytes=held, limit_bytes=held + room, folder=None
    )
    return arrange(snapshot, Modality.IMAGE, replace(terms, **changes))


def _with(snapshot: Snapshot, found: Arrangement) -> Snapshot:
    parts = snapshot.segments[Modality.IMAGE]
    for merge in found.merges:
        parts = merge.apply(parts)
    return replace(snapshot, segments={**snapshot.segments, Modality.IMAGE: parts})


def _sampled_bytes(rows: int) -> int:
    return 2 * rows * DIMENSION * 4


class TestBudget:
    """What fits, and what does not."""

    @pytest.mark.parametrize(("fits", "kind"), [(Kind.IVF_SQ8, None), (Kind.IVF_PQ, Kind.IVF_PQ)])
    def test_what_fits_is_built(self, fits: Kind, kind: Kind | None, lands: TwoLands) -> None:
        """With room for nothing larger than a product quantizer's codes, that is what it gets; recall is met."""
        snapshot = _snapshot(lands)
        room = _sampled_bytes(ROWS) + estimated_bytes(fits, ROWS, DIMENSION)
        found = _arranged(snapshot, room=room)
        assert kind in (None, found.report.kind)
        assert found.report.recall is not None
        assert found.report.recall >= RECALL_MIN
        assert held_bytes(_with(snapshot, found)) <= held_bytes(snapshot) + room

    def test_a_byte_too_little_is_refused_with_what_it_needs(self, lands: TwoLands) -> None:
        """The figure is of the kind that takes least, and what was there is unchanged."""
        snapshot = _snapshot(lands)
        room = _sampled_bytes(ROWS) + estimated_bytes(Kind.IVF_PQ, ROWS, DIMENSION)
        with pytest.raises(OverBudgetError) as caught:
            _arranged(snapshot, room=room - 1)
        assert (caught.value.kind, caught.value.needed) == (Kind.IVF_PQ, held_bytes(snapshot) + room)

    @pytest.mark.parametrize("full", [False, True])
    def test_without_room_on_the_disk_vectors_stay_in_memory(
        self, *, full: bool, lands: TwoLands, tmp_path: Path
    ) -> None:
        """The structures serve all the same; with room the vectors are as they were, and read where they lie."""
        snapshot = _snapshot(lands)
        found = _arranged(snapshot, wanted=Kind.IVF_SQ8, folder=tmp_path, reserve_bytes=(1 << 60) if full else 0)
        after = _with(snapshot, found)
        in_memory = [part.segment.vector_bytes > 0 for part in after.segments[Modality.IMAGE]]
        assert in_memory == [full, full]
        assert list(tmp_path.iterdir()) == []
        for before, now in zip(snapshot.segments[Modality.IMAGE], after.segments[Modality.IMAGE], strict=True):
            np.testing.assert_array_equal(before.segment.vectors, now.segment.vectors)
        assert _recall(after, lands.questions) >= RECALL_MIN - 0.03


class TestQueries:
    """What structures are taught and tuned with."""

    @pytest.mark.parametrize("kind", [Kind.IVF_SQ8, Kind.IVF_PQ, Kind.HNSW])
    def test_items_that_carry_offsets_are_found(self, kind: Kind, lands: TwoLands) -> None:
        """Item rows are longer than queries' content and not of one length; texts are asked as queries are."""
        pairs, keys = 300, [f"pair-{number}" for number in range(300)]
        artefact = fit_calibrated(
            "center",
            RawPairs(
                images=canonical(lands.images[:pairs]),
                texts=canonical(lands.texts[:pairs]),
                image_keys=keys,
                text_keys=keys,
                image_space=SPACE,
                text_space=SPACE,
            ),
            label=Label(aligner_id="hub", created_by="test"),
            options=FitOptions(hubness=True),
        )
        snapshot = _snapshot(lands, aligner=files(artefact))
        after = _with(snapshot, _arranged(snapshot, wanted=kind))
        queries = after.query_rows(lands.questions, Modality.TEXT)
        assert queries.shape[1] == DIMENSION + 4
        assert _recall(after, queries) >= RECALL_MIN - 0.03

    def test_one_modality_alone_is_asked_by_its_own(self, lands: TwoLands) -> None:
        """Until there is another one: with a few hundred of its items structures are out of date."""
        alone = replace(_snapshot(lands), segments={**_snapshot(lands).segments, Modality.TEXT: ()})
        found = _arranged(alone, wanted=Kind.IVF_SQ8)
        assert not found.report.is_cross_modal
        assert not is_outdated(found.trained, alone, Modality.IMAGE)
        both = _snapshot(lands)
        assert is_outdated(found.trained, both, Modality.IMAGE)
        assert not is_outdated(_arranged(both, wanted=Kind.IVF_SQ8).trained, both, Modality.IMAGE)

    def test_what_is_there_already_is_left_alone(self, lands: TwoLands) -> None:
        """A later segment gets a structure of the same lists; the others are swapped only for another effort."""
        snapshot = _snapshot(lands)
        first = _arranged(snapshot, wanted=Kind.IVF_SQ8)
        after = _with(snapshot, first)
        more = snapshot_of({Modality.IMAGE: [lands.images[:600]]}, collection=SETTINGS).segments[Modality.IMAGE]
        grown = replace(after, segments={**after.segments, Modality.IMAGE: (*after.segments[Modality.IMAGE], *more)})
        held = held_bytes(grown)
        terms = ArrangementTerms(
            wanted=None, recall_min=RECALL_MIN, segment_min_rows=500, held_bytes=held, limit_bytes=1 << 40, folder=None
        )
        second = arrange(grown, Modality.IMAGE, terms, known=first.trained)
        assert second.trained.coarse is first.trained.coarse
        final = _with(grown, second)
        structures = [
            part.segment.arranged.structure for part in final.segments[Modality.IMAGE] if part.segment.arranged
        ]
        before = [part.segment.arranged.structure for part in after.segments[Modality.IMAGE] if part.segment.arranged]
        assert structures[:2] == before
        assert len(structures) == 3

    def test_four_times_as_many_items_are_trained_anew(self, lands: TwoLands) -> None:
        """Lists that were placed among few items serve many badly."""
        snapshot = _snapshot(lands)
        few = train(Kind.IVF_SQ8, lands.images[:900], queries=lands.texts)
        held = held_bytes(snapshot)
        terms = ArrangementTerms(
            wanted=None, recall_min=RECALL_MIN, segment_min_rows=500, held_bytes=held, limit_bytes=1 << 40, folder=None
        )
        assert arrange(snapshot, Modality.IMAGE, terms, known=few).trained.rows == ROWS


def _structures(snapshot: Snapshot) -> list[Structure]:
    found = [part.segment.arranged for part in snapshot.segments[Modality.IMAGE]]
    return [arranged.structure for arranged in found if arranged is not None]


def _recall(snapshot: Snapshot, queries: NDArray[np.float32]) -> float:
    found = []
    for exact in (False, True):
        scores = [part.search(queries, 10, exact=exact)[0] for part in snapshot.segments[Modality.IMAGE]]
        found.append(-np.sort(-np.concatenate(scores, axis=1), axis=1)[:, :10])
    return float((found[0] >= found[1][:, -1:]).mean())
