"""Calibrated merge: scores of image and text candidates made comparable."""

from __future__ import annotations

from isthmus.core.calibration.calibration import Calibration, CalibrationSource, ScoreCurve
from isthmus.core.calibration.estimate import SAMPLE_LIMIT, SAMPLE_MINIMUM, calibration_sample, estimate_calibration
from isthmus.core.calibration.fit import FIT_LIMIT, fit_calibration
from isthmus.core.calibration.pair_curve import EVEN_PRIOR, PairCurve, fit_pair_curve
from isthmus.core.calibration.reliability import Reliability, answer_reliability, reliability
from isthmus.core.calibration.thresholds import FALSE_ACCEPT_RATES, AcceptThresholds, Impostor
from isthmus.core.calibration.word_scores import WordScores

__all__ = [
    "EVEN_PRIOR",
    "FALSE_ACCEPT_RATES",
    "FIT_LIMIT",
    "SAMPLE_LIMIT",
    "SAMPLE_MINIMUM",
    "AcceptThresholds",
    "Calibration",
    "CalibrationSource",
    "Impostor",
    "PairCurve",
    "Reliability",
    "ScoreCurve",
    "WordScores",
    "answer_reliability",
    "calibration_sample",
    "estimate_calibration",
    "fit_calibration",
    "fit_pair_curve",
    "reliability",
]
