"""The protocol over items: exact, through search, and that both agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.core import Modality, NotEnoughItemsError, ShapeError, SpacesMismatchError, canonical
from isthmus.core.aligners import CenterAligner, load_aligner
from isthmus.core.calibration import Calibration, CalibrationSource
from isthmus.evaluation import (
    Answer,
    Evaluation,
    ModalityItems,
    SearchTally,
    evaluate_retrieval,
    paired_rows,
)

SPACE = "clip@00112233445566aa"


def collection(
    photos: int = 80, captions: int = 3, *, unpaired: int = 10, noise: float = 0.8, seed: int = 1
) -> tuple[ModalityItems, ModalityItems]:
    """Make photos and captions, some of either without a partner."""
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(photos + unpaired, 16))
    owners = np.repeat(np.arange(photos), captions)
    lonely = rng.normal(size=(unpaired, 16))
    texts = np.concatenate([meaning[owners] + noise * rng.normal(size=(len(owners), 16)), lonely])
    images = ModalityItems(
        ids=[f"photo-{n}" for n in range(photos + unpaired)],
        pair_keys=[f"thing-{n}" if n < photos else "" for n in range(photos + unpaired)],
        vectors=canonical(meaning + noise * rng.normal(size=meaning.shape)),
    )
    items = ModalityItems(
        ids=[f"caption-{n}" for n in range(len(texts))],
        pair_keys=[f"thing-{owner}" for owner in owners] + [f"alone-{n}" for n in range(unpaired)],
        vectors=canonical(texts),
    )
    return images, items


def searched(images: ModalityItems, texts: ModalityItems, calibration: Calibration) -> SearchTally:
    """Answer every query by brute force, as a search service would, and tally the answers."""
    items = {Modality.IMAGE: images, Modality.TEXT: texts}
    tally = SearchTally(
        ids={modality: found.ids for modality, found in items.items()},
        pair_keys={modality: found.pair_keys for modality, found in items.items()},
    )
    for query in Modality:
        for query_id in tally.queries(query):
            vector = items[query].vectors[list(items[query].ids).index(query_id)]
            scores = {item: items[item].vectors @ vector for item in Modality}
            merged = [
                Answer(item_id, float(score), item)
                for item in Modality
                for item_id, score in zip(
                    items[item].ids,
                    calibration.merge_scores(scores[item], query=query, item=item),
                    strict=True,
                )
            ]
            other = query.other
            cross = [Answer(i, float(s), other) for i, s in zip(items[other].ids, scores[other], strict=True)]
            tally.add_cross(query_id, sorted(cross, key=lambda a: -a.score)[: tally.cross_top_k])
            tally.add_mixed(query_id, sorted(merged, key=lambda a: -a.score)[: tally.mixed_top_k])
    return tally


def test_lists_of_a_search_give_the_exact_figures() -> None:
    """An exact search, cut to the depths that the tally asks for, is judged exactly as the similarities are."""
    images, texts = collection()
    exact = evaluate_retrieval(images, texts, aligner=None)
    through = searched(images, texts, exact.calibration).report()
    assert through.to_dict()["recall"] == exact.report.to_dict()["recall"]
    for side, figures in through.to_dict()["mixed"].items():
        assert figures == pytest.approx(exact.report.to_dict()["mixed"][side])
    assert (through.pair_count, through.image_query_count, through.text_query_count) == (80, 80, 240)


def test_only_paired_items_are_queries_but_every_item_is_an_answer() -> None:
    """Lonely photos and captions ask nothing, and stand in the way like any other."""
    images, texts = collection(unpaired=0)
    alone = evaluate_retrieval(images, texts, aligner=None).report
    crowded_images, crowded_texts = collection(unpaired=60)
    crowded = evaluate_retrieval(crowded_images, crowded_texts, aligner=None).report
    assert (crowded.pair_count, crowded.image_query_count, crowded.text_query_count) == (80, 80, 240)
    assert crowded.t2i.r1 < alone.t2i.r1


def test_the_calibration_is_the_given_one_else_the_aligners_own_else_estimated() -> None:
    """A searcher chooses in the same order."""
    images, texts = collection()
    bare = CenterAligner.fit(images.vectors, texts.vectors, aligner_id="c", space=SPACE, created_by="a test")
    own = Calibration(source=CalibrationSource.FITTED, curves=Calibration.default().curves)
    calibrated = load_aligner(bare.with_findings(calibration=own, report={}))

    def source(found: Evaluation) -> CalibrationSource:
        return found.calibration.source

    assert source(evaluate_retrieval(images, texts, aligner=None)) is CalibrationSource.ESTIMATED
    assert source(evaluate_retrieval(images, texts, aligner=load_aligner(bare))) is CalibrationSource.ESTIMATED
    assert source(evaluate_retrieval(images, texts, aligner=calibrated)) is CalibrationSource.FITTED
    given = evaluate_retrieval(images, texts, aligner=calibrated, calibration=Calibration.default())
    assert source(given) is CalibrationSource.DEFAULT


def test_cross_modal_figures_ignore_the_calibration() -> None:
    """Whatever merges the modalities, recall between them is the same to the last bit."""
    images, texts = collection()
    plain = evaluate_retrieval(images, texts, aligner=None, calibration=Calibration.default())
    estimated = evaluate_retrieval(images, texts, aligner=None)
    assert plain.report.t2i == estimated.report.t2i
    assert plain.report.i2t == estimated.report.i2t


def test_an_evaluation_does_not_depend_on_the_order_of_items() -> None:
    """Reading the collection in another order finds the same figures and the same calibration."""
    images, texts = collection(photos=1_100, captions=1)
    order = np.random.default_rng(0).permutation(len(texts.ids))
    shuffled = ModalityItems(
        ids=[texts.ids[row] for row in order],
        pair_keys=[texts.pair_keys[row] for row in order],
        vectors=texts.vectors[order],
    )
    one, other = (evaluate_retrieval(images, part, aligner=None) for part in (texts, shuffled))
    assert one.report.t2i == other.report.t2i
    for pair, curve in one.calibration.curves.items():
        assert vars(other.calibration.curves[pair]) == pytest.approx(vars(curve), abs=1e-9)


def test_a_limit_judges_fewer_pairs_against_all_items() -> None:
    """Large collections are judged by a fixed choice of their pairs."""
    images, texts = collection()
    limited = evaluate_retrieval(images, texts, aligner=None, pair_limit=20).report
    assert (limited.pair_count, limited.image_query_count, limited.text_query_count) == (20, 20, 60)
    assert limited == evaluate_retrieval(images, texts, aligner=None, pair_limit=20).report


def test_a_collection_without_pairs_is_refused() -> None:
    """There is nothing to judge by."""
    images, texts = collection()
    with pytest.raises(NotEnoughItemsError, match="no key has items of both modalities"):
        evaluate_retrieval(replace(images, pair_keys=[""] * len(images.ids)), texts, aligner=None)


def test_two_raw_spaces_without_an_aligner_are_refused() -> None:
    """Vectors of different dimension are not compared."""
    images, texts = collection()
    with pytest.raises(SpacesMismatchError):
        evaluate_retrieval(images, replace(texts, vectors=texts.vectors[:, :8]), aligner=None)


def test_items_need_an_id_a_key_and_a_vector_each() -> None:
    """Lists of different length are a caller's mistake."""
    with pytest.raises(ShapeError):
        ModalityItems(ids=["a"], pair_keys=["k", "k"], vectors=np.ones((1, 2), np.float32))


def test_a_match_that_no_list_reaches_is_not_found() -> None:
    """A search that returns other things, or nothing, has recall 0 and raises nothing."""
    keys = {Modality.IMAGE: ["k", ""], Modality.TEXT: ["k"]}
    tally = SearchTally(ids={Modality.IMAGE: ["i", "j"], Modality.TEXT: ["t"]}, pair_keys=keys)
    tally.add_cross("t", [Answer("j", 0.9)])
    tally.add_mixed("t", [])
    tally.add_cross("i", [])
    tally.add_mixed("i", [Answer("unknown", 0.5, Modality.IMAGE)])
    report = tally.report()
    assert (report.t2i.r10, report.i2t.r10) == (0.0, 0.0)
    assert (report.mixed_text_query.ndcg10, report.mixed_image_query.r20) == (0.0, 0.0)
    assert report.mixed_image_query.own_share == 1.0


def test_the_query_itself_is_no_answer() -> None:
    """A search by a stored item finds that item first; it is left out."""
    keys = {Modality.IMAGE: ["k"], Modality.TEXT: ["k"]}
    tally = SearchTally(ids={Modality.IMAGE: ["i"], Modality.TEXT: ["t"]}, pair_keys=keys)
    tally.add_mixed("t", [Answer("t", 1.0), Answer("i", 0.2)])
    assert tally.report().mixed_text_query.r1 == 1.0
    assert tally.report().mixed_text_query.own_share == 0.0


def test_mixed_lists_are_long_enough_for_siblings() -> None:
    """With 40 captions a photo, 40 more answers are asked for."""
    images, texts = collection(photos=3, captions=40, unpaired=0)
    tally = SearchTally(
        ids={Modality.IMAGE: images.ids, Modality.TEXT: texts.ids},
        pair_keys={Modality.IMAGE: images.pair_keys, Modality.TEXT: texts.pair_keys},
    )
    assert tally.mixed_top_k == 20 + 10 + 40


def test_the_choice_of_pairs_depends_on_keys_alone() -> None:
    """Two evaluations of one collection, read in any order, judge the same pairs."""
    keys = [f"k{n}" for n in range(50)]
    one = paired_rows({Modality.IMAGE: keys, Modality.TEXT: keys}, pair_limit=10)
    other = paired_rows({Modality.IMAGE: keys[::-1], Modality.TEXT: keys}, pair_limit=10)
    chosen = {keys[row] for row in one.rows[Modality.IMAGE]}
    assert chosen == {keys[::-1][row] for row in other.rows[Modality.IMAGE]}
    assert len(chosen) == 10
