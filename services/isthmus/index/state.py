"""What the writer knows of a collection without its vectors, and what a group of mutations would change in it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

import numpy as np

from isthmus.core.modality import Modality
from isthmus.index.events import MODALITIES_BY_CODE, MODALITY_CODES, Answer, Event, Op
from isthmus.index.model import CollectionSettings, StoredDigest
from isthmus.index.mutations import Delete, Mutation, PreparedItem, SetAligner, Upsert
from isthmus.index.store import EventView
from isthmus.index.table import ROW_ID
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError

__all__ = ["CollectionState", "GroupPlan", "load_state", "plan_group"]

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


@dataclass(slots=True, kw_only=True)
class CollectionState:
    """A collection without its vectors. One thread changes it, through `adopt`; others may read.

    An item is one `bytes` value, its modality and three digests: objects with fields would take twice the memory.
    """

    settings: CollectionSettings
    request_ids_count: int
    """Mutations whose answer is remembered."""
    revision: int = 0
    aligner: str = ""
    items: dict[str, bytes] = field(default_factory=dict)
    counts: Counter[Modality] = field(default_factory=Counter)
    answers: OrderedDict[str, Answer] = field(default_factory=OrderedDict)

    def lookup(self, item_id: str) -> StoredDigest | None:
        """Return what is stored under an id, or None."""
        record = self.items.get(item_id)
        if record is None:
            return None
        modality, _, metadata_digest, content_digest = _unpack(record)
        return StoredDigest(
            content_digest=content_digest, space=self.settings.space(modality), metadata_digest=metadata_digest
        )

    def adopt(self, plan: GroupPlan) -> None:
        """Make a committed group part of the state."""
        for item_id, record in plan.changed.items():
            before = self.items.pop(item_id, None)
            if before is not None:
                self.counts[_unpack(before)[0]] -= 1
            if record is not None:
                self.items[item_id] = record
                self.counts[_unpack(record)[0]] += 1
        self.revision = plan.revision
        self.aligner = plan.aligner
        for request_id, answer in plan.answers.items():
            self.remember(request_id, answer)

    def remember(self, request_id: str, answer: Answer) -> None:
        """Keep an answer; the oldest is forgotten when there are too many."""
        self.answers[request_id] = answer
        while len(self.answers) > self.request_ids_count:
            self.answers.popitem(last=False)


@dataclass(slots=True, kw_only=True)
class GroupPlan:
    """What a group of mutations writes and answers, before it is committed."""

    revision: int
    aligner: str
    events: list[Event] = field(default_factory=list)
    changed: dict[str, bytes | None] = field(default_factory=dict)
    """New records by id; None where the item is deleted."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """By request id."""
    outcomes: list[Answer | IsthmusError] = field(default_factory=list)
    """One for each mutation of the group, in its order."""


def _pack(modality: Modality, *, item_digest: bytes, metadata_digest: bytes, content_digest: bytes) -> bytes:
    return bytes((MODALITY_CODES[modality],)) + item_digest + metadata_digest + content_digest


def _unpack(record: bytes) -> tuple[Modality, bytes, bytes, bytes]:
    """Return modality, item digest, metadata digest, content digest (empty when there is none)."""
    one, two = 1 + _DIGEST_BYTES, 1 + 2 * _DIGEST_BYTES
    return MODALITIES_BY_CODE[record[0]], record[1:one], record[one:two], record[two:]


def load_state(view: EventView, settings: CollectionSettings, *, request_ids_count: int) -> CollectionState:
    """Read a collection's state from its events, without reading a vector."""
    state = CollectionState(settings=settings, request_ids_count=request_ids_count)
    heads = view.heads()
    state.revision = heads.revision
    answers: list[tuple[int, str, Answer]] = []
    for batch in view.scan(_STATE_COLUMNS):
        row_ids = batch.column(ROW_ID).to_numpy().astype(np.int64)
        live = np.isin(row_ids, heads.item_rows, assume_unique=True)
        columns = {name: batch.column(name).to_pylist() for name in _STATE_COLUMNS}
        for row in np.flatnonzero(live).tolist():
            modality = MODALITIES_BY_CODE[columns["modality"][row]]
            state.items[columns["id"][row]] = _pack(
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
        for row in np.flatnonzero(row_ids == heads.settings_row).tolist():
            state.aligner = columns["space"][row]
    answers.sort(key=lambda entry: entry[0])
    for _, request_id, answer in answers[-request_ids_count:]:
        state.remember(request_id, answer)
    return state


def plan_group(state: CollectionState, mutations: Sequence[Mutation]) -> GroupPlan:
    """Work out what mutations, applied one after the other, write and answer. The state is not changed.

    Each mutation that changes anything takes a revision of its own; one that changes nothing takes none. A request id
    that was answered before, in an earlier group or in this one, is answered alike and applied no more.
    """
    plan = GroupPlan(revision=state.revision, aligner=state.aligner)
    for mutation in mutations:
        known = plan.answers.get(mutation.request_id) or state.answers.get(mutation.request_id)
        if known is None:
            answer = _plan_one(state, plan, mutation)
            plan.answers[mutation.request_id] = answer
            plan.outcomes.append(answer)
        else:
            plan.outcomes.append(known if known.op == _op(mutation) else _request_id_misused())
    return plan


def _op(mutation: Mutation) -> Op:
    match mutation:
        case Upsert():
            return Op.UPSERT
        case Delete():
            return Op.DELETE
        case SetAligner():
            return Op.SETTINGS
        case _:
            assert_never(mutation)


def _request_id_misused() -> IsthmusError:
    msg = "request_id named another kind of mutation before"
    return InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "request_id"})


def _plan_one(state: CollectionState, plan: GroupPlan, mutation: Mutation) -> Answer:
    match mutation:
        case Upsert():
            return _plan_upsert(state, plan, mutation)
        case Delete():
            return _plan_delete(state, plan, mutation)
        case SetAligner():
            return _plan_aligner(plan, mutation)
        case _:
            assert_never(mutation)


def _current(state: CollectionState, changed: Mapping[str, bytes | None], item_id: str) -> bytes | None:
    return changed[item_id] if item_id in changed else state.items.get(item_id)


def _plan_upsert(state: CollectionState, plan: GroupPlan, mutation: Upsert) -> Answer:
    written: list[PreparedItem] = []
    created = 0
    for item in mutation.items:
        before = _current(state, plan.changed, item.id)
        if before is not None and _unpack(before)[1] == item.item_digest:
            continue
        created += before is None
        written.append(item)
        plan.changed[item.id] = _pack(
            item.modality,
            item_digest=item.item_digest,
            metadata_digest=item.metadata_digest,
            content_digest=item.content_digest,
        )
    plan.revision += bool(written)
    answer = Answer(
        op=Op.UPSERT,
        revision=plan.revision,
        created_count=created,
        updated_count=len(written) - created,
        unchanged_count=len(mutation.items) - len(written),
    )
    plan.events += _upsert_events(mutation.request_id, written, answer)
    return answer


def _upsert_events(request_id: str, items: Sequence[PreparedItem], answer: Answer) -> Iterator[Event]:
    for position, item in enumerate(items):
        yield Event(
            revision=answer.revision,
            op=Op.UPSERT,
            request_id=request_id,
            id=item.id,
            modality=MODALITY_CODES[item.modality],
            space=item.space,
            embedding=item.embedding,
            attributes=item.attributes,
            pair_key=item.pair_key,
            thumbnail=item.thumbnail,
            content_digest=item.content_digest,
            metadata_digest=item.metadata_digest,
            item_digest=item.item_digest,
            answer=b"" if position else answer.to_json(),
        )


def _plan_delete(state: CollectionState, plan: GroupPlan, mutation: Delete) -> Answer:
    there = [item_id for item_id in mutation.ids if _current(state, plan.changed, item_id) is not None]
    plan.revision += bool(there)
    answer = Answer(op=Op.DELETE, revision=plan.revision, deleted_count=len(there))
    for position, item_id in enumerate(there):
        plan.changed[item_id] = None
        plan.events.append(
            Event(
                revision=answer.revision,
                op=Op.DELETE,
                request_id=mutation.request_id,
                id=item_id,
                answer=b"" if position else answer.to_json(),
            )
        )
    return answer


def _plan_aligner(plan: GroupPlan, mutation: SetAligner) -> Answer:
    changes = mutation.space != plan.aligner
    plan.revision += changes
    plan.aligner = mutation.space
    answer = Answer(op=Op.SETTINGS, revision=plan.revision)
    if changes:
        plan.events.append(
            Event(
                revision=answer.revision,
                op=Op.SETTINGS,
                request_id=mutation.request_id,
                space=mutation.space,
                answer=answer.to_json(),
                payload=mutation.payload,
            )
        )
    return answer
