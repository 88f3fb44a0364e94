"""Enums of the wire that many messages hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from isthmus.core.calibration import CalibrationSource
from isthmus.core.modality import Modality
from isthmus.v1 import common_pb2

__all__ = ["modality_message", "source_message"]

_MODALITIES: Final[Mapping[Modality, common_pb2.Modality.ValueType]] = {
    Modality.IMAGE: common_pb2.MODALITY_IMAGE,
    Modality.TEXT: common_pb2.MODALITY_TEXT,
}
_SOURCES: Final[Mapping[CalibrationSource | None, common_pb2.CalibrationSource.ValueType]] = {
    None: common_pb2.CALIBRATION_SOURCE_UNSPECIFIED,
    CalibrationSource.FITTED: common_pb2.CALIBRATION_SOURCE_FITTED,
    CalibrationSource.ESTIMATED: common_pb2.CALIBRATION_SOURCE_ESTIMATED,
    CalibrationSource.DEFAULT: common_pb2.CALIBRATION_SOURCE_DEFAULT,
}


def modality_message(modality: Modality) -> common_pb2.Modality.ValueType:
    """Return a modality for the wire."""
    return _MODALITIES[modality]


def source_message(source: CalibrationSource | None) -> common_pb2.CalibrationSource.ValueType:
    """Return where a calibration comes from for the wire."""
    return _SOURCES[source]
