"""What the writer knows of a collection without its vectors, and what a group of mutations would change in it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

import numpy as np

from isthmus.core.modality import Modality
from isthmus.index.events import MODALITIES_BY_CODE, MODALITY_CODES, Answer, Event, Op
from isthmus.index.model import CollectionSettings, StoredDigest, attributes_to_json
from isthmus.index.mutations import Delete, Mutation, PreparedItem, Rollback, SetAligner, Upsert
from isthmus.index.store import EventView
from isthmus.index.table import ROW_ID
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, IsthmusError

__all__ = ["Activation", "CollectionState", "GroupPlan", "load_state", "plan_group"]

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
    items: dict[str, bytes] = field(default_factory=dict)
    counts: Counter[Modality] = field(default_factory=Counter)
    answers: OrderedDict[str, Answer] = field(default_factory=OrderedDict)

    @property
    def aligner(self) -> str:
        """The active aligner's space; empty when there is none."""
        return _active(self.activations)

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
        self.activations = plan.activations
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
    activations: tuple[Activation, ...]
    events: list[Event] = field(default_factory=list)
    changed: dict[str, bytes | None] = field(default_factory=dict)
    """New records by id; None where the item is deleted."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """By request id."""
    outcomes: list[Answer | IsthmusError] = field(default_factory=list)
    """One for each mutation of the group, in its order."""


def _active(activations: Sequence[Activation]) -> str:
    return activations[-1].space if activations else ""


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
    settings_spaces: dict[int, str] = {}
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
                if op == Op.SETTINGS:
                    settings_spaces[revision] = columns["space"][row]
    answers.sort(key=lambda entry: entry[0])
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


def plan_group(
    state: CollectionState, mutations: Sequence[Mutation], *, payload_at: Callable[[int], bytes]
) -> GroupPlan:
    """Work out what mutations, applied one after the other, write and answer. The state is not changed.

    Each mutation that changes anything takes a revision of its own; one that changes nothing takes none. A request id
    that was answered before, in an earlier group or in this one, is answered alike and applied no more.

    Args:
        state: What is committed.
        mutations: To apply, in order.
        payload_at: Returns the artefact of the committed SETTINGS event of a revision; asked for a rollback.
    """
    plan = GroupPlan(revision=state.revision, activations=state.activations)
    for mutation in mutations:
        known = plan.answers.get(mutation.request_id) or state.answers.get(mutation.request_id)
        if known is None:
            outcome = _plan_one(state, plan, mutation, payload_at)
            if isinstance(outcome, Answer):
                plan.answers[mutation.request_id] = outcome
            plan.outcomes.append(outcome)
        else:
            plan.outcomes.append(known if known.op == _op(mutation) else _request_id_misused())
    return plan


def _op(mutation: Mutation) -> Op:
    match mutation:
        case Upsert():
            return Op.UPSERT
        case Delete():
            return Op.DELETE
        case SetAligner() | Rollback():
            return Op.SETTINGS
        case _:
            assert_never(mutation)


def _request_id_misused() -> IsthmusError:
    msg = "request_id named another kind of mutation before"
    return InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "request_id"})


def _plan_one(
    state: CollectionState, plan: GroupPlan, mutation: Mutation, payload_at: Callable[[int], bytes]
) -> Answer | IsthmusError:
    match mutation:
        case Upsert():
            return _plan_upsert(state, plan, mutation)
        case Delete():
            return _plan_delete(state, plan, mutation)
        case SetAligner():
            return _plan_aligner(plan, mutation)
        case Rollback():
            return _plan_rollback(plan, mutation, payload_at)
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
    if mutation.space == _active(plan.activations):
        return Answer(op=Op.SETTINGS, revision=plan.revision)
    noted = {"override_reason": mutation.override_reason} if mutation.override_reason else {}
    return _activate(
        plan,
        plan.activations,
        request_id=mutation.request_id,
        space=mutation.space,
        payload=mutation.payload,
        attributes=attributes_to_json(noted) if noted else b"",
    )


def _plan_rollback(plan: GroupPlan, mutation: Rollback, payload_at: Callable[[int], bytes]) -> Answer | IsthmusError:
    """Activate once more what was active before: a new event with the old bytes, so that readers follow it as any."""
    if len(plan.activations) < 2:  # noqa: PLR2004 - the active one and one before it
        msg = "the collection has had no other aligner to roll back to"
        return FailedPreconditionError(msg, reason="NO_PREVIOUS_ALIGNER")
    target = plan.activations[-2]
    planned = [event.payload for event in plan.events if event.revision == target.revision]
    payload = planned[0] if planned else payload_at(target.revision)
    return _activate(plan, plan.activations[:-2], request_id=mutation.request_id, space=target.space, payload=payload)


def _activate(
    plan: GroupPlan,
    below: tuple[Activation, ...],
    *,
    request_id: str,
    space: str,
    payload: bytes,
    attributes: bytes = b"",
) -> Answer:
    """Make an aligner active, at the next revision; a rollback from it returns to the last of `below`."""
    plan.revision += 1
    plan.activations = (*below, Activation(plan.revision, space))
    answer = Answer(op=Op.SETTINGS, revision=plan.revision, before=below[-1].revision if below else 0)
    plan.events.append(
        Event(
            revision=answer.revision,
            op=Op.SETTINGS,
            request_id=request_id,
            space=space,
            attributes=attributes,
            answer=answer.to_json(),
            payload=payload,
        )
    )
    return answer
