"""Which pairs of a collection belong together least: found from the collection itself, exactly, in bounded memory.

A cosine by itself is a poor witness: some captions are near to everything. What gives a mixed-up item away is that it
fits elsewhere better than where it was put. For a text y under a pair key with images X and other texts Y

    e(y) = 2 s(y, X) - r_text(X) - r_image(y) + s(y, Y) - r_text(y)

where s is the mean cosine to a set, and r_m the mean cosine to the ten nearest items of modality m that are of other
pair keys, of X its mean: the margin of CSLS (Conneau et al. 2018, eq. 5) to the other modality, and the same margin
inside the modality, which is left out where there are no other texts. For an image x likewise with the modalities
exchanged. So a wrong caption is told from its siblings, and a wrong photo by all its captions together.

What that evidence says follows without any labels. Items put in the place of another one chosen at random show the
evidence of wrong ones, f0. What the collection shows is a mixture f = w f0 + (1 - w) f1, w from the share of items
below the median of f0 (Storey 2002), f1 / f0 from a logistic regression whose positive examples, the items as they are,
count by their probability of being right (expectation maximisation, five rounds). A pair is wrong if its text or its
image is:

    odds of being wrong = w_text / (1 - w_text) f0 / f1 (e(y)) + w_image / (1 - w_image) f0 / f1 (e(x))

and the second term is left out where one image and one text are all there is under a key, for there both say the same.
All of it is a reconstruction for paired embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.keys import key_codes
from isthmus.core.modality import Modality

__all__ = ["AUDIT_NEIGHBOURS", "AUDIT_PAIRS_MAX", "AUDIT_PAIRS_MIN", "PairAudit", "audit_pairs"]

AUDIT_NEIGHBOURS: Final = 10
"""Nearest strangers that a margin is taken over."""
AUDIT_PAIRS_MAX: Final = 2_000_000
"""Pairs of one audit."""
AUDIT_PAIRS_MIN: Final = 32
"""Pair keys with items of both modalities, below which nothing is told."""

_BLOCK_SCORES: Final = 1 << 22
"""Cosines held at once."""
_PLANTED_MAX: Final = 20_000
_ROUNDS: Final = 5
_WRONG_MIN: Final = 0.001
"""Share of wrong items that is reckoned with at least: even a clean collection has a worst pair."""
_WRONG_MAX: Final = 0.9
_SLOPE_MIN: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class PairAudit:
    """Every pair of an image and a text of one pair key, worst first."""

    image_rows: NDArray[np.intp]
    """(n,) rows of `images`."""
    text_rows: NDArray[np.intp]
    """(n,) rows of `texts`."""
    log_odds: NDArray[np.float64]
    """(n,) ascending, of belonging together."""
    cosines: NDArray[np.float32]
    """(n,) of the pairs."""
    nearest_images: NDArray[np.intp]
    """(n,) the image of another pair key that the pair's text is nearest to, -1 for none."""
    nearest_texts: NDArray[np.intp]
    """(n,) the text of another pair key that the pair's image is nearest to, -1 for none."""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Return (n,) ascending probabilities of belonging together."""
        return np.exp(-np.logaddexp(0.0, -self.log_odds))

    @property
    def wrong_share(self) -> float:
        """Return the expected share of pairs that do not belong together."""
        return float(np.exp(-np.logaddexp(0.0, self.log_odds)).mean())


def audit_pairs(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    *,
    image_keys: Sequence[str | None],
    text_keys: Sequence[str | None],
    seed: int = 0,
) -> PairAudit:
    """Order the pairs of equal pair keys by how little speaks for them.

    Args:
        images: (n, k) float32 unit rows in the space of `texts`.
        texts: (m, k) float32 unit rows.
        image_keys: n pair keys; None or empty where an image has none: it is a stranger to all.
        text_keys: m pair keys.
        seed: Of the planted items, at least 0.

    Raises:
        ShapeError: Lengths or dimensions do not agree, or there are more than 2,000,000 pairs.
        NotEnoughItemsError: Fewer than 32 pair keys have items of both modalities.
    """
    if (len(images), len(texts)) != (len(image_keys), len(text_keys)):
        msg = "pair_keys: need one for each vector"
        raise ShapeError(msg)
    codes = dict(zip(Modality, key_codes(image_keys, text_keys), strict=True))
    rows = {Modality.IMAGE: images, Modality.TEXT: texts}
    shared = np.intersect1d(codes[Modality.IMAGE], codes[Modality.TEXT])
    if len(shared) < AUDIT_PAIRS_MIN:
        msg = f"pairs: {len(shared)} pair keys with an image and a text, at least {AUDIT_PAIRS_MIN} to audit"
        raise NotEnoughItemsError(msg)
    if images.shape[1] != texts.shape[1]:
        msg = f"vectors: images of dimension {images.shape[1]} and texts of {texts.shape[1]} are not of one space"
        raise ShapeError(msg)
    image_rows, text_rows = _pairs(codes[Modality.IMAGE], codes[Modality.TEXT])
    reach = {
        (near, far): _reach(rows[near], rows[far], codes[near], codes[far], same=near is far)
        for near in Modality
        for far in Modality
    }
    keys = _Keys.of(rows, codes, reach=reach, count=1 + max(int(found.max(initial=-1)) for found in codes.values()))
    rng = np.random.default_rng(seed)
    wrong = {modality: _wrong_log_odds(keys, modality, shared=shared, rng=rng) for modality in Modality}
    by_text, by_image = wrong[Modality.TEXT][text_rows], wrong[Modality.IMAGE][image_rows]
    both = codes[Modality.TEXT][text_rows]
    alone = (keys.counts[Modality.IMAGE][both] == 1) & (keys.counts[Modality.TEXT][both] == 1)
    log_odds = -np.where(alone, by_text, np.logaddexp(by_text, by_image))
    order = np.lexsort((text_rows, image_rows, log_odds))
    image_rows, text_rows = image_rows[order], text_rows[order]
    return PairAudit(
        image_rows=image_rows,
        text_rows=text_rows,
        log_odds=log_odds[order],
        cosines=np.concatenate(
            [
                np.einsum("nk,nk->n", images[image_rows[part]], texts[text_rows[part]])
                for part in _blocks(len(order), images.shape[1])
            ]
        ),
        nearest_images=reach[Modality.TEXT, Modality.IMAGE].nearest[text_rows],
        nearest_texts=reach[Modality.IMAGE, Modality.TEXT].nearest[image_rows],
    )


@dataclass(frozen=True, kw_only=True)
class _Reach:
    """How near items of one modality come to those of another, (n,) each."""

    strangers: NDArray[np.float64]
    """Mean cosine to the ten nearest of other pair keys."""
    anybody: NDArray[np.float64]
    """The same, items of its own pair key included, the item itself not."""
    nearest: NDArray[np.intp]
    """The nearest of another pair key; -1 for none."""


@dataclass(frozen=True, kw_only=True)
class _Keys:
    """What stands under each pair key, by modality."""

    rows: Mapping[Modality, NDArray[np.float32]]
    codes: Mapping[Modality, NDArray[np.int64]]
    reach: Mapping[tuple[Modality, Modality], _Reach]
    counts: Mapping[Modality, NDArray[np.intp]]
    """(k,) items under each key."""
    sums: Mapping[Modality, NDArray[np.float32]]
    """(k, d) their sum."""
    reaches: Mapping[Modality, NDArray[np.float64]]
    """(k,) the mean over them of how near they come to strangers of the other modality; 0 for none."""

    @classmethod
    def of(
        cls,
        rows: Mapping[Modality, NDArray[np.float32]],
        codes: Mapping[Modality, NDArray[np.int64]],
        *,
        reach: Mapping[tuple[Modality, Modality], _Reach],
        count: int,
    ) -> _Keys:
        """Sum up each key."""
        counts, sums, reaches = {}, {}, {}
        for modality in Modality:
            keyed = np.flatnonzero(codes[modality] >= 0)
            under = codes[modality][keyed]
            counts[modality] = np.bincount(under, minlength=count)
            sums[modality] = np.zeros((count, rows[modality].shape[1]), dtype=np.float32)
            np.add.at(sums[modality], under, rows[modality][keyed])
            to_other = reach[modality, modality.other].strangers[keyed]
            total = np.bincount(under, weights=to_other, minlength=count)
            reaches[modality] = total / np.maximum(counts[modality], 1)
        return cls(rows=rows, codes=codes, reach=reach, counts=counts, sums=sums, reaches=reaches)

    def evidence(self, modality: Modality, rows: NDArray[np.intp], places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the evidence of items, each in the place of an item of its modality: its own, or another's.

        Args:
            modality: Of the items.
            rows: (n,) the items.
            places: (n,) whose place each takes.
        """
        other, vectors = modality.other, self.rows[modality]
        codes = self.codes[modality][places]
        at_home = rows == places
        to_other, to_own = self.reach[modality, other], self.reach[modality, modality]
        siblings = self.counts[modality][codes] - 1
        found = np.empty(len(rows))
        for part in _blocks(len(rows), vectors.shape[1]):
            asked, under = vectors[rows[part]], codes[part]
            cross = np.einsum("nk,nk->n", asked, self.sums[other][under]) / self.counts[other][under]
            left = self.sums[modality][under] - vectors[places[part]]
            own = np.einsum("nk,nk->n", asked, left) / np.maximum(siblings[part], 1)
            found[part] = 2.0 * cross + np.where(siblings[part] > 0, own, 0.0)
        found -= self.reaches[other][codes] + np.where(at_home, to_other.strangers[rows], to_other.anybody[rows])
        inside = np.where(at_home, to_own.strangers[rows], to_own.anybody[rows])
        evidence: NDArray[np.float64] = found - np.where(siblings > 0, inside, 0.0)
        return evidence


def _wrong_log_odds(
    keys: _Keys, modality: Modality, *, shared: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return for every item of a modality the log-odds of being in the wrong place; NaN where it has no pair."""
    paired = np.flatnonzero(np.isin(keys.codes[modality], shared))
    evidence = keys.evidence(modality, paired, paired)
    moved = rng.choice(paired, min(len(paired), _PLANTED_MAX), replace=False)
    places = rng.choice(paired, len(moved))
    apart = keys.codes[modality][moved] != keys.codes[modality][places]
    planted = keys.evidence(modality, moved[apart], places[apart])
    wrong_share = float(np.clip(2.0 * (evidence < np.median(planted)).mean(), _WRONG_MIN, _WRONG_MAX))
    log_odds = np.full(len(keys.codes[modality]), np.nan)
    log_odds[paired] = np.log(wrong_share / (1.0 - wrong_share)) - _log_ratio(evidence, planted, wrong_share)
    return log_odds


def _log_ratio(evidence: NDArray[np.float64], planted: NDArray[np.float64], wrong_share: float) -> NDArray[np.float64]:
    """Return log f1 / f0 of each evidence, f1 that of right items and f0 that of planted ones."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second of import that no searcher needs

    # In units of the planted, so that the regularisation of the fit means the same in every space.
    location, scale = planted.mean(), max(float(planted.std()), 1e-6)
    x = ((np.concatenate([evidence, planted]) - location) / scale)[:, None]
    is_here = np.arange(len(x)) < len(evidence)
    right = np.full(len(evidence), 1.0 - wrong_share)
    ratio = np.zeros(len(evidence))
    for _ in range(_ROUNDS):
        weights = np.concatenate([right / right.sum(), np.full(len(planted), 1.0 / len(planted))]) * len(x)
        fitted = LogisticRegression().fit(x, is_here, sample_weight=weights)
        slope = max(float(fitted.coef_[0, 0]), _SLOPE_MIN)
        ratio = slope * x[: len(evidence), 0] + float(fitted.intercept_[0])
        right = np.exp(-np.logaddexp(0.0, np.log(wrong_share / (1.0 - wrong_share)) - ratio))
    return ratio


def _pairs(image_codes: NDArray[np.int64], text_codes: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of every image and text that share a pair key.

    Raises:
        ShapeError: There are too many.
    """
    order = np.argsort(image_codes, kind="stable")
    ordered = image_codes[order]
    first = np.searchsorted(ordered, text_codes, side="left")
    counts = np.searchsorted(ordered, text_codes, side="right") - first
    total = int(counts.sum())
    if total > AUDIT_PAIRS_MAX:
        msg = f"pairs: {total} images and texts share a pair key, at most {AUDIT_PAIRS_MAX}"
        raise ShapeError(msg)
    text_rows = np.repeat(np.arange(len(text_codes)), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.repeat(first, counts) + within], text_rows


def _reach(
    queries: NDArray[np.float32],
    items: NDArray[np.float32],
    query_codes: NDArray[np.int64],
    item_codes: NDArray[np.int64],
    *,
    same: bool,
) -> _Reach:
    strangers, anybody = np.zeros(len(queries)), np.zeros(len(queries))
    nearest = np.full(len(queries), -1, dtype=np.intp)
    for part in _blocks(len(queries), len(items)):
        checkpoint()
        scores = queries[part] @ items.T
        if same:
            scores[np.arange(len(scores)), np.arange(part.start, part.stop)] = -np.inf
        own = query_codes[part, None] == item_codes
        siblings = _gathered(scores, own)
        scores[own] = -np.inf
        nearest_strangers = _highest(scores)
        strangers[part] = _finite_mean(nearest_strangers)
        anybody[part] = _finite_mean(_highest(np.concatenate([nearest_strangers, siblings], axis=1)))
        best = scores.argmax(axis=1)
        known = np.isfinite(np.take_along_axis(scores, best[:, None], axis=1)[:, 0])
        nearest[part] = np.where(known, best, -1)
    return _Reach(strangers=strangers, anybody=anybody, nearest=nearest)


def _gathered(scores: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the chosen scores of each row side by side, filled up with minus infinity: few columns in place of all."""
    rows, columns = np.nonzero(chosen)
    counts = np.bincount(rows, minlength=len(scores))
    gathered = np.full((len(scores), int(counts.max(initial=0))), -np.inf, dtype=np.float32)
    gathered[rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)] = scores[rows, columns]
    return gathered


def _highest(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the ten highest scores of each row, in no order."""
    depth = min(AUDIT_NEIGHBOURS, scores.shape[1])
    top: NDArray[np.float32] = np.partition(scores, scores.shape[1] - depth, axis=1)[:, scores.shape[1] - depth :]
    return top


def _finite_mean(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean of the finite scores of each row; 0 where there is none."""
    known = np.isfinite(scores)
    total: NDArray[np.float64] = np.where(known, scores, 0.0).sum(axis=1, dtype=np.float64)
    mean: NDArray[np.float64] = total / np.maximum(known.sum(axis=1), 1)
    return mean


def _blocks(count: int, width: int) -> list[slice]:
    """Return slices over `count` rows of `width` numbers, each of bounded size."""
    step = max(1, _BLOCK_SCORES // max(1, width))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
