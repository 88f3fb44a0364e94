"""Does this picture belong to this text? Figures on photographs of their own: `python -m tests.bench.matching`.

Flickr8k dev, 1,000 photos with five captions each, and the aligner that comes with Isthmus. It was trained on train;
thresholds and curves come from train photos that its training held out, so no photo is on two sides. Intervals are
95 %, from 500 resamplings of the dev photos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from isthmus.alignment.artefact_store import SHIPPED_FOLDER
from isthmus.core import Modality
from isthmus.core.aligners import Aligner, Artefact, add_hubness_correction, load_aligner
from isthmus.core.calibration import Calibration, fit_calibration
from isthmus.core.linking import LinkMode, LinkSides, LinkTerms, propose_links
from isthmus.core.matching import audit_pairs
from isthmus.core.recipe import RawPairs
from isthmus.core.splits import check_no_leak
from tests.harness.flickr8k import embedded, raw_pairs

__all__ = [
    "CAPTIONS",
    "Estimate",
    "Setting",
    "audit_figures",
    "hubness_corrected",
    "link_figures",
    "match_figures",
    "shipped",
]

_SHIPPED: Final = SHIPPED_FOLDER / "flickr8k-heads"
CAPTIONS: Final = 5
SWAPPED_SHARE: Final = 0.1
_REPLICATES: Final = 500

Flags: TypeAlias = NDArray[np.bool_]
Weights: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as the documentation has it."""
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True, kw_only=True)
class LinkFigures:
    """How good the links of one set-up are."""

    half: Estimate
    """Precision of the more probable half of the links."""
    whole: Estimate
    """Precision of all of them."""
    probability: float
    """Mean probability that they claim; NaN for a baseline."""
    linked: float
    """Share of the captions that have a link."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An aligner, what calibrates it, and the photos it is judged on, caption 5 i + c with photo i."""

    name: str
    aligner: Aligner
    calibration: Calibration
    judged: RawPairs

    @property
    def owners(self) -> NDArray[np.intp]:
        """Return (5 n,) the photo of each caption."""
        return np.repeat(np.arange(len(self.judged.images)), CAPTIONS)

    def sides(self, captions: slice | NDArray[np.intp] = slice(None)) -> LinkSides:
        """Return the photos and some of the captions as they are compared."""
        return LinkSides.of(self.judged.images, self.judged.texts[captions], aligner=self.aligner)


def shipped() -> Setting:
    """Return the shipped aligner with the calibration it comes with, of 287 train photos that it was not trained on."""
    aligner = load_aligner(Artefact.load(_SHIPPED))
    assert aligner.calibration is not None
    return Setting(name="shipped", aligner=aligner, calibration=aligner.calibration, judged=raw_pairs(embedded("dev")))


def hubness_corrected() -> Setting:
    """Return the same with hubness measured on one half of the 610 held-out train photos, calibrated on the other."""
    held_out, judged = raw_pairs(embedded("held-out")), raw_pairs(embedded("dev"))
    keys = sorted(held_out.paired_keys)
    shuffled = np.random.default_rng(0).permutation(len(keys))
    hubs, calibrating = (held_out.with_keys({keys[row] for row in half}) for half in np.array_split(shuffled, 2))
    check_no_leak(held_out.image_keys, judged.image_keys, fit_images=held_out.images, test_images=judged.images)
    aligner = load_aligner(add_hubness_correction(Artefact.load(_SHIPPED), hubs.fit_pairs()))
    calibration = _calibrated(aligner, calibrating)
    return Setting(name="hubness corrected", aligner=aligner, calibration=calibration, judged=judged)


def match_figures(setting: Setting, rate: float) -> tuple[Estimate, Estimate]:
    """Return the share of wrong pairs that are accepted at a stated rate, and that of right ones that are not.

    Wrong pairs are all of a photo with a caption of another one; resampled by photo on both sides.
    """
    curve = setting.calibration.pairs
    assert curve is not None
    count = len(setting.judged.images)
    sides = setting.sides()
    scores = setting.calibration.pair_scores(
        sides.image_queries @ sides.text_items.T, sides.image_items @ sides.text_queries.T
    )
    # (photo, photo of the caption): share of its five captions that are accepted.
    accepted = (scores > curve.accept_above(rate)).reshape(count, count, CAPTIONS).mean(axis=2)
    missed = 1.0 - np.diag(accepted)
    np.fill_diagonal(accepted, 0.0)
    wrong = _estimate(count, lambda w: float(w @ accepted @ w / (w.sum() ** 2 - (w**2).sum())))
    return wrong, _estimate(count, lambda w: float(np.average(missed, weights=w)))


def audit_figures(setting: Setting, *, seed: int) -> tuple[Estimate, float]:
    """Swap a tenth of the captions between photos; return the average precision of finding them, and that by cosine."""
    count = len(setting.owners)
    rng = np.random.default_rng(seed)
    swapped = rng.choice(count, size=int(SWAPPED_SHARE * count), replace=False)
    # Ordered by photo, photos at random, and moved on by as many places as a photo has captions: none stays at its own.
    ordered = swapped[np.argsort(rng.permutation(len(setting.judged.images))[setting.owners[swapped]], kind="stable")]
    told = setting.owners.copy()
    told[ordered] = setting.owners[np.roll(ordered, CAPTIONS)]
    wrong = told != setting.owners
    keys = setting.judged.image_keys
    images = setting.aligner.align(setting.judged.images, Modality.IMAGE)
    texts = setting.aligner.align(setting.judged.texts, Modality.TEXT)
    found = audit_pairs(images, texts, image_keys=keys, text_keys=[keys[photo] for photo in told], seed=seed)
    flags = wrong[found.text_rows]
    photos = found.image_rows
    audited = _estimate(len(images), lambda w: _average_precision(flags, w[photos]))
    cosines = np.einsum("nk,nk->n", images[told], texts)
    return audited, _average_precision(wrong[np.argsort(cosines, kind="stable")], np.ones(count))


def link_figures(setting: Setting) -> dict[str, LinkFigures]:
    """Return how good links are, by set-up.

    `one caption a photo` is the mean over the first to the fifth caption of each photo, 1,000 links each; baselines
    link by the cosine alone and sort by it.
    """
    count = len(setting.judged.images)
    links: dict[str, list[tuple[Flags, NDArray[np.intp], float]]] = {}

    def add(name: str, images: NDArray[np.intp], photos: NDArray[np.intp], probability: float) -> None:
        links.setdefault(name, []).append((images == photos, photos, probability))

    images = setting.aligner.align(setting.judged.images, Modality.IMAGE)
    texts = setting.aligner.align(setting.judged.texts, Modality.TEXT)
    for caption in range(CAPTIONS):
        chosen = np.arange(count) * CAPTIONS + caption
        found = propose_links(setting.sides(chosen), setting.calibration)
        add("one caption a photo, one-to-one", found.images, found.texts, float(found.probabilities.mean()))
        cosines = images @ texts[chosen].T
        rows, columns = linear_sum_assignment(-cosines)
        order = np.argsort(-cosines[rows, columns], kind="stable")
        add("one caption a photo, Hungarian by cosine", rows[order], columns[order], float("nan"))
    for rate in (None, 0.2, 0.05):
        terms = LinkTerms(mode=LinkMode.BEST_IMAGE, false_accept_rate=rate)
        found = propose_links(setting.sides(), setting.calibration, terms)
        name = f"all captions, best image{'' if rate is None else f', false-accept rate {rate}'}"
        add(name, found.images, setting.owners[found.texts], float(found.probabilities.mean()))
    cosines = images @ texts.T
    best = cosines.argmax(axis=0)
    order = np.argsort(-cosines.max(axis=0), kind="stable")
    add("all captions, best image by cosine", best[order], setting.owners[order], float("nan"))
    return {
        name: LinkFigures(
            half=_estimate(count, partial(_precision, runs, coverage=0.5)),
            whole=_estimate(count, partial(_precision, runs, coverage=1.0)),
            probability=float(np.mean([probability for _, _, probability in runs])),
            linked=float(np.mean([len(right) for right, _, _ in runs]))
            / (count if name.startswith("one") else count * CAPTIONS),
        )
        for name, runs in links.items()
    }


def _calibrated(aligner: Aligner, pairs: RawPairs) -> Calibration:
    return fit_calibration(
        aligner.item_rows(pairs.images, Modality.IMAGE),
        aligner.item_rows(pairs.texts, Modality.TEXT),
        image_keys=pairs.image_keys,
        text_keys=pairs.text_keys,
        image_queries=aligner.query_rows(pairs.images, Modality.IMAGE),
        text_queries=aligner.query_rows(pairs.texts, Modality.TEXT),
    )


def _average_precision(flags: Flags, weights: Weights) -> float:
    """Return that of a list, worst first, in which each entry counts by its weight."""
    wrong = np.cumsum(weights * flags)
    return float((weights * flags * wrong / np.maximum(np.cumsum(weights), 1e-12)).sum() / wrong[-1])


def _precision(runs: Sequence[tuple[Flags, NDArray[np.intp], float]], weights: Weights, *, coverage: float) -> float:
    """Return the mean over runs of the precision of the first links, up to that share of their weight."""
    found = []
    for right, photos, _ in runs:
        own = weights[photos]
        first = np.cumsum(own) <= coverage * own.sum() + 1e-9
        found.append(float(np.average(right[first], weights=own[first])))
    return float(np.mean(found))


def _estimate(count: int, figure: Callable[[Weights], float]) -> Estimate:
    """Return a figure of `count` photos with its interval; it takes one weight a photo."""
    rng = np.random.default_rng(0)
    found = [figure(rng.multinomial(count, np.full(count, 1.0 / count)).astype(np.float64)) for _ in range(_REPLICATES)]
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(figure(np.ones(count)), float(low), float(high))


def _show(title: str, rows: Mapping[str, Sequence[object]]) -> None:
    print(f"\n{title}")
    for name, cells in rows.items():
        print(f"  {name:<50}" + "".join(f"{cell!s:<28}" for cell in cells))


def main() -> None:
    """Print every figure."""
    for setting in (shipped(), hubness_corrected()):
        rates = {f"stated rate {rate}": match_figures(setting, rate) for rate in (0.01, 0.05)}
        _show(f"{setting.name}: wrong pairs accepted, right pairs missed", rates)
        found = {
            name: (one.half, one.whole, f"{one.probability:.3f}", f"{one.linked:.3f}")
            for name, one in link_figures(setting).items()
        }
        _show(f"{setting.name}: links, precision of half and of all, mean probability, share linked", found)
    _show(
        "audit: average precision, audited and by cosine",
        {f"seed {seed}": audit_figures(shipped(), seed=seed) for seed in range(3)},
    )


if __name__ == "__main__":
    main()
