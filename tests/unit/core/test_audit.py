"""Mixed-up pairs come first, whichever side is wrong, with probabilities that hold; nothing was fitted beforehand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from isthmus.core import NotEnoughItemsError, ShapeError, canonical
from isthmus.core.calibration import reliability
from isthmus.core.checkpoint import checked
from isthmus.core.matching import AUDIT_PAIRS_MIN, PairAudit, audit_pairs
from isthmus.core.matching import audit as audit_module
from tests.unit.core.conftest import Pairs

COUNT, CAPTIONS = 300, 3


@pytest.fixture(scope="module")
def corpus() -> Pairs:
    """300 images with three texts each in a space without a gap, noisy on both sides."""
    rng = np.random.default_rng(11)
    meaning = rng.normal(size=(COUNT, 16))
    owners = np.repeat(np.arange(COUNT), CAPTIONS)
    images = meaning + 0.7 * rng.normal(size=meaning.shape)
    texts = meaning[owners] + 0.7 * rng.normal(size=(len(owners), 16))
    keys = [f"thing-{number}" for number in range(COUNT)]
    return Pairs(canonical(images), canonical(texts), keys, [keys[owner] for owner in owners])


def rolled(keys: list[str], share: float, *, seed: int) -> tuple[list[str], NDArray[np.bool_]]:
    """Give a share of the items the pair key of another one of them; also say which."""
    chosen = np.random.default_rng(seed).choice(len(keys), round(share * len(keys)), replace=False)
    chosen = chosen[np.argsort([keys[row] for row in chosen], kind="stable")]
    mixed = list(keys)
    for row, source in zip(chosen, np.roll(chosen, len(chosen) // 2), strict=True):
        mixed[row] = keys[source]
    return mixed, np.array([a != b for a, b in zip(keys, mixed, strict=True)])


def audited(corpus: Pairs, *, image_keys: list[str] | None = None, text_keys: list[str] | None = None) -> PairAudit:
    """Audit the corpus under other keys."""
    return audit_pairs(
        corpus.images,
        corpus.texts,
        image_keys=image_keys or corpus.image_keys,
        text_keys=text_keys or corpus.text_keys,
    )


def precision(found: PairAudit, wrong: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the average precision of the audit, and that of the plain cosine."""
    return (
        float(average_precision_score(wrong, -found.log_odds)),
        float(average_precision_score(wrong, -found.cosines)),
    )


def test_swapped_texts_come_first(corpus: Pairs) -> None:
    """A tenth of the captions moved: average precision .944 against .886 of the plain cosine."""
    text_keys, moved = rolled(corpus.text_keys, 0.1, seed=1)
    found = audited(corpus, text_keys=text_keys)
    ours, plain = precision(found, moved[found.text_rows])
    assert ours >= 0.93
    assert ours >= plain + 0.04
    assert (np.diff(found.log_odds) >= 0.0).all()


def test_swapped_images_come_first(corpus: Pairs) -> None:
    """Their captions agree with one another, and all say the same of the photo: .994 against .960."""
    image_keys, moved = rolled(corpus.image_keys, 0.1, seed=2)
    found = audited(corpus, image_keys=image_keys)
    ours, plain = precision(found, moved[found.image_rows])
    assert ours >= 0.98
    assert ours >= plain + 0.02


def test_one_text_an_image_is_enough(corpus: Pairs) -> None:
    """Without siblings a pair has its two margins; better than the plain cosine, .950 against .941."""
    alone = Pairs(corpus.images, corpus.texts[::CAPTIONS], corpus.image_keys, corpus.text_keys[::CAPTIONS])
    text_keys, moved = rolled(alone.text_keys, 0.1, seed=3)
    found = audited(alone, text_keys=text_keys)
    ours, plain = precision(found, moved[found.text_rows])
    assert len(found.text_rows) == COUNT
    assert ours > plain
    assert abs(found.wrong_share - 0.1) <= 0.05


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_probabilities_hold_and_tell_how_much_is_wrong(corpus: Pairs, share: float) -> None:
    """Told .001, .100 and .267 of 0, .1 and .3; calibration error .001, .006 and .037 without a single label."""
    text_keys, moved = rolled(corpus.text_keys, share, seed=4)
    found = audited(corpus, text_keys=text_keys)
    wrong = moved[found.text_rows]
    assert abs(found.wrong_share - wrong.mean()) <= 0.05
    assert reliability(found.probabilities, ~wrong).ece <= 0.05


def test_every_pair_is_listed_once_with_its_rivals(corpus: Pairs) -> None:
    """Second route: loops. Items without a key, or alone under theirs, are in no pair but may be rivals."""
    image_keys = ["", "", *corpus.image_keys[2:]]
    text_keys = [*corpus.text_keys[:-1], "nobody"]
    # Two images of one thing make two pairs of each of its texts.
    image_keys[5] = image_keys[6]
    found = audited(corpus, image_keys=image_keys, text_keys=text_keys)
    wanted = {(i, t) for i, a in enumerate(image_keys) for t, b in enumerate(text_keys) if a == b and a != ""}
    assert {*zip(found.image_rows.tolist(), found.text_rows.tolist(), strict=True)} == wanted
    assert len(found.image_rows) == len(wanted)
    cosines = corpus.images @ corpus.texts.T
    for place in (0, 17, len(wanted) - 1):
        image, text = int(found.image_rows[place]), int(found.text_rows[place])
        assert found.cosines[place] == pytest.approx(cosines[image, text], abs=1e-6)
        other_images = [i for i, key in enumerate(image_keys) if key != text_keys[text]]
        other_texts = [t for t, key in enumerate(text_keys) if key != image_keys[image]]
        assert found.nearest_images[place] == max(other_images, key=lambda i: cosines[i, text])
        assert found.nearest_texts[place] == max(other_texts, key=lambda t: cosines[image, t])


def test_blocks_do_not_change_the_answer(corpus: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded memory is exact: blocks of 1,000 cosines give what one block gives, and each asks whether to go on."""
    whole = audited(corpus)
    monkeypatch.setattr(audit_module, "_BLOCK_SCORES", 1_000)
    asked: list[None] = []
    with checked(lambda: asked.append(None)):
        parts = audited(corpus)
    assert np.array_equal(np.sort(whole.text_rows), np.sort(parts.text_rows))
    whole_odds, part_odds = (found.log_odds[np.argsort(found.text_rows)] for found in (whole, parts))
    assert np.allclose(whole_odds, part_odds, atol=1e-3)
    assert len(asked) > COUNT


def test_what_cannot_be_audited_is_refused(
    corpus: Pairs, make_pairs: Callable[..., Pairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pair key less than the least is refused, the least is not; so are keys, spaces and sizes amiss."""
    few = make_pairs(count=AUDIT_PAIRS_MIN, captions=2)
    assert len(audited(few).text_rows) == 2 * AUDIT_PAIRS_MIN
    with pytest.raises(NotEnoughItemsError, match=f"{AUDIT_PAIRS_MIN - 1} pair keys"):
        audited(few, image_keys=["", *few.image_keys[1:]])
    with pytest.raises(ShapeError, match="one for each"):
        audited(corpus, image_keys=corpus.image_keys[1:])
    with pytest.raises(ShapeError, match="one space"):
        audit_pairs(corpus.images[:, :8], corpus.texts, image_keys=corpus.image_keys, text_keys=corpus.text_keys)
    monkeypatch.setattr(audit_module, "AUDIT_PAIRS_MAX", COUNT * CAPTIONS - 1)
    with pytest.raises(ShapeError, match="at most"):
        audited(corpus)
