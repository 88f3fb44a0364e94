"""Calibrated merge: scores of image and text candidates made comparable."""

from __future__ import annotations

from isthmus.core.calibration.calibration import Calibration, CalibrationSource, ScoreCurve
from isthmus.core.calibration.estimate import SAMPLE_LIMIT, SAMPLE_MINIMUM, calibration_sample, estimate_calibration
from isthmus.core.calibration.fit import FIT_LIMIT, fit_calibration

__all__ = [
    "FIT_LIMIT",
    "SAMPLE_LIMIT",
    "SAMPLE_MINIMUM",
    "Calibration",
    "CalibrationSource",
    "ScoreCurve",
    "calibration_sample",
    "estimate_calibration",
    "fit_calibration",
]
