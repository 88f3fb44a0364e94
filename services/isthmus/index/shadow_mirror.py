"""The structures of one shadow aligner, beside those of the active one."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Final

import numpy as np

from isthmus.core.aligners import Aligner
from isthmus.index.build import catch_up, load_snapshot
from isthmus.index.calibrate import CalibrationKeeper
from isthmus.index.follower import Follower
from isthmus.index.segments import LiveSegment, merge_segments
from isthmus.index.shadow_tally import ShadowState
from isthmus.index.snapshot import Merge, Snapshot, plan_merge
from isthmus.index.store import EventView
from isthmus.runtime.base.logging import fields

__all__ = ["Mirror", "space_of"]

log = logging.getLogger("isthmus.index")

_RETRY_S: Final = 30.0
"""After a failure, or once it did not fit, before a shadow is built again."""
_ROW_BYTES: Final = 32
"""What a segment keeps of a row beside its vector and its columns: hash, order, store row, place in a sample."""


class _OverBudgetError(Exception):
    """The structures would not fit.

    Args:
        needed: Bytes that they would take.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} bytes")
        self.needed = needed


class _ChangedError(Exception):
    """The store holds another shadow aligner already; the next turn finds out."""


class Mirror:
    """The structures of one shadow aligner. `advance` is for one thread at a time, the rest for the event loop.

    Args:
        follower: Of the collection.
        space: The shadow aligner's.
    """

    def __init__(self, follower: Follower, space: str) -> None:
        self.space = space
        self.state = ShadowState.BUILDING
        self.pair: tuple[Snapshot, Snapshot] | None = None
        """The same items under the active aligner and under this one."""
        self.needed_bytes = 0
        """What the structures take, or would take."""
        self._follower = follower
        self._shadow: Snapshot | None = None
        self._keeper = CalibrationKeeper()
        self._retry_s = 0.0

    @property
    def held_bytes(self) -> int:
        """Memory that the structures take now."""
        return self.needed_bytes if self._shadow is not None else 0

    def is_due(self, active: Snapshot) -> bool:
        """Return True when `advance` would find something to do."""
        is_current = self.pair is not None and self.pair[0] is active
        return not is_current and time.monotonic() >= self._retry_s

    def advance(self, active: Snapshot, *, room_bytes: int) -> None:
        """Build the structures, or bring them to the items of `active`; blocks. Failure is kept and logged."""
        try:
            self._advance(active, room_bytes)
        except _ChangedError:
            self._drop(ShadowState.BUILDING)
        except _OverBudgetError as error:
            self._drop(ShadowState.OVER_BUDGET)
            self.needed_bytes = error.needed
            log.warning(
                "a shadow aligner does not fit and is not built",
                extra=fields(collection=active.name, aligner=self.space, bytes=error.needed, room=max(room_bytes, 0)),
            )
        except Exception:
            self._drop(ShadowState.FAILED)
            log.exception("cannot build a shadow aligner", extra=fields(collection=active.name, aligner=self.space))

    def _drop(self, state: ShadowState) -> None:
        self.pair, self._shadow, self.state = None, None, state
        self._retry_s = time.monotonic() + _RETRY_S

    def _advance(self, active: Snapshot, room_bytes: int) -> None:
        try:
            shadow = self._read(active.view, active, room_bytes)
        except (OSError, ValueError):
            # The version that the active snapshot was read from may have been cleaned up; the newest one serves, and
            # the active snapshot will be there soon.
            shadow = self._read(self._follower.fresh_view(), active, room_bytes)
        aligner = shadow.aligner
        if shadow.shadow != self.space or aligner is None:
            raise _ChangedError
        shadow = replace(shadow, segments={modality: _merged(parts) for modality, parts in shadow.segments.items()})
        calibration, _ = self._keeper.calibrate(shadow)
        self._shadow = shadow = replace(shadow, calibration=calibration)
        self.needed_bytes = _needed_bytes(active, aligner)
        if self.needed_bytes > room_bytes:
            raise _OverBudgetError(self.needed_bytes)
        if shadow.revision == active.revision:
            self.pair, self.state = (active, shadow), ShadowState.READY

    def _read(self, view: EventView, active: Snapshot, room_bytes: int) -> Snapshot:
        if self._shadow is not None:
            return catch_up(self._shadow, view, is_shadow=True)

        def admit(aligner: Aligner | None) -> None:
            if aligner is None:
                raise _ChangedError
            needed = _needed_bytes(active, aligner)
            if needed > room_bytes:
                raise _OverBudgetError(needed)

        return load_snapshot(active.name, active.settings, view, admit_shadow=admit)


def _merged(parts: tuple[LiveSegment, ...]) -> tuple[LiveSegment, ...]:
    due = plan_merge(parts)
    return Merge(due, merge_segments(due)).apply(parts) if due else parts


def _needed_bytes(active: Snapshot, aligner: Aligner) -> int:
    """Return what the structures of `aligner` take for the items of a snapshot: vectors, columns, and their keys."""
    total = 0
    for modality in active.settings.modalities:
        parts = active.segments[modality]
        width = aligner.item_rows(np.eye(1, active.settings.dimension(modality), dtype=np.float32), modality).shape[1]
        rows = sum(part.segment.rows for part in parts)
        total += rows * (width * np.dtype(np.float32).itemsize + _ROW_BYTES)
        total += sum(part.segment.items.nbytes for part in parts)
    return total


def space_of(snapshot: Snapshot) -> str:
    """Return the aligned space of a snapshot; empty without an aligner."""
    return "" if snapshot.aligner is None else snapshot.aligner.space
