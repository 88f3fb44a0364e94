"""What a collection was at one revision of a backup, and how it becomes that again: by events on top of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.index.backups import BackupManifest
from isthmus.index.events import (
    EVENT_SCHEMA,
    FOLD_ID,
    MODALITIES_BY_CODE,
    SHADOW_ID,
    Answer,
    Event,
    Op,
    events_to_table,
)
from isthmus.index.folds import Fold, digest_sums
from isthmus.index.mutations import PreparedItem
from isthmus.index.state import pack_record
from isthmus.runtime.base.errors import FailedPreconditionError

__all__ = ["RestorePoint", "RestoredState", "restored_event"]

_FETCH_ROWS: Final = 4_096
_RECORD_COLUMNS: Final = ("id", "modality", "item_digest", "metadata_digest", "content_digest")
_ITEM_COLUMNS: Final = (
    *_RECORD_COLUMNS,
    "space",
    "embedding",
    "attributes",
    "pair_key",
    "thumbnail",
)


@dataclass(frozen=True, slots=True)
class RestoredState:
    """What a collection is to be.

    Attributes:
        records: What is to be there, by id, as the state keeps it.
        fetch: Returns items by id, as they were.
        space: Aligned space of the aligner that was active; empty for none.
        payload: Its artefact, packed.
        reason: Kept with the aligner, should it change: why it did without a verdict.
    """

    records: Mapping[str, bytes]
    fetch: Callable[[Sequence[str]], Iterator[PreparedItem]]
    space: str
    payload: bytes
    reason: str


class RestorePoint:
    """A collection as it was at a revision of a backup.

    Args:
        rows: Events of the backup, verified.
        manifest: Of the backup.
        revision: To restore; 0 means the backup's own.

    Raises:
        FailedPreconditionError: REVISION_NOT_HELD.
    """

    def __init__(self, rows: pa.Table, manifest: BackupManifest, revision: int) -> None:
        self.revision = revision or manifest.revision
        self._manifest = manifest
        if not manifest.oldest_revision <= self.revision <= manifest.revision:
            held = {"oldest": str(manifest.oldest_revision), "newest": str(manifest.revision)}
            msg = f"the backup holds revisions {held['oldest']} to {held['newest']}, not {self.revision}"
            raise FailedPreconditionError(msg, reason="REVISION_NOT_HELD", metadata=held)
        self._rows = rows
        revisions, ops = rows["revision"].to_numpy(), rows["op"].to_numpy()
        order = np.argsort(revisions, kind="stable")
        order = order[revisions[order] <= self.revision]
        is_item = (ops[order] == Op.UPSERT) | (ops[order] == Op.DELETE)
        ids = rows["id"].take(pa.array(order[is_item])).to_pylist()
        newest: dict[str, int] = dict(zip(ids, order[is_item].tolist(), strict=True))  # the last of an id counts
        self._places = {item_id: row for item_id, row in newest.items() if ops[row] == Op.UPSERT}
        self._settings: NDArray[np.int64] = order[ops[order] == Op.SETTINGS]

    def state(self) -> RestoredState:
        """Return what a collection is to be that is brought back here."""
        active = self._rows.take(pa.array(self._settings[-1:]))
        return RestoredState(
            records=dict(self._records()),
            fetch=self._fetch,
            space=active["space"][0].as_py(),
            payload=active["payload"][0].as_py(),
            reason=f"restored to revision {self.revision} of a backup of {self._manifest.name}",
        )

    def table(self, request_id: str) -> tuple[pa.Table, Answer]:
        """Return the events of a new collection that is what this one was, and the answer that the last one holds.

        What counted then is copied as it was written, its revisions and digests with it. A FOLD event vouches for it up
        to the newest revision of the backup, so that the one above that is the first of the new collection: whoever
        has seen a revision of the old one is not shown a lower one for a newer state.
        """
        places = np.concatenate([np.fromiter(self._places.values(), np.int64, len(self._places)), self._settings])
        kept = self._rows.take(pa.array(np.sort(places))).select(EVENT_SCHEMA.names)
        fold = Fold(
            revision=self._manifest.revision, rows=kept.num_rows, sums=digest_sums(kept["row_digest"]), answers=()
        )
        answer = Answer(op=Op.SHADOW, revision=fold.revision + 1, created_count=len(self._places))
        closing = [
            Event(revision=fold.revision, op=Op.FOLD, request_id="", id=FOLD_ID, payload=fold.pack()),
            restored_event(request_id, answer),
        ]
        return pa.concat_tables([kept, events_to_table(closing)]), answer

    def _records(self) -> Iterator[tuple[str, bytes]]:
        for rows in self._taken(list(self._places.values()), _RECORD_COLUMNS):
            columns = (rows[name].to_pylist() for name in _RECORD_COLUMNS)
            for item_id, code, item, metadata, content in zip(*columns, strict=True):
                modality = MODALITIES_BY_CODE[code]
                yield (
                    item_id,
                    pack_record(modality, item_digest=item, metadata_digest=metadata, content_digest=content),
                )

    def _fetch(self, ids: Sequence[str]) -> Iterator[PreparedItem]:
        for rows in self._taken([self._places[item_id] for item_id in ids], _ITEM_COLUMNS):
            for row in rows.to_pylist():
                yield PreparedItem(**{**row, "modality": MODALITIES_BY_CODE[row["modality"]]})

    def _taken(self, places: Sequence[int], columns: Sequence[str]) -> Iterator[pa.Table]:
        chosen = self._rows.select(list(columns))
        for start in range(0, len(places), _FETCH_ROWS):
            yield chosen.take(pa.array(places[start : start + _FETCH_ROWS], pa.int64()))


def restored_event(request_id: str, answer: Answer) -> Event:
    """Return the last event of a restore: it ends what was compared with the active aligner, and holds the answer.

    It is written whatever else changes, so a restore always takes a revision.
    """
    return Event(revision=answer.revision, op=Op.SHADOW, request_id=request_id, id=SHADOW_ID, answer=answer.to_json())
