"""From raw embeddings to a fitted, calibrated and judged aligner: who learns from which pairs, in one place.

By the hash of their pair key a fifth of the pairs is held out and judged on, once; of the others a quarter calibrates,
unless that would be fewer than 64, and the rest is fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner, Artefact, FitOptions, Label, fit_artefact, load_aligner
from isthmus.core.calibration import (
    FIT_LIMIT,
    SAMPLE_LIMIT,
    SAMPLE_MINIMUM,
    Calibration,
    CalibrationSource,
    Reliability,
    answer_reliability,
    estimate_calibration,
    fit_calibration,
)
from isthmus.core.details import DetailRequest, Serving, judge_gains, plan_slices
from isthmus.core.errors import NotEnoughItemsError, SpacesMismatchError
from isthmus.core.gain import GainFinding
from isthmus.core.gap import Corpus
from isthmus.core.guard import GuardLimits, GuardVerdict, judge_guard
from isthmus.core.held_out import NEIGHBOURS, ServedRows, judge_queries, summarise
from isthmus.core.modality import Modality
from isthmus.core.raw_pairs import RawPairs
from isthmus.core.reference import with_reference
from isthmus.core.sliced import SlicesFinding, judge_slices
from isthmus.core.splits import held_out

__all__ = [
    "RawPairs",
    "Verification",
    "fit_and_judge",
    "fit_calibrated",
    "served_rows",
    "verify_artefact",
    "with_report",
]

_CALIBRATION_SEED: Final = 1
_CALIBRATION_SHARE: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What held-out pairs say of an aligner."""

    before: Mapping[str, Any]
    """Figures of what is served without it: the active aligner; else raw embeddings where the raw spaces are one, and
    nothing across the modalities where they are two."""
    after: Mapping[str, Any]
    """Figures with it."""
    against: str
    """The active aligner that `before` is of; empty when there was none."""
    guard: GuardVerdict
    reliability: Mapping[tuple[Modality, Modality], Reliability]
    """Of the ten best answers a query; empty without a fitted calibration."""
    best_reliability: Mapping[tuple[Modality, Modality], Reliability]
    """Of the best answer alone."""
    slices: SlicesFinding | None = None
    """Slices of the held-out queries; None where nobody asked."""
    gain: GainFinding | None = None
    """What the answers are worth; None where nobody asked."""

    @property
    def ece(self) -> float | None:
        """Return the expected calibration error of the ten best answers, or None without a fitted calibration."""
        return _mean_ece(self.reliability)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: `before`, `after`, `guard`, `calibration`; where asked for `slices` and `gain`."""
        document: dict[str, Any] = {
            "before": dict(self.before),
            "after": dict(self.after),
            "against": self.against,
            "guard": self.guard.to_dict(),
            "calibration": {
                "ece": self.ece,
                "best_answer_ece": _mean_ece(self.best_reliability),
                "reliability": {
                    f"{query}_{item}": found.to_dict() for (query, item), found in self.reliability.items()
                },
            },
        }
        if self.slices is not None:
            document["slices"] = self.slices.to_dict()
        if self.gain is not None:
            document["gain"] = self.gain.to_dict()
        return document


def fit_calibrated(
    method: str,
    learned: RawPairs,
    *,
    label: Label,
    options: FitOptions | None = None,
    on_top_of: Artefact | None = None,
) -> Artefact:
    """Fit and calibrate; no held-out pair may be among `learned`.

    Arguments are those of `isthmus.core.aligners.fit_artefact`.

    Raises:
        CoreError: As `isthmus.core.aligners.fit_artefact`.
    """
    keys = learned.paired_keys
    apart = {
        key
        for key, is_apart in zip(keys, held_out(keys, seed=_CALIBRATION_SEED, share=_CALIBRATION_SHARE), strict=True)
        if is_apart
    }
    if len(apart) < SAMPLE_MINIMUM:
        fitted = calibrating = learned
    else:
        fitted, calibrating = learned.with_keys(set(keys) - apart), learned.with_keys(apart)
    artefact = fit_artefact(method, fitted.fit_pairs(), label=label, options=options, on_top_of=on_top_of)
    calibration = _fitted_calibration(load_aligner(artefact), calibrating)
    return artefact.with_findings(calibration=calibration, report={})


def fit_and_judge(
    method: str,
    pairs: RawPairs,
    *,
    label: Label,
    options: FitOptions | None = None,
    on_top_of: Artefact | None = None,
    baseline: Artefact | None = None,
    limits: GuardLimits | None = None,
) -> tuple[Artefact, Verification]:
    """Fit, calibrate and judge; the artefact carries what held-out pairs said of it.

    Arguments are those of `fit_calibrated` and `verify_artefact`.

    Raises:
        CoreError: As `fit_calibrated`, `RawPairs.split` and `verify_artefact`.
    """
    learned, judged = pairs.split()
    artefact = fit_calibrated(method, learned, label=label, options=options, on_top_of=on_top_of)
    artefact = with_reference(artefact, learned=learned, judged=judged, seed=label.seed)
    found = verify_artefact(artefact, judged, learned=learned, baseline=baseline, limits=limits, seed=label.seed)
    return with_report(artefact, found), found


def with_report(artefact: Artefact, found: Verification) -> Artefact:
    """Return the artefact with what held-out pairs said of it: the figures with it, and what they are held against."""
    report = dict(found.after) | {
        "before": dict(found.before),
        "against": found.against,
        "guard": found.guard.to_dict(),
        "ece": found.ece,
    }
    return artefact.with_findings(calibration=artefact.manifest.calibration, report=report)


def verify_artefact(
    artefact: Artefact,
    judged: RawPairs,
    *,
    learned: RawPairs | None = None,
    baseline: Artefact | None = None,
    limits: GuardLimits | None = None,
    seed: int = 0,
    details: DetailRequest | None = None,
) -> Verification:
    """Judge an aligner on pairs it has not seen, against what is served without it.

    Args:
        artefact: What would be promoted.
        judged: Held-out items; at least 16 pair keys.
        learned: Items that the searcher would estimate a calibration from where there is none; None takes `judged`.
        baseline: The aligner that is active now; None when raw embeddings are compared.
        limits: Of the guard; None takes the defaults.
        seed: Of the bootstrap.
        details: Which slices and what gain to look at beside; needs notes on the items. None looks at neither.

    Raises:
        SpacesMismatchError: The vectors are not of the aligner's raw spaces.
        NotEnoughItemsError: There are too few pairs to judge at all, or no row of a detail could be judged.
        OptionError: As `isthmus.core.slices.SlicePlan.of`.
    """
    aligner, active = load_aligner(artefact), None if baseline is None else load_aligner(baseline)
    paired = judged.with_keys(set(judged.paired_keys))
    corpus = Corpus.of(paired.images, paired.texts, image_keys=paired.image_keys, text_keys=paired.text_keys)
    seen = learned or judged
    details = details or DetailRequest()
    plan = plan_slices(details, paired, learned=seen)  # whatever is wrong with what was asked is found first
    before = served_rows(active, paired, codes=corpus.codes, seen=seen)
    after = served_rows(aligner, paired, codes=corpus.codes, seen=seen)
    queries, items, calibration = after.queries, after.items, after.calibration
    figures_before, figures_after = judge_queries(before), judge_queries(after)
    pair_count = len(corpus.paired_keys)

    def judged_answers(depth: int) -> dict[tuple[Modality, Modality], Reliability]:
        if calibration.source is not CalibrationSource.FITTED:
            return {}
        return answer_reliability(
            calibration,
            queries=queries,
            items=items,
            image_keys=paired.image_keys,
            text_keys=paired.text_keys,
            depth=depth,
        )

    limits = limits or GuardLimits()
    return Verification(
        before=summarise(figures_before, pair_count=pair_count),
        after=summarise(figures_after, pair_count=pair_count),
        against="" if baseline is None else baseline.space,
        guard=judge_guard(figures_before, figures_after, corpus=corpus, limits=limits, seed=seed),
        reliability=judged_answers(NEIGHBOURS),
        best_reliability=judged_answers(1),
        slices=None
        if plan is None
        else judge_slices(plan, figures_before, figures_after, corpus=corpus, epsilon=limits.epsilon, seed=seed),
        gain=judge_gains(
            details,
            judged=judged,
            learned=seen,
            before=Serving(active, before.calibration, joined=before.joined),
            after=Serving(aligner, calibration),
            seed=seed,
        ),
    )


def _mean_ece(found: Mapping[tuple[Modality, Modality], Reliability]) -> float | None:
    return float(np.mean([one.ece for one in found.values()])) if found else None


def served_rows(
    aligner: Aligner | None, judged: RawPairs, *, codes: Mapping[Modality, NDArray[np.int64]], seen: RawPairs
) -> ServedRows:
    """Return how items are served while an aligner is active, or none.

    Args:
        aligner: The active one. With None raw embeddings are compared where the raw spaces are one, and a query
            sees its own modality alone where they are two.
        judged: The items.
        codes: Of their pair keys, as in `Corpus.codes`.
        seen: Items that the searcher estimates a calibration from where none is fitted.

    Raises:
        SpacesMismatchError: The items are not of the aligner's raw spaces.
    """
    raw = {Modality.IMAGE: judged.images, Modality.TEXT: judged.texts}
    if aligner is None:
        joined = judged.image_space == judged.text_space
        calibration = _estimated(None, seen) if joined else Calibration.default()
        return ServedRows(queries=raw, items=raw, codes=codes, calibration=calibration, joined=joined)
    if (aligner.image_space, aligner.text_space) != (judged.image_space, judged.text_space):
        msg = "embeddings: not of the raw spaces that the aligner accepts; embed them with its encoders"
        raise SpacesMismatchError(msg)
    fitted = aligner.calibration
    return ServedRows(
        queries={modality: aligner.query_rows(rows, modality) for modality, rows in raw.items()},
        items={modality: aligner.item_rows(rows, modality) for modality, rows in raw.items()},
        codes=codes,
        calibration=_estimated(aligner, seen) if fitted is None else fitted,
    )


def _fitted_calibration(aligner: Aligner, pairs: RawPairs) -> Calibration | None:
    """Return the calibration of these pairs, or None when they are too few for one."""
    images, texts = pairs.images[:FIT_LIMIT], pairs.texts[:FIT_LIMIT]
    try:
        return fit_calibration(
            aligner.item_rows(images, Modality.IMAGE),
            aligner.item_rows(texts, Modality.TEXT),
            image_keys=pairs.image_keys[:FIT_LIMIT],
            text_keys=pairs.text_keys[:FIT_LIMIT],
            image_queries=aligner.query_rows(images, Modality.IMAGE),
            text_queries=aligner.query_rows(texts, Modality.TEXT),
        )
    except NotEnoughItemsError:
        return None


def _estimated(aligner: Aligner | None, pairs: RawPairs) -> Calibration:
    """Return what a searcher would estimate from items that nothing was fitted to."""
    image_rows, text_rows = (
        np.linspace(0, count - 1, min(count, SAMPLE_LIMIT)).astype(np.intp)
        for count in (len(pairs.images), len(pairs.texts))
    )
    images, texts = pairs.images[image_rows], pairs.texts[text_rows]
    image_keys = [pairs.image_keys[row] for row in image_rows]
    text_keys = [pairs.text_keys[row] for row in text_rows]
    if aligner is None:
        return estimate_calibration(images, texts, image_keys=image_keys, text_keys=text_keys)
    return estimate_calibration(
        aligner.item_rows(images, Modality.IMAGE),
        aligner.item_rows(texts, Modality.TEXT),
        image_keys=image_keys,
        text_keys=text_keys,
        image_queries=aligner.query_rows(images, Modality.IMAGE),
        text_queries=aligner.query_rows(texts, Modality.TEXT),
    )
