"""Every kind of structure against brute force: recall, scores, filters, depth, memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core.checkpoint import checked
from isthmus.index import flat
from isthmus.index.structures import (
    DEPTH_MAX_COUNT,
    Arranged,
    Coarse,
    Effort,
    Kind,
    Part,
    build,
    estimated_bytes,
    recall_of,
    searching,
    train,
    truth_of,
    tuned,
)
from tests.unit.index.structures.two_lands import TwoLands, two_lands

ROWS = 6_000
RECALL_MIN = 0.95


@pytest.fixture(scope="module")
def lands() -> TwoLands:
    """Vectors of two modalities."""
    return two_lands(images=ROWS)


@pytest.fixture(scope="module")
def arranged(lands: TwoLands) -> dict[Kind, Arranged]:
    """Every kind, tuned to RECALL_MIN on texts that ask for images."""
    found = {}
    for kind in Kind:
        structure = build(kind, lands.images, queries=lands.texts, list_count=64)
        part = Part(lands.images, Arranged(structure, Effort()))
        found[kind] = Arranged(structure, tuned([part], lands.texts[:200], recall_min=RECALL_MIN).effort)
    return found


@pytest.fixture
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let structures be asked as if the segment were large: of 6,000 rows, scoring what a filter leaves is quicker."""
    monkeypatch.setattr(searching, "_CALL_WORK", 0.0)
    monkeypatch.setattr(searching, "_RESCORED_WORK", 1.0)


def _brute(
    lands: TwoLands, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None = None
) -> flat.Found:
    scores = queries @ lands.images.T
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, rows, axis=1), rows


def _recall(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    return float(np.mean([len(set(one) & set(other)) / len(other) for one, other in zip(found, true, strict=True)]))


def _asked(arranged: Arranged, part: Part, queries: NDArray[np.float32], count: int) -> flat.Found:
    return Part(part.vectors, arranged, part.live).search(queries, count)


@pytest.mark.parametrize("kind", list(Kind))
class TestEveryKind:
    """`Arranged.search` and what it falls back to."""

    def test_recall_is_as_tuned_on_queries_it_never_saw(
        self, kind: Kind, lands: TwoLands, arranged: dict[Kind, Arranged]
    ) -> None:
        """Texts that ask for images, and images that do: at least .95 of the ten best; .965 to 1 is measured."""
        part = Part(lands.images)
        for queries in (lands.questions, lands.looks):
            _, rows = _asked(arranged[kind], part, queries, 10)
            assert _recall(rows, _brute(lands, queries, 10)[1]) >= RECALL_MIN - 0.02

    def test_scores_are_exact(self, kind: Kind, lands: TwoLands, arranged: dict[Kind, Arranged]) -> None:
        """Codes choose, vectors score: to the last bit as a search of all vectors scores the same rows."""
        scores, rows = _asked(arranged[kind], Part(lands.images), lands.questions, 10)
        np.testing.assert_array_equal(scores, flat.inner_products(lands.questions, lands.images, rows))
        assert (np.diff(scores, axis=1) <= 0).all()

    @pytest.mark.usefixtures("sooner")
    @pytest.mark.parametrize("share", [0.95, 0.5, 0.01, 0.001])
    @pytest.mark.parametrize("batch", [1, 40])
    def test_filters_keep_recall(
        self, kind: Kind, share: float, batch: int, lands: TwoLands, arranged: dict[Kind, Arranged]
    ) -> None:
        """Most of the rows, half, a hundredth, six: as many answers as are wanted or left, .95 of them true."""
        allowed = np.random.default_rng(1).random(ROWS) < share
        queries = lands.questions[:batch] if batch > 1 else lands.questions[:40]
        found = [
            _asked(arranged[kind], Part(lands.images, live=allowed), queries[start : start + batch], 10)[1]
            for start in range(0, len(queries), batch)
        ]
        rows = np.concatenate(found)
        assert rows.shape == (len(queries), min(10, int(allowed.sum())))
        assert allowed[rows].all()
        assert _recall(rows, _brute(lands, queries, rows.shape[1], allowed)[1]) >= RECALL_MIN - 0.02

    @pytest.mark.usefixtures("sooner")
    @pytest.mark.parametrize("away", ["from it", "another"])
    def test_a_filter_on_what_is_asked_for_keeps_recall(
        self, kind: Kind, away: str, lands: TwoLands, arranged: dict[Kind, Arranged]
    ) -> None:
        """The half that is least like the query, or the third that is most like another one, which may be near or far.

        Recall .95 or more is measured.
        """
        found = []
        for query, other in zip(lands.questions[:40], lands.questions[40:80], strict=True):
            scores = lands.images @ query
            allowed = scores < np.median(scores)
            if away == "another":
                scores = lands.images @ other
                allowed = scores > np.quantile(scores, 2 / 3)
            _, rows = _asked(arranged[kind], Part(lands.images, live=allowed), query[None], 10)
            assert rows.shape == (1, 10)
            assert allowed[rows].all()
            found.append(_recall(rows, _brute(lands, query[None], 10, allowed)[1]))
        assert np.mean(found) >= 0.9

    @pytest.mark.parametrize("count", [1, 10, 64, 65, 200, 1_000, DEPTH_MAX_COUNT + 1, ROWS])
    def test_as_many_answers_as_are_wanted(
        self, kind: Kind, count: int, lands: TwoLands, arranged: dict[Kind, Arranged]
    ) -> None:
        """Where candidates are too few all vectors are asked; beyond a depth always. Recall holds at every depth."""
        queries = lands.questions[:8]
        scores, rows = _asked(arranged[kind], Part(lands.images), queries, count)
        assert rows.shape == (8, count)
        assert (rows >= 0).all()
        assert np.isfinite(scores).all()
        assert _recall(rows, _brute(lands, queries, count)[1]) >= RECALL_MIN - 0.05
        assert all(len(set(row)) == count for row in rows.tolist())

    def test_fewer_answers_are_the_first_of_more(
        self, kind: Kind, lands: TwoLands, arranged: dict[Kind, Arranged]
    ) -> None:
        """Pages of one search fit together: up to 64 answers come from the same candidates."""
        _, deep = _asked(arranged[kind], Part(lands.images), lands.questions, 64)
        for count in (1, 10, 33):
            _, rows = _asked(arranged[kind], Part(lands.images), lands.questions, count)
            np.testing.assert_array_equal(rows, deep[:, :count])

    def test_bytes_are_as_estimated(self, kind: Kind, lands: TwoLands, arranged: dict[Kind, Arranged]) -> None:
        """A budget is kept by an estimate before anything is built: within a twentieth of what it then takes."""
        estimate = estimated_bytes(kind, *lands.images.shape)
        assert abs(arranged[kind].structure.nbytes - estimate) <= 0.05 * estimate

    @pytest.mark.parametrize("rows", [1, 2, 9])
    def test_a_handful_of_vectors_is_enough(self, kind: Kind, rows: int, lands: TwoLands) -> None:
        """Nothing fails for want of vectors to train on."""
        few = lands.images[:rows]
        structure = build(kind, few, queries=lands.texts[:1])
        _, found = Part(few, Arranged(structure, Effort(64))).search(lands.questions[:2], 1)
        np.testing.assert_array_equal(found, _brute(TwoLands(few, few, few, few), lands.questions[:2], 1)[1])

    def test_segments_share_what_was_trained(self, kind: Kind, lands: TwoLands, arranged: dict[Kind, Arranged]) -> None:
        """Rows that come later are put into the same lists; all parts together keep the recall."""
        trained = train(kind, lands.images[:3_000], queries=lands.texts, rows=ROWS, list_count=64)
        parts = [
            Part(part, Arranged(trained.build(part), arranged[kind].effort))
            for part in (lands.images[:3_000], lands.images[3_000:5_000], lands.images[5_000:])
        ]
        assert recall_of(parts, lands.questions, truth_of([Part(lands.images)], lands.questions)) >= RECALL_MIN - 0.03


@pytest.mark.parametrize("kind", [Kind.IVF_SQ8, Kind.IVF_PQ, Kind.HNSW])
@pytest.mark.parametrize("step", [0, 3])
def test_what_takes_long_to_build_can_be_given_up(kind: Kind, step: int, lands: TwoLands) -> None:
    """A searcher that ends, or whose aligner is another by now, does not wait for it."""
    passed = itertools.count()

    def give_up() -> None:
        if next(passed) == step:
            raise KeyboardInterrupt

    with checked(give_up), pytest.raises(KeyboardInterrupt):
        build(kind, lands.images[:2_500], list_count=8)


class TestGapAware:
    """Lists that know what the other modality asks."""

    def test_routes_learned_from_both_modalities_find_more_across_the_gap(self) -> None:
        """Equal bytes of codes, equal lists, equal probes; texts ask for images.

        Recall@10 at 1, 2, 4 and 8 of 128 lists: .46, .66, .81, .93 from images alone, .52, .72, .87, .96 from both.
        """
        found: dict[str, list[list[float]]] = {"images": [], "both": []}
        for seed in range(3):
            lands = two_lands(images=12_000, seed=seed)
            truth = truth_of([Part(lands.images)], lands.questions)
            for name, queries in (("images", None), ("both", lands.texts)):
                structure = build(Kind.IVF_SQ8, lands.images, queries=queries, list_count=128)
                found[name].append(
                    [
                        recall_of([Part(lands.images, Arranged(structure, Effort(probes)))], lands.questions, truth)
                        for probes in (1, 2, 4, 8)
                    ]
                )
        images, both = (np.mean(found[name], axis=0) for name in ("images", "both"))
        assert (both >= images + 0.02).all()

    def test_lists_for_both_modalities_would_be_empty_where_texts_look(self, lands: TwoLands) -> None:
        """Why k-means sees the vectors alone: centroids of the mixture lose nearly everything across the gap."""
        mixed = Coarse.train(np.concatenate([lands.images[:3_000], lands.texts]), list_count=64)
        alone = Coarse.train(lands.images[:3_000], list_count=64)
        hit = {}
        for name, coarse in (("mixed", mixed), ("alone", alone)):
            lists = coarse.assign(lands.images)
            true = _brute(lands, lands.questions, 10)[1]
            looked = coarse.probe(lands.questions, 4)
            hit[name] = float((lists[true][:, :, None] == looked[:, None, :]).any(axis=2).mean())
        assert hit["mixed"] < 0.2  # 0
        assert hit["alone"] > 0.8  # .88
