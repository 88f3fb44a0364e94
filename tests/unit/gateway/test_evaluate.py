"""Evaluation through search is bounded, and names what it read."""

from __future__ import annotations

import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Collection, PairedItems, Row
from isthmus.gateway.evaluate import EvaluateLimits, Evaluator
from isthmus.gateway.offload import Offload
from isthmus.runtime.base.errors import FailedPreconditionError, ResourceExhaustedError
from tests.unit.gateway.memory_services import MemorySearcher, MemoryWriter

ROW = Row(bytes(8))


def _rig(*, max_items: int = 1_000, max_pairs: int = 100) -> tuple[Evaluator, MemorySearcher]:
    writer = MemoryWriter(Collection(name="c", image_space="i@0", text_space="t@0", revision=5, aligner="a@1"))
    searcher = MemorySearcher(writer)
    limits = EvaluateLimits(max_pairs_count=max_pairs, max_items_count=max_items)
    return Evaluator(searcher=searcher, offload=Offload(), limits=limits), searcher


def _pairs(count: int) -> list[PairedItems]:
    keys = [f"p{number}" for number in range(count)]
    return [
        PairedItems(modality, [f"{modality.value}{key}" for key in keys], keys, [ROW] * count) for modality in Modality
    ]


async def test_every_query_is_searched_twice_at_the_pinned_revision() -> None:
    """Three pairs: one search each way for the other modality and one for both, in the query's raw space."""
    evaluator, searcher = _rig()
    searcher.pairs = _pairs(3)
    found = await evaluator.evaluate("c", min_revision=2)
    assert searcher.calls[0] == "pairs c 2"
    assert sorted(searcher.calls[1:]) == [
        "search image i@0 None",
        "search image i@0 text",
        "search text t@0 None",
        "search text t@0 image",
    ]
    assert {revision for _, revision in searcher.wanted} == {5}
    assert (found.report.pair_count, found.collection.aligner) == (3, "a@1")


async def test_many_queries_go_in_batches() -> None:
    """600 queries of one modality are three batches of at most 256."""
    evaluator, searcher = _rig(max_items=2_000, max_pairs=1_000)
    searcher.pairs = _pairs(600)
    await evaluator.evaluate("c", min_revision=0)
    assert len(searcher.wanted) == 2 * 2 * 3


async def test_only_so_many_pairs_are_judged() -> None:
    """Beyond the bound a sample of pair keys is judged; every item stays an answer."""
    evaluator, searcher = _rig(max_pairs=10)
    searcher.pairs = _pairs(50)
    found = await evaluator.evaluate("c", min_revision=0)
    assert (found.report.pair_count, found.report.image_query_count) == (10, 10)


async def test_a_collection_too_large_to_hold_is_refused() -> None:
    """Before memory is full, not after."""
    evaluator, searcher = _rig(max_items=99)
    searcher.pairs = _pairs(50)
    with pytest.raises(ResourceExhaustedError) as caught:
        await evaluator.evaluate("c", min_revision=0)
    assert caught.value.reason == "LIMIT_EXCEEDED"


async def test_without_pairs_there_is_nothing_to_judge_by() -> None:
    """Items of one modality alone are refused with the number needed."""
    evaluator, searcher = _rig()
    searcher.pairs = _pairs(3)[:1]
    with pytest.raises(FailedPreconditionError) as caught:
        await evaluator.evaluate("c", min_revision=0)
    assert (caught.value.reason, caught.value.metadata["needed"]) == ("NOT_ENOUGH_PAIRS", "1")
