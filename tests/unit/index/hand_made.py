"""Snapshots built by hand, without a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.calibration import Calibration
from isthmus.core.modality import Modality
from isthmus.index.model import AlignerFiles, CollectionSettings
from isthmus.index.segments import LiveSegment, Segment
from isthmus.index.snapshot import Snapshot
from tests.unit.index.support import ONE_SPACE

__all__ = ["live_segment", "snapshot_of"]


def live_segment(
    modality: Modality, rows: NDArray[np.float32], *, start: int = 0, attributes: bytes = b"{}"
) -> LiveSegment:
    """Return items `MODALITY-n` of pair `pair-n`, n from `start`."""
    count = len(rows)
    items = pa.table(
        {
            "id": [f"{modality}-{start + number}" for number in range(count)],
            "attributes": [attributes] * count,
            "pair_key": [f"pair-{start + number}" for number in range(count)],
            "content_digest": [b""] * count,
            "revision": [1] * count,
            "_rowid": pa.array(range(start, start + count), pa.uint64()),
        }
    )
    return LiveSegment(Segment(modality, [rows], items))


def snapshot_of(
    raw: Mapping[Modality, list[NDArray[np.float32]]],
    *,
    collection: CollectionSettings = ONE_SPACE,
    aligner: AlignerFiles | None = None,
    calibration: Calibration | None = None,
) -> Snapshot:
    """Return raw vectors as a collection at revision 3, a segment an array, under an aligner's item rows."""
    loaded = None if aligner is None else load_aligner(Artefact.from_bytes(aligner.manifest, aligner.tensors))
    segments = {}
    for modality in Modality:
        parts, start = [], 0
        for rows in raw.get(modality, []):
            aligned = rows if loaded is None else loaded.item_rows(rows, modality)
            parts.append(live_segment(modality, aligned, start=start))
            start += len(rows)
        segments[modality] = tuple(parts)
    fitted = None if loaded is None else loaded.calibration
    view: Any = None
    return Snapshot(
        name="things",
        settings=collection,
        revision=3,
        view=view,
        aligner=loaded,
        segments=segments,
        calibration=calibration or fitted or Calibration.default(),
    )
