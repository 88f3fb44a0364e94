"""What may be asked of a verification beside the whole: slices of the queries, and what answers are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner
from isthmus.core.calibration import Calibration
from isthmus.core.errors import ShapeError
from isthmus.core.gain import GainFinding, GainRequest, GainTable, judge_gain
from isthmus.core.keys import key_codes
from isthmus.core.modality import Modality
from isthmus.core.notes import ItemNotes
from isthmus.core.raw_pairs import RawPairs
from isthmus.core.shown import ShownRows
from isthmus.core.slices import SlicePlan, SliceRequest

__all__ = ["DetailRequest", "Serving", "judge_gains", "plan_slices"]


@dataclass(frozen=True, kw_only=True)
class DetailRequest:
    """What to look at beside the whole."""

    slices: SliceRequest | None = None
    gains: GainRequest | None = None
    searched: RawPairs | None = None
    """Every item that answers come from, for the gain; None takes the held-out ones."""


@dataclass(frozen=True)
class Serving:
    """How items are served.

    Attributes:
        aligner: None for raw rows.
        calibration: How scores of the two modalities are merged.
        joined: False when nothing joins the modalities.
    """

    aligner: Aligner | None
    calibration: Calibration
    joined: bool = True

    def shown(
        self, raw: Mapping[Modality, NDArray[np.float32]], queries: Mapping[Modality, NDArray[np.intp]]
    ) -> ShownRows:
        """Return some items as queries and all of them as answers.

        Args:
            raw: Per modality (n, d) canonical raw embeddings.
            queries: Per modality rows that are queries.
        """
        asked = {modality: rows[queries[modality]] for modality, rows in raw.items()}
        if self.aligner is None:
            return ShownRows(queries=asked, items=raw, calibration=self.calibration, joined=self.joined)
        return ShownRows(
            queries={modality: self.aligner.query_rows(rows, modality) for modality, rows in asked.items()},
            items=raw,
            item_rows=self.aligner.item_rows,
            calibration=self.calibration,
            joined=self.joined,
        )


def plan_slices(details: DetailRequest, paired: RawPairs, *, learned: RawPairs) -> SlicePlan | None:
    """Cut the held-out items into slices; None where nobody asked.

    Args:
        details: What was asked.
        paired: The held-out items.
        learned: What the aligner may have been fitted on; items that are among `paired` too are held out.

    Raises:
        CoreError: As `SlicePlan.of`, and where there are no notes.
    """
    if details.slices is None:
        return None
    return SlicePlan.of(
        details.slices,
        notes=_notes(paired),
        keys={Modality.IMAGE: paired.image_keys, Modality.TEXT: paired.text_keys},
        learned_ids={item_id for ids in learned.ids.values() for item_id in ids},
    )


def judge_gains(
    details: DetailRequest, *, judged: RawPairs, learned: RawPairs, before: Serving, after: Serving, seed: int
) -> GainFinding | None:
    """Say what answers are worth before and after; None where nobody asked.

    Any item may be a query that the aligner was not fitted on, paired or not; every item is an answer.

    Args:
        details: What was asked.
        judged: The held-out items.
        learned: What the aligner may have been fitted on; items that are among `judged` too are held out.
        before: What is served now.
        after: What would be served.
        seed: Of the resampling.

    Raises:
        CoreError: As `GainTable.of`, and where there are no notes.
    """
    if details.gains is None:
        return None
    everything = details.searched or judged
    held_out_ids = {item_id for ids in judged.ids.values() for item_id in ids}
    learned_ids = {item_id for ids in learned.ids.values() for item_id in ids}
    notes = _notes(everything)
    table = GainTable.of(
        details.gains,
        ids={modality: found.ids for modality, found in notes.items()},
        learned_ids=learned_ids - held_out_ids,
    )
    raw = {Modality.IMAGE: everything.images, Modality.TEXT: everything.texts}
    image_codes, text_codes = key_codes(everything.image_keys, everything.text_keys)
    return judge_gain(
        table,
        before.shown(raw, table.queries),
        after.shown(raw, table.queries),
        codes={Modality.IMAGE: image_codes, Modality.TEXT: text_codes},
        seed=seed,
    )


def _notes(pairs: RawPairs) -> Mapping[Modality, ItemNotes]:
    if pairs.notes is None:
        msg = "notes: slices and gains need the ids of the items"
        raise ShapeError(msg)
    return pairs.notes
