"""Judge pairs of raw vectors by a snapshot's aligner and calibration: check spaces, align both sides, score."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import CalibrationSource
from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.matching import Decision, MatchTerms, PairSides, judge_pairs
from isthmus.core.modality import Modality
from isthmus.index.model import ItemFailure
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, IsthmusError
from isthmus.runtime.base.no_aligner import no_aligner
from isthmus.runtime.base.not_calibrated import not_calibrated

__all__ = ["JudgedPair", "PairVectors", "PairsResult", "match_snapshot"]


@dataclass(frozen=True, slots=True)
class PairVectors:
    """Raw vectors of one modality and one space, each of one pair.

    Attributes:
        space: Their raw space, as the caller says.
        rows: (n, d) float32.
        pairs: (n,) positions of the pairs in the request.
    """

    space: str
    rows: NDArray[np.float32]
    pairs: Sequence[int]


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """What was found of one pair.

    Attributes:
        index: Its position in the request.
        score: Its calibrated score.
        probability: That it matches.
        decision: What to do with it.
    """

    index: int
    score: float
    probability: float
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsResult:
    """What was found of a batch of pairs.

    Attributes:
        pairs: Those that could be judged, in order.
        failures: Those that could not, in order.
        accept_above: Score above which a pair was accepted.
        refuse_below: Score below which one was refused.
        aligner: The aligned space; empty when there was no aligner.
        calibration: Where the calibration comes from.
        space: The space that pairs were compared in.
        revision: The revision that judged.
        align_s: Seconds of aligning and scoring.
    """

    pairs: Sequence[JudgedPair]
    failures: Sequence[ItemFailure]
    accept_above: float
    refuse_below: float
    aligner: str
    calibration: CalibrationSource
    space: str
    revision: int
    align_s: float


def match_snapshot(
    snapshot: Snapshot, vectors: Mapping[Modality, Sequence[PairVectors]], terms: MatchTerms
) -> PairsResult:
    """Judge the pairs whose image and text are both given.

    Args:
        snapshot: Whose aligner and calibration judge.
        vectors: Of each modality, a batch for each space.
        terms: What the caller chooses.

    Raises:
        FailedPreconditionError: MODALITY_UNSUPPORTED, NO_ALIGNER or NOT_CALIBRATED; NOT_ENOUGH_PAIRS where the
            calibration had too few pairs for the chosen rate.
    """
    started_s = time.perf_counter()
    _check_judges(snapshot)
    rows: dict[Modality, dict[int, NDArray[np.float32]]] = {modality: {} for modality in Modality}
    errors: dict[int, IsthmusError] = {}
    for modality in Modality:
        for batch in vectors[modality]:
            for position, row in zip(batch.pairs, batch.rows, strict=True):
                error = _unfit(snapshot, modality, batch.space, row)
                if error is None:
                    rows[modality][position] = row
                else:
                    errors.setdefault(position, error)
    judged = sorted(rows[Modality.IMAGE].keys() & rows[Modality.TEXT].keys())
    sides = PairSides.of(
        *(_stacked(snapshot, modality, [rows[modality][position] for position in judged]) for modality in Modality),
        aligner=snapshot.aligner,
    )
    try:
        found = judge_pairs(sides, snapshot.calibration, terms)
    except NotEnoughItemsError as error:
        field = "terms.false_accept_rate"
        raise FailedPreconditionError(str(error), reason="NOT_ENOUGH_PAIRS", metadata={"field": field}) from error
    return PairsResult(
        pairs=[
            JudgedPair(position, score, probability, decision)
            for position, score, probability, decision in zip(
                judged, found.scores.tolist(), found.probabilities.tolist(), found.decisions, strict=True
            )
        ],
        failures=[ItemFailure(position, errors[position]) for position in sorted(errors)],
        accept_above=found.accept_above,
        refuse_below=found.refuse_below,
        aligner="" if snapshot.aligner is None else snapshot.aligner.space,
        calibration=snapshot.calibration.source,
        space=snapshot.space(Modality.IMAGE),
        revision=snapshot.revision,
        align_s=time.perf_counter() - started_s,
    )


def _check_judges(snapshot: Snapshot) -> None:
    for modality in Modality:
        if modality not in snapshot.settings.modalities:
            msg = f"the collection takes no {modality.value} items, so it has nothing to judge a pair by"
            raise FailedPreconditionError(msg, reason="MODALITY_UNSUPPORTED", metadata={"modality": modality.value})
    if snapshot.settings.needs_aligner and snapshot.aligner is None:
        raise no_aligner()
    if snapshot.calibration.pairs is None:
        raise not_calibrated()


def _unfit(snapshot: Snapshot, modality: Modality, space: str, row: NDArray[np.float32]) -> IsthmusError | None:
    """Return why a vector cannot be judged, or None."""
    expected = snapshot.settings.space(modality)
    if space != expected:
        msg = f"the {modality.value} is not of the collection's {modality.value} space"
        return FailedPreconditionError(
            msg,
            reason="SPACE_MISMATCH",
            metadata={"modality": modality.value, "space": space, "expected": expected},
        )
    dimension = snapshot.settings.dimension(modality)
    if len(row) != dimension or not np.isfinite(row).all():
        msg = f"the {modality.value}'s vector has {len(row)} components; expected {dimension}, all finite"
        return InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": modality.value})
    return None


def _stacked(snapshot: Snapshot, modality: Modality, rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    if not rows:
        return np.empty((0, snapshot.settings.dimension(modality)), dtype=np.float32)
    return np.stack(rows)
