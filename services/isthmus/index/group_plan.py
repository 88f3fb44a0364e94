"""What a group of mutations would change in a collection: worked out before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from isthmus.index.events import MODALITY_CODES, SHADOW_ID, Answer, Event, Op
from isthmus.index.history import OVERRIDE_REASON, UNVERIFIED
from isthmus.index.model import attributes_to_json
from isthmus.index.mutations import Compound, Delete, Mutation, PreparedItem, Rollback, SetAligner, SetShadow, Upsert
from isthmus.index.promotion import verdict_outdated
from isthmus.index.state import Activation, CollectionState, active_space, pack_record, unpack_record
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, IsthmusError

__all__ = ["GroupPlan", "plan_activation", "plan_delete", "plan_group", "plan_upsert"]


@dataclass(slots=True, kw_only=True)
class GroupPlan:
    """What a group of mutations writes and answers, before it is committed."""

    revision: int
    activations: tuple[Activation, ...]
    shadow: str
    events: list[Event] = field(default_factory=list)
    changed: dict[str, bytes | None] = field(default_factory=dict)
    """New records by id; None where the item is deleted."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """By request id."""
    outcomes: list[Answer | IsthmusError] = field(default_factory=list)
    """One for each mutation of the group, in its order."""


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
    plan = GroupPlan(revision=state.revision, activations=state.activations, shadow=state.shadow)
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
        case SetShadow() | Compound():
            return Op.SHADOW
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
            return plan_upsert(state, plan, mutation)
        case Delete():
            return plan_delete(state, plan, mutation)
        case SetAligner():
            return _plan_aligner(plan, mutation)
        case Rollback():
            return _plan_rollback(plan, mutation, payload_at)
        case SetShadow():
            return _plan_shadow(plan, mutation)
        case Compound():
            return mutation.plan(state, plan)
        case _:
            assert_never(mutation)


def _current(state: CollectionState, changed: Mapping[str, bytes | None], item_id: str) -> bytes | None:
    return changed[item_id] if item_id in changed else state.items.get(item_id)


def plan_upsert(state: CollectionState, plan: GroupPlan, mutation: Upsert) -> Answer:
    """Add to a plan what an upsert writes."""
    written: list[PreparedItem] = []
    created = 0
    for item in mutation.items:
        before = _current(state, plan.changed, item.id)
        if before is not None and unpack_record(before)[1] == item.item_digest:
            continue
        created += before is None
        written.append(item)
        plan.changed[item.id] = pack_record(
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


def plan_delete(state: CollectionState, plan: GroupPlan, mutation: Delete) -> Answer:
    """Add to a plan what a deletion writes."""
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


def _plan_aligner(plan: GroupPlan, mutation: SetAligner) -> Answer | IsthmusError:
    active = active_space(plan.activations)
    if mutation.space == active:
        return Answer(op=Op.SETTINGS, revision=plan.revision)
    # Asked here and not before: of two promotions that were judged against one aligner, only the first may pass.
    if mutation.against is not None and mutation.against != active:
        return verdict_outdated(judged_against=mutation.against, active=active)
    noted: dict[str, AttributeScalar] = {}
    if mutation.override_reason:
        noted[OVERRIDE_REASON] = mutation.override_reason
    if mutation.unverified:
        noted[UNVERIFIED] = True
    return plan_activation(
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
    return plan_activation(
        plan, plan.activations[:-2], request_id=mutation.request_id, space=target.space, payload=payload
    )


def _plan_shadow(plan: GroupPlan, mutation: SetShadow) -> Answer:
    if mutation.space == plan.shadow:
        return Answer(op=Op.SHADOW, revision=plan.revision)
    plan.revision += 1
    plan.shadow = mutation.space
    answer = Answer(op=Op.SHADOW, revision=plan.revision)
    plan.events.append(
        Event(
            revision=answer.revision,
            op=Op.SHADOW,
            request_id=mutation.request_id,
            id=SHADOW_ID,
            space=mutation.space,
            answer=answer.to_json(),
            payload=mutation.payload,
        )
    )
    return answer


def plan_activation(
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
