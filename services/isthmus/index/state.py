"""What the writer knows of a collection without its vectors."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from isthmus.core.modality import Modality
from isthmus.index.events import MODALITIES_BY_CODE, MODALITY_CODES, Answer, Op
from isthmus.index.model import CollectionSettings, StoredDigest
from isthmus.index.store import EventView
from isthmus.index.table import ROW_ID

if TYPE_CHECKING:
    from isthmus.index.group_plan import GroupPlan

__all__ = ["Activation", "CollectionState", "active_space", "load_state", "pack_record", "unpack_record"]

_STATE_COLUMNS: Final = (
    "revision",
    "op",
    "request_id",
    "id",
    "modality",
    "space",
    "content_digest",
    "metadata_digest",
    "item_digest",
    "answer",
)
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Activation:
    """An aligner that was made active.

    Attributes:
        revision: Of the SETTINGS event that did it, which holds the artefact.
        space: Its aligned space; empty for none.
    """

    revision: int
    space: str


@dataclass(slots=True, kw_only=True)
class CollectionState:
    """A collection without its vectors. One thread changes it, through `adopt`; others may read.

    An item is one `bytes` value, its modality and three digests: objects with fields would take twice the memory.
    """

    settings: CollectionSettings
    request_ids_count: int
    """Mutations whose answer is remembered."""
    revision: int = 0
    activations: tuple[Activation, ...] = ()
    """The active aligner last; before it what each further rollback returns to."""
    shadow: str = ""
    """Aligned space of the aligner that is compared with the active one; empty when there is none."""
    items: dict[str, bytes] = field(default_factory=dict)
    counts: Counter[Modality] = field(default_factory=Counter)
    answers: OrderedDict[str, Answer] = field(default_factory=OrderedDict)

    @property
    def aligner(self) -> str:
        """The active aligner's space; empty when there is none."""
        return active_space(self.activations)

    def lookup(self, item_id: str) -> StoredDigest | None:
        """Return what is stored under an id, or None."""
        record = self.items.get(item_id)
        if record is None:
            return None
        modality, _, metadata_digest, content_digest = unpack_record(record)
        return StoredDigest(
            content_digest=content_digest, space=self.settings.space(modality), metadata_digest=metadata_digest
        )

    def adopt(self, plan: GroupPlan) -> None:
        """Make a committed group part of the state."""
        for item_id, record in plan.changed.items():
            before = self.items.pop(item_id, None)
            if before is not None:
                self.counts[unpack_record(before)[0]] -= 1
            if record is not None:
                self.items[item_id] = record
                self.counts[unpack_record(record)[0]] += 1
        self.revision = plan.revision
        self.activations = plan.activations
        self.shadow = plan.shadow
        for request_id, answer in plan.answers.items():
            self.remember(request_id, answer)

    def remember(self, request_id: str, answer: Answer) -> None:
        """Keep an answer; the oldest is forgotten when there are too many."""
        self.answers[request_id] = answer
        while len(self.answers) > self.request_ids_count:
            self.answers.popitem(last=False)


def active_space(activations: Sequence[Activation]) -> str:
    """Return the aligned space that is active; empty when there is none."""
    return activations[-1].space if activations else ""


def pack_record(modality: Modality, *, item_digest: bytes, metadata_digest: bytes, content_digest: bytes) -> bytes:
    """Return what the state keeps of an item."""
    return bytes((MODALITY_CODES[modality],)) + item_digest + metadata_digest + content_digest


def unpack_record(record: bytes) -> tuple[Modality, bytes, bytes, bytes]:
    """Return modality, item digest, metadata digest, content digest (empty when there is none)."""
    one, two = 1 + _DIGEST_BYTES, 1 + 2 * _DIGEST_BYTES
    return MODALITIES_BY_CODE[record[0]], record[1:one], record[one:two], record[two:]


def load_state(view: EventView, settings: CollectionSettings, *, request_ids_count: int) -> CollectionState:
    """Read a collection's state from its events, without reading a vector."""
    state = CollectionState(settings=settings, request_ids_count=request_ids_count)
    heads = view.heads()
    state.revision = heads.revision
    answers: list[tuple[int, str, Answer]] = []
    settings_spaces: dict[int, str] = {}
    shadow_spaces: dict[int, str] = {}
    for batch in view.scan(_STATE_COLUMNS):
        row_ids = batch.column(ROW_ID).to_numpy().astype(np.int64)
        live = np.isin(row_ids, heads.item_rows, assume_unique=True)
        columns = {name: batch.column(name).to_pylist() for name in _STATE_COLUMNS}
        for row in np.flatnonzero(live).tolist():
            modality = MODALITIES_BY_CODE[columns["modality"][row]]
            state.items[columns["id"][row]] = pack_record(
                modality,
                item_digest=columns["item_digest"][row],
                metadata_digest=columns["metadata_digest"][row],
                content_digest=columns["content_digest"][row],
            )
            state.counts[modality] += 1
        for row, data in enumerate(columns["answer"]):
            if data:
                revision, op = columns["revision"][row], columns["op"][row]
                answer = Answer.from_json(data, op=op, revision=revision)
                answers.append((revision, columns["request_id"][row], answer))
                if op == Op.SETTINGS:
                    settings_spaces[revision] = columns["space"][row]
                elif op == Op.SHADOW:
                    shadow_spaces[revision] = columns["space"][row]
    if heads.fold is not None:
        answers += [(known.answer.revision, known.request_id, known.answer) for known in heads.fold.answers]
    answers.sort(key=lambda entry: entry[0])
    state.shadow = shadow_spaces[max(shadow_spaces)] if shadow_spaces else ""
    state.activations = _activations(settings_spaces, {revision: answer.before for revision, _, answer in answers})
    for _, request_id, answer in answers[-request_ids_count:]:
        state.remember(request_id, answer)
    return state


def _activations(spaces: Mapping[int, str], before: Mapping[int, int | None]) -> tuple[Activation, ...]:
    """Return what is active and what rollbacks return to.

    Args:
        spaces: The aligned space of every SETTINGS event, by revision.
        before: What each event's answer says of the one before it.
    """
    found: list[Activation] = []
    revision: int | None = max(spaces, default=0)
    while revision:
        found.append(Activation(revision, spaces[revision]))
        told = before[revision]
        revision = max((other for other in spaces if other < revision), default=0) if told is None else told
    return tuple(reversed(found))
