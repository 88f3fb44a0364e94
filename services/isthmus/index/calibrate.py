"""Keep a collection's calibration current without estimating it at every revision."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import SAMPLE_LIMIT, Calibration, calibration_sample, estimate_calibration
from isthmus.core.modality import Modality
from isthmus.index.metrics import CALIBRATE_SECONDS
from isthmus.index.segments import CALIBRATION_SEED, LiveSegment
from isthmus.index.snapshot import Place, Snapshot

__all__ = ["CalibrationKeeper"]

_REST_FACTOR = 5.0


class CalibrationKeeper:
    """Estimates the calibration of one collection's snapshots. For one thread at a time.

    The sample depends on the ids alone, so two searchers at rest at one revision merge alike. While a collection
    changes quickly the last estimate serves a little longer: an estimate may take a sixth of the time at most.
    """

    def __init__(self) -> None:
        self._space = ""
        self._sample_key: object = None
        self._calibration = Calibration.default()
        self._next_s = 0.0

    def calibrate(self, snapshot: Snapshot) -> tuple[Calibration, bool]:
        """Return the best calibration at hand for a snapshot, and whether that is final for its items."""
        if snapshot.aligner is not None and snapshot.aligner.calibration is not None:
            return snapshot.aligner.calibration, True
        if not _compares(snapshot):
            return Calibration.default(), True
        now_s = time.monotonic()
        if now_s < self._next_s and snapshot.space(Modality.IMAGE) == self._space:
            return self._calibration, False
        places = {modality: _sample(snapshot, modality) for modality in Modality}
        self._space = snapshot.space(Modality.IMAGE)
        key = (self._space, *(tuple(int(place.segment.row_ids[place.row]) for place in of) for of in places.values()))
        if key != self._sample_key:
            self._calibration = estimate_calibration(
                _vectors(places[Modality.IMAGE]),
                _vectors(places[Modality.TEXT]),
                image_keys=_pair_keys(places[Modality.IMAGE]),
                text_keys=_pair_keys(places[Modality.TEXT]),
            )
            self._sample_key = key
            took_s = time.monotonic() - now_s
            self._next_s = time.monotonic() + _REST_FACTOR * took_s
            CALIBRATE_SECONDS.observe(took_s)
        return self._calibration, True


def _compares(snapshot: Snapshot) -> bool:
    """Return True when images and texts of the snapshot are in one space."""
    comparable = snapshot.aligner is not None or not snapshot.settings.needs_aligner
    return comparable and all(_sampled_parts(snapshot, modality) for modality in Modality)


def _sampled_parts(snapshot: Snapshot, modality: Modality) -> tuple[LiveSegment, ...]:
    """Return where the items lie that may be in a sample of the whole collection."""
    guests = snapshot.guests.get(modality)
    return (*snapshot.segments[modality], *(guests.parts if guests else ()))


def _sample(snapshot: Snapshot, modality: Modality) -> list[Place]:
    # The first of each segment hold the first of all: only those need to be ranked together.
    places = [
        Place(part.segment, int(row))
        for part in _sampled_parts(snapshot, modality)
        for row in part.sample(SAMPLE_LIMIT)
    ]
    ids = [place.segment.id_at(place.row) for place in places]
    return [places[position] for position in calibration_sample(ids, seed=CALIBRATION_SEED, limit=SAMPLE_LIMIT)]


def _vectors(places: list[Place]) -> NDArray[np.float32]:
    return np.stack([place.segment.vectors[place.row] for place in places])


def _pair_keys(places: list[Place]) -> list[str]:
    return [place.segment.value("pair_key", place.row) for place in places]
