"""What a restore would change in a collection: deletions, upserts and an aligner, committed together."""

from __future__ import annotations

from isthmus.index.events import Answer, Op
from isthmus.index.group_plan import GroupPlan, plan_activation, plan_delete, plan_upsert
from isthmus.index.history import OVERRIDE_REASON
from isthmus.index.model import attributes_to_json
from isthmus.index.mutations import Compound, Delete, Upsert
from isthmus.index.restoring import RestoredState, restored_event
from isthmus.index.state import CollectionState, active_space, unpack_record

__all__ = ["plan_restore", "restore_mutation"]


def restore_mutation(wanted: RestoredState, request_id: str) -> Compound:
    """Return the mutation that makes a collection what it was."""
    return Compound(request_id, lambda state, plan: plan_restore(state, plan, wanted, request_id=request_id))


def plan_restore(state: CollectionState, plan: GroupPlan, restored: RestoredState, *, request_id: str) -> Answer:
    """Plan a restore: up to four revisions of one commit, so that readers see all of it or nothing.

    Items that are just so are left alone, and so is the aligner when it is the active one.

    Returns:
        The answer of its last event: the last revision, with what was done to the items.
    """
    present = state.items.keys() - {item_id for item_id, record in plan.changed.items() if record is None}
    present |= {item_id for item_id, record in plan.changed.items() if record is not None}
    gone = tuple(sorted(present - restored.records.keys()))
    deleted = plan_delete(state, plan, Delete(request_id, gone)) if gone else None
    wanted = [item_id for item_id, record in restored.records.items() if not _is_so(state, plan, item_id, record)]
    put = plan_upsert(state, plan, Upsert(request_id, tuple(restored.fetch(wanted)))) if wanted else None
    if restored.space != active_space(plan.activations):
        plan_activation(
            plan,
            plan.activations,
            request_id=request_id,
            space=restored.space,
            payload=restored.payload,
            attributes=attributes_to_json({OVERRIDE_REASON: restored.reason}),
        )
    plan.revision += 1
    plan.shadow = ""
    answer = Answer(
        op=Op.SHADOW,
        revision=plan.revision,
        created_count=put.created_count if put is not None else 0,
        updated_count=put.updated_count if put is not None else 0,
        unchanged_count=len(restored.records) - len(wanted),
        deleted_count=deleted.deleted_count if deleted is not None else 0,
    )
    plan.events.append(restored_event(request_id, answer))
    return answer


def _is_so(state: CollectionState, plan: GroupPlan, item_id: str, record: bytes) -> bool:
    """Return whether an item of equal content lies there already; as an upsert judges it."""
    before = plan.changed[item_id] if item_id in plan.changed else state.items.get(item_id)
    return before is not None and unpack_record(before)[:2] == unpack_record(record)[:2]
