"""What a group of mutations writes and answers, and how the state is read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.index.events import Answer, Event, Op
from isthmus.index.group_plan import plan_group
from isthmus.index.model import NewItem, SpacedVectors, attributes_from_json
from isthmus.index.mutations import Delete, Mutation, Rollback, SetAligner, SetShadow, Upsert, prepare_upsert
from isthmus.index.state import Activation, CollectionState, load_state
from isthmus.index.store import EventTable
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError
from tests.unit.index.support import ONE_SPACE, SPACE, images, vectors


def _upsert(request_id: str, items: list[NewItem], seed: int = 0) -> Upsert:
    rows = vectors(seed, len(items))
    given = {
        modality: SpacedVectors(SPACE, rows[[item.modality is modality for item in items]]) for modality in Modality
    }
    return prepare_upsert(items, given, settings=ONE_SPACE, request_id=request_id)[0]


def _state() -> CollectionState:
    return CollectionState(settings=ONE_SPACE, request_ids_count=100, revision=1)


def _never(revision: int) -> bytes:
    """Stand for the store where no rollback asks it."""
    raise AssertionError(revision)


def _settings(revision: int, space: str) -> Event:
    """Return a SETTINGS event as it was written before there were rollbacks."""
    answer = Answer(op=Op.SETTINGS, revision=revision).to_json()
    return Event(revision=revision, op=Op.SETTINGS, request_id=f"s{revision}", space=space, answer=answer)


def _apply(state: CollectionState, *mutations: Mutation) -> list[Answer]:
    plan = plan_group(state, mutations, payload_at=_never)
    state.adopt(plan)
    return [outcome for outcome in plan.outcomes if isinstance(outcome, Answer)]


class TestPlanGroup:
    """`plan_group`."""

    def test_each_mutation_takes_a_revision_of_its_own(self) -> None:
        """Sharing a commit does not mean sharing a revision."""
        state = _state()
        answers = _apply(state, _upsert("a", images("xy")), _upsert("b", images("z")), Delete("c", ("x",)))
        assert [answer.revision for answer in answers] == [2, 3, 4]
        assert (state.revision, state.counts[Modality.IMAGE]) == (4, 2)

    def test_created_updated_and_unchanged_are_told_apart(self) -> None:
        """An item that is stored just so already is not written again."""
        state = _state()
        _apply(state, _upsert("a", images("xyz")))
        items = [images("x")[0], replace(images("y")[0], pair_key="new"), images("z")[0], images("w")[0]]
        plan = plan_group(state, [_upsert("b", items)], payload_at=_never)
        (answer,) = plan.outcomes
        assert isinstance(answer, Answer)
        # x and z have their old vectors, for rows are drawn in order; y changed and w is new
        assert (answer.created_count, answer.updated_count, answer.unchanged_count) == (1, 1, 2)
        assert [event.id for event in plan.events] == ["y", "w"]

    def test_a_mutation_that_changes_nothing_writes_nothing(self) -> None:
        """The revision stays, for an upsert, a deletion and an aligner alike."""
        state = _state()
        _apply(state, _upsert("a", images("x")), SetAligner("b", "al@0123456789abcdef", b"artefact"))
        again: list[Mutation] = [
            _upsert("c", images("x")),
            Delete("d", ("nobody",)),
            SetAligner("e", "al@0123456789abcdef", b"artefact"),
        ]
        plan = plan_group(state, again, payload_at=_never)
        assert plan.events == []
        assert {outcome.revision for outcome in plan.outcomes if isinstance(outcome, Answer)} == {state.revision}

    def test_mutations_of_a_group_see_one_another(self) -> None:
        """The order within a group is the order of application."""
        state = _state()
        answers = _apply(state, _upsert("a", images("x")), Delete("b", ("x", "x2")), _upsert("c", images("x")))
        assert (answers[1].deleted_count, answers[2].created_count) == (1, 1)
        assert state.counts[Modality.IMAGE] == 1

    def test_a_request_id_is_applied_once(self) -> None:
        """In one group or in two, the second gets the first's answer, whatever it carries."""
        state = _state()
        first, twin = _apply(state, _upsert("a", images("x")), _upsert("a", images("y")))
        (late,) = _apply(state, _upsert("a", images("z")))
        assert first == twin == late
        assert list(state.items) == ["x"]

    def test_a_request_id_of_another_kind_of_mutation_is_refused(self) -> None:
        """A deletion is not answered with the counts of an upsert."""
        state = _state()
        _apply(state, _upsert("a", images("x")))
        (outcome,) = plan_group(state, [Delete("a", ("x",))], payload_at=_never).outcomes
        assert isinstance(outcome, InvalidArgumentError)

    def test_an_item_may_change_its_modality(self) -> None:
        """The counts follow."""
        state = _state()
        _apply(state, _upsert("a", images("x")))
        (answer,) = _apply(state, _upsert("b", [NewItem(id="x", modality=Modality.TEXT)]))
        assert answer.updated_count == 1
        assert (state.counts[Modality.IMAGE], state.counts[Modality.TEXT]) == (0, 1)

    def test_a_rollback_takes_up_what_was_active_before(self) -> None:
        """Each goes one further back; what was rolled back from is not come back to."""
        state = replace(_state(), activations=(Activation(1, ""),))
        _apply(state, *(SetAligner(name, f"{name}@0123456789abcdef", name.encode()) for name in "abc"))
        assert [activation.revision for activation in state.activations] == [1, 2, 3, 4]
        plan = plan_group(state, [Rollback("r")], payload_at={3: b"b"}.__getitem__)
        state.adopt(plan)
        assert [(event.revision, event.space, event.payload) for event in plan.events] == [
            (5, "b@0123456789abcdef", b"b")
        ]
        plan = plan_group(state, [Rollback("s"), Rollback("t")], payload_at={2: b"a", 1: b""}.__getitem__)
        state.adopt(plan)
        assert [(event.space, event.payload) for event in plan.events] == [("a@0123456789abcdef", b"a"), ("", b"")]
        assert (state.aligner, state.revision) == ("", 7)
        plan = plan_group(state, [Rollback("u"), Rollback("t")], payload_at=_never)
        refused, answered_before = plan.outcomes
        assert isinstance(refused, FailedPreconditionError)
        assert refused.reason == "NO_PREVIOUS_ALIGNER"
        assert isinstance(answered_before, Answer)
        assert (answered_before.revision, plan.events) == (7, [])

    def test_a_rollback_sees_a_promotion_of_its_own_group(self) -> None:
        """An artefact that is not committed yet is taken from the group; one that is gone from it, from the store."""
        state = replace(_state(), activations=(Activation(1, ""),))
        first, second = (SetAligner(name, f"{name}@0123456789abcdef", name.encode()) for name in "ab")
        plan = plan_group(state, [first, second, Rollback("r")], payload_at=_never)
        assert [event.payload for event in plan.events] == [b"a", b"b", b"a"]

    def test_an_override_is_kept_with_its_event(self) -> None:
        """Whoever reads the events finds why an aligner was taken although it broke the guard."""
        given = SetAligner("a", "al@0123456789abcdef", b"artefact", override_reason="the editors decided so")
        (event,) = plan_group(_state(), [given], payload_at=_never).events
        assert attributes_from_json(event.attributes)[0] == {"override_reason": "the editors decided so"}

    def test_only_the_newest_request_ids_are_remembered(self) -> None:
        """The memory is bounded."""
        state = replace(_state(), request_ids_count=2)
        _apply(state, *(Delete(request_id, ("nobody",)) for request_id in "abc"))
        assert list(state.answers) == ["b", "c"]


class TestLoadState:
    """`load_state`."""

    def test_a_state_read_from_the_store_is_the_state_that_wrote_it(self, tmp_path: Path) -> None:
        """200 random mutations in groups, with compaction between them: items, counts, aligner, answers agree."""
        rng = np.random.default_rng(5)
        first = Event(
            revision=1, op=Op.SETTINGS, request_id="create", answer=Answer(op=Op.SETTINGS, revision=1).to_json()
        )
        table = EventTable.create(str(tmp_path / "events.lance"), first, durable=False)
        state = replace(_state(), activations=(Activation(1, ""),))
        for group in range(40):
            mutations: list[Mutation] = []
            for number in range(5):
                request_id = f"{group}-{number}"
                ids = [str(key) for key in rng.choice(30, size=4, replace=False)]
                if rng.random() < 0.6:
                    items = [NewItem(id=key, modality=list(Modality)[int(rng.integers(2))]) for key in ids]
                    mutations.append(_upsert(request_id, items, seed=int(rng.integers(100))))
                elif rng.random() < 0.9:
                    mutations.append(Delete(request_id, tuple(ids)))
                elif rng.random() < 0.4:
                    mutations.append(SetShadow(request_id, f"sh@{group:016x}" if group % 7 else "", b"artefact"))
                elif rng.random() < 0.6:
                    mutations.append(SetAligner(request_id, f"al@{group:016x}", b"artefact"))
                else:
                    mutations.append(Rollback(request_id))
            plan = plan_group(state, mutations, payload_at=lambda _: b"artefact")
            if plan.events:
                table.append(plan.events)
            state.adopt(plan)
            if group % 8 == 0:
                table.maintain(fan_out=4, keep_versions_s=300.0)
        loaded = load_state(table.view(), ONE_SPACE, request_ids_count=100)
        assert loaded.items == state.items
        assert (loaded.revision, loaded.aligner) == (state.revision, state.aligner)
        assert loaded.shadow == state.shadow != ""
        assert len(loaded.activations) > 1
        assert loaded.activations == state.activations
        assert {m: loaded.counts[m] for m in Modality} == {m: state.counts[m] for m in Modality}
        # Mutations that changed nothing left no rows, so only the others are remembered.
        assert loaded.answers.keys() - {"create"} <= state.answers.keys() | {
            f"{g}-{n}" for g in range(40) for n in range(5)
        }
        assert all(answer == state.answers[key] for key, answer in loaded.answers.items() if key in state.answers)

    def test_promotions_from_before_there_were_rollbacks_are_taken_in_their_order(self, tmp_path: Path) -> None:
        """Their answers say nothing of what came before, so the promotion before in time is meant."""
        table = EventTable.create(str(tmp_path / "events.lance"), _settings(1, ""), durable=False)
        table.append([_settings(2, "a@0123456789abcdef"), _settings(3, "b@0123456789abcdef")])
        state = load_state(table.view(), ONE_SPACE, request_ids_count=10)
        assert state.activations == (
            Activation(1, ""),
            Activation(2, "a@0123456789abcdef"),
            Activation(3, "b@0123456789abcdef"),
        )

    def test_lookup_tells_what_was_stored(self) -> None:
        """Content digest, metadata digest and space of an item; None for one that is not there."""
        state = _state()
        item = replace(images("x")[0], content_digest=bytes(range(32)))
        mutation = _upsert("a", [item])
        _apply(state, mutation)
        found = state.lookup("x")
        assert found is not None
        assert (found.content_digest, found.space) == (bytes(range(32)), SPACE)
        assert found.metadata_digest == mutation.items[0].metadata_digest
        assert state.lookup("y") is None


@pytest.mark.parametrize("count", [0, 1])
def test_a_collection_of_few_events_is_loaded(tmp_path: Path, count: int) -> None:
    """A collection that was only just created, and one with a single item."""
    first = Event(revision=1, op=Op.SETTINGS, request_id="create", answer=Answer(op=Op.SETTINGS, revision=1).to_json())
    table = EventTable.create(str(tmp_path / "events.lance"), first, durable=False)
    plan = plan_group(_state(), [_upsert("a", images("x"))], payload_at=_never)
    if count:
        table.append(plan.events)
    state = load_state(table.view(), ONE_SPACE, request_ids_count=10)
    assert (state.revision, len(state.items)) == (1 + count, count)
    assert "create" in state.answers
