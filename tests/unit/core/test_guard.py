"""The guard: what passes, what is refused and why, and when the pairs are too few to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core import CoreError, Modality, NotEnoughItemsError, ShapeError, SpacesMismatchError, canonical
from isthmus.core.aligners import FitOptions, Label, fit_artefact, load_aligner
from isthmus.core.calibration import Calibration, estimate_calibration
from isthmus.core.errors import LeakError, OptionError
from isthmus.core.gap import Corpus
from isthmus.core.guard import GuardCheck, GuardLimits, GuardVerdict, judge_guard
from isthmus.core.held_out import ServedRows, judge_queries, summarise
from isthmus.core.metrics import cross_modal_recall, mixed_retrieval
from isthmus.core.recipe import RawPairs, fit_and_judge, fit_calibrated, verify_artefact
from tests.unit.core.conftest import SPACE, Pairs

MakePairs = Callable[..., Pairs]
OTHER_SPACE = "minilm@ffeeddccbbaa9988"
LABEL = Label(aligner_id="a", created_by="a test")


def raw_pairs(made: Pairs, *, text_space: str = SPACE) -> RawPairs:
    """Return pairs as a recipe takes them."""
    return RawPairs(
        images=made.images,
        texts=made.texts,
        image_keys=made.image_keys,
        text_keys=made.text_keys,
        image_space=SPACE,
        text_space=text_space,
    )


def served(
    vectors: dict[Modality, NDArray[np.float32]], corpus: Corpus, calibration: Calibration | None = None
) -> ServedRows:
    """Serve aligned rows as they are."""
    return ServedRows(
        queries=vectors, items=vectors, codes=corpus.codes, calibration=calibration or Calibration.default()
    )


def corpus_of(pairs: Pairs) -> Corpus:
    """Return the pairs as the bootstrap takes them."""
    return Corpus.of(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)


def verdict(
    pairs: Pairs,
    after: dict[Modality, NDArray[np.float32]],
    *,
    before: dict[Modality, NDArray[np.float32]] | None = None,
    limits: GuardLimits | None = None,
) -> GuardVerdict:
    """Judge a change of vectors, merged by plain cosine."""
    corpus = corpus_of(pairs)
    unchanged = judge_queries(served(before or pairs.vectors, corpus))
    return judge_guard(unchanged, judge_queries(served(after, corpus)), corpus=corpus, limits=limits)


def centred(pairs: Pairs) -> dict[Modality, NDArray[np.float32]]:
    """Close the gap without any loss."""
    return {modality: canonical(rows - rows.mean(axis=0)) for modality, rows in pairs.vectors.items()}


def test_figures_are_those_of_the_retrieval_protocol(make_pairs: MakePairs) -> None:
    """Second route: the protocol's own functions give the same recall, nDCG and share."""
    pairs = make_pairs(count=120)
    corpus = corpus_of(pairs)
    calibration = estimate_calibration(
        pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys
    )
    found = summarise(judge_queries(served(pairs.vectors, corpus, calibration)), pair_count=120)
    for query, direction in ((Modality.IMAGE, "i2t"), (Modality.TEXT, "t2i")):
        cross = cross_modal_recall(
            pairs.vectors[query],
            pairs.vectors[query.other],
            query_codes=corpus.codes[query],
            item_codes=corpus.codes[query.other],
        )
        assert found["recall"][direction] == pytest.approx(vars(cross), abs=1e-9)
        mixed = mixed_retrieval(
            np.arange(len(pairs.vectors[query])),
            query=query,
            vectors=pairs.vectors,
            codes=corpus.codes,
            calibration=calibration,
        )
        assert found["mixed"][f"{query}_query"] == pytest.approx(vars(mixed), abs=1e-9)


def test_a_harmless_gain_passes(make_pairs: MakePairs) -> None:
    """Centring mixes the modalities and costs nothing here: every check keeps its limit."""
    pairs = make_pairs(count=300)
    found = verdict(pairs, centred(pairs))
    assert found.ok
    assert found.reasons == ()
    assert found.pairs_needed is None
    assert {check.name for check in found.checks if not check.passed} == set()


def test_no_change_is_refused(make_pairs: MakePairs) -> None:
    """An aligner must buy something."""
    pairs = make_pairs(count=100)
    found = verdict(pairs, pairs.vectors)
    assert not found.ok
    assert found.reasons[0].startswith("nDCG@10 over both modalities: +0.000 [+0.000, +0.000], must be above +0.000")
    assert found.pairs_needed is None


def test_a_loss_of_cross_modal_recall_is_refused_with_its_figures(make_pairs: MakePairs) -> None:
    """Noise on the images: the reasons name the recall, its interval and the limit."""
    pairs = make_pairs(count=300)
    noisy = centred(pairs)
    noise = np.random.default_rng(0).normal(size=noisy[Modality.IMAGE].shape)
    noisy[Modality.IMAGE] = canonical(noisy[Modality.IMAGE] + 0.3 * noise)
    found = verdict(pairs, noisy)
    assert not found.ok
    assert any(reason.startswith("cross-modal R@1, image queries: -0.") for reason in found.reasons)
    assert any("must be at least -0.020" in reason for reason in found.reasons)


def test_lost_neighbours_are_refused(make_pairs: MakePairs) -> None:
    """A map that keeps every pair and forgets who else is near is not an improvement."""
    pairs = make_pairs(count=200, captions=1)
    place = canonical(np.random.default_rng(0).normal(size=(200, 24)))
    found = verdict(pairs, {Modality.IMAGE: place, Modality.TEXT: place})
    assert any(reason.startswith("image neighbours kept") for reason in found.reasons)


def test_growing_hubness_is_refused(make_pairs: MakePairs) -> None:
    """Ten images that answer every text make hubs, whatever else they do."""
    pairs = make_pairs(count=200, captions=1)
    hubs = centred(pairs)
    hubs[Modality.IMAGE] = hubs[Modality.IMAGE].copy()
    hubs[Modality.IMAGE][:10] *= 3.0
    found = verdict(pairs, hubs, before=centred(pairs))
    growth = next(check for check in found.checks if check.name == "hubness growth")
    assert growth.value > 0.05
    assert not growth.passed


def test_too_few_pairs_are_refused_with_the_number_needed(make_pairs: MakePairs) -> None:
    """The figures look well and their intervals are wide: refused, and twice as many pairs as it says do suffice."""
    whole = make_pairs(count=2_000, captions=1, noise=0.9)
    limits = GuardLimits(epsilon=0.05, structure_least=0.3)
    few = Pairs(whole.images[:20], whole.texts[:20], whole.image_keys[:20], whole.text_keys[:20])
    found = verdict(few, centred(few), limits=limits)
    assert not found.ok
    assert found.pairs_needed is not None
    assert 20 < found.pairs_needed < 200  # 40 measured
    assert found.reasons[-1] == f"too few pairs to tell: 20 held out, about {found.pairs_needed} would"
    enough = slice(0, 2 * found.pairs_needed)
    more = Pairs(whole.images[enough], whole.texts[enough], whole.image_keys[enough], whole.text_keys[enough])
    assert verdict(more, centred(more), limits=limits).ok


@pytest.mark.parametrize(
    ("value", "low", "limit", "needed"),
    [(0.52, 0.49, 0.5, 440), (-0.015, -0.033, -0.02, 2_510), (-0.015, -0.055, -0.02, 780)],
    ids=["a share that is kept", "a fall that is nearly too large", "a fall that no change would pardon"],
)
def test_more_pairs_are_asked_for_than_there_were(value: float, low: float, limit: float, needed: int) -> None:
    """193 pairs that could not tell are never said to be enough."""
    check = GuardCheck(name="text neighbours kept", value=value, low=low, high=1.0, limit=limit)
    assert check.undecided
    assert check.pairs_needed(193) == needed > 193


def test_limits_are_shares() -> None:
    """A limit outside [0, 1] is a slip."""
    with pytest.raises(OptionError, match="guard: every limit"):
        GuardLimits(epsilon=2.0)


def test_a_recipe_fits_calibrates_and_judges_on_different_pairs(make_pairs: MakePairs) -> None:
    """500 pairs: a fifth is judged, a quarter of the others calibrates, the rest is fitted on; the artefact says so."""
    pairs = raw_pairs(make_pairs(count=500))
    artefact, found = fit_and_judge("center", pairs, label=LABEL)
    learned, judged = pairs.split()
    assert len(learned.paired_keys) + len(judged.paired_keys) == 500
    assert len(judged.paired_keys) == found.guard.pair_count == pytest.approx(100, abs=25)
    assert artefact.manifest.pair_count == pytest.approx(300, abs=30)
    assert artefact.manifest.calibration is not None
    assert artefact.manifest.report["recall"] == found.after["recall"]
    assert artefact.manifest.report["guard"] == found.guard.to_dict()
    assert found.guard.ok
    assert found.ece is not None
    assert 0.0 < found.ece < 0.1  # .03 measured
    assert verify_artefact(artefact, judged, learned=learned).guard == found.guard


def test_two_raw_spaces_are_judged_against_no_answers(make_pairs: MakePairs) -> None:
    """Before an aligner joins them a query sees its own modality only."""
    made = make_pairs(count=400)
    turn = np.random.default_rng(3).normal(size=(24, 18))
    pairs = replace(raw_pairs(made, text_space=OTHER_SPACE), texts=canonical(made.texts @ turn))
    _, found = fit_and_judge("cca", pairs, label=LABEL, options=FitOptions(hubness=True))
    assert found.before["recall"]["t2i"]["r10"] == 0.0
    assert found.before["mixed"]["text_query"]["own_share"] == 1.0
    assert found.after["recall"]["t2i"]["r10"] > 0.5


def test_without_enough_pairs_to_calibrate_it_is_estimated(make_pairs: MakePairs) -> None:
    """Below 64 pairs there is no probability, so no calibration error either."""
    pairs = raw_pairs(make_pairs(count=100, captions=1))
    learned, judged = pairs.with_keys(set(pairs.paired_keys[:60])), pairs.with_keys(set(pairs.paired_keys[60:]))
    found = verify_artefact(fit_calibrated("center", learned, label=LABEL), judged, learned=learned)
    assert found.ece is None
    assert found.to_dict()["calibration"]["ece"] is None


def test_what_a_recipe_refuses(make_pairs: MakePairs) -> None:
    """A photo on both sides, foreign spaces, too few pairs, keys that do not fit: each a typed error."""
    made = make_pairs(count=200, captions=1)
    pairs = raw_pairs(made)
    learned, judged = pairs.split()
    artefact = fit_calibrated("center", learned, label=LABEL)
    doubled = made.images.copy()
    doubled[pairs.image_keys.index(judged.paired_keys[0])] = doubled[pairs.image_keys.index(learned.paired_keys[0])]
    with pytest.raises(LeakError, match="one pair_key"):
        replace(pairs, images=doubled).split()
    with pytest.raises(SpacesMismatchError, match="not of the raw spaces"):
        verify_artefact(artefact, replace(judged, text_space=OTHER_SPACE))
    with pytest.raises(NotEnoughItemsError):
        raw_pairs(make_pairs(count=1)).split()
    with pytest.raises(NotEnoughItemsError, match="at least 16"):
        verify_artefact(artefact, judged.with_keys(set(judged.paired_keys[:9])))
    with pytest.raises(ShapeError, match="pair_key"):
        replace(pairs, text_keys=pairs.text_keys[1:])
    with pytest.raises(CoreError):
        fit_calibrated("heads", learned, label=LABEL)


def test_a_hubness_correction_is_served_while_it_is_judged(make_pairs: MakePairs) -> None:
    """Recall is that of item rows and query rows, offsets and all."""
    pairs = raw_pairs(make_pairs(count=300, captions=1, noise=1.2))
    learned, judged = pairs.split()
    artefact = fit_artefact("center", learned.fit_pairs(), label=LABEL, options=FitOptions(hubness=True))
    aligner = load_aligner(artefact)
    scores = aligner.query_rows(judged.texts, Modality.TEXT) @ aligner.item_rows(judged.images, Modality.IMAGE).T
    found = verify_artefact(artefact, judged, learned=learned)
    best = float((scores.argmax(axis=1) == np.arange(len(scores))).mean())
    assert found.after["recall"]["t2i"]["r1"] == pytest.approx(best)
