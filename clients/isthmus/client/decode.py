"""What answers of several kinds hold, from the wire. Each concept's own are in its `decode`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from isthmus.client.results import Calibration, Timings
from isthmus.v1 import common_pb2

__all__ = ["calibration", "timings_sum"]

_CALIBRATIONS: Final[Mapping[int, Calibration]] = {
    common_pb2.CALIBRATION_SOURCE_UNSPECIFIED: "none",
    common_pb2.CALIBRATION_SOURCE_FITTED: "fitted",
    common_pb2.CALIBRATION_SOURCE_ESTIMATED: "estimated",
    common_pb2.CALIBRATION_SOURCE_DEFAULT: "default",
}


def calibration(source: int) -> Calibration:
    """Return the name of a way in which scores were made comparable; `none` for one this client does not know."""
    return _CALIBRATIONS.get(source, "none")


def timings_sum(messages: Iterable[common_pb2.Timings]) -> Timings:
    """Return the sum of the timings of a call's messages."""
    total = dict.fromkeys(Timings.__dataclass_fields__, 0)
    for message in messages:
        for name in total:
            total[name] += getattr(message, name)
    return Timings(**total)
