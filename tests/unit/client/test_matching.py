"""Pairs through both clients: what is sent, what comes back, and that a bad pair harms no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.client import (
    AsyncClient,
    AuditedPair,
    AuditSummary,
    Client,
    ClientConfig,
    FailedPreconditionError,
    Limits,
    MatchResult,
    MatchTerms,
    Pair,
    SpacedVector,
)
from isthmus.runtime.base import errors as served
from isthmus.v1 import matching_pb2
from tests.unit.client.gateway.matching import AUDITED_COUNT
from tests.unit.client.small_gateway import ALIGNER, BROKEN_IMAGE, IMAGE_SPACE, TEXT_SPACE, Running, SmallGateway


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, server: Running) -> AsyncIterator[Client | AsyncClient]:
    """A client with small messages, three pairs each, and a collection."""
    config = ClientConfig(limits=Limits(chunk_max_count=3))
    with Client(server.address) as first:
        first.create_collection("c")
    if request.param == "sync":
        with Client(server.address, config=config) as sync_client:
            yield sync_client
    else:
        async with AsyncClient(server.address, config=config) as async_client:
            yield async_client


async def matched(client: Client | AsyncClient, pairs: list[Pair], **options: Any) -> MatchResult:
    """Match in either client."""
    if isinstance(client, Client):
        return client.match_pairs("c", pairs, **options)
    return await client.match_pairs("c", pairs, **options)


async def audited(client: Client | AsyncClient, **options: Any) -> list[AuditSummary | AuditedPair]:
    """Audit in either client."""
    if isinstance(client, Client):
        return list(client.audit_pairs("c", **options))
    return [part async for part in client.audit_pairs("c", **options)]


async def test_pairs_travel_in_messages_and_come_back_numbered(
    client: Client | AsyncClient, gateway: SmallGateway, tmp_path: Path
) -> None:
    """Seven pairs of every form in three messages; a broken one is an error with its number, a long text is told."""
    (tmp_path / "cat").write_bytes(b"a cat")
    vector = SpacedVector(np.ones(8), modality="image", space=IMAGE_SPACE)
    of_text = SpacedVector(np.ones(8), modality="text", space=TEXT_SPACE)
    pairs = [
        Pair(image=tmp_path / "cat", text="a cat"),
        Pair(image=b"a dog", text="a cat"),
        Pair(image=BROKEN_IMAGE, text="a cat"),
        Pair(image_id="same", text_id="same"),
        Pair(image_vector=vector, text_vector=of_text),
        Pair(image=b"a dog", text="long"),
        Pair(image_id="nobody", text="a cat"),
    ]
    found = await matched(
        client, pairs, terms=MatchTerms(false_accept_rate=0.05, impostor="best", prior=0.9), truncation="flag"
    )
    assert [(one.index, one.decision) for one in found.matches] == [
        (0, "match"),
        (1, "no_match"),
        (3, "match"),
        (4, "match"),
        (5, "no_match"),
    ]
    assert [(error.index, error.reason) for error in found.errors] == [(2, "INVALID_IMAGE"), (6, "ITEM_NOT_FOUND")]
    assert (found.matches[0].probability, found.matches[0].score) == (0.875, 2.0)
    assert (found.accept_above, found.refuse_below, found.truncated) == (1.0, -1.0, (5,))
    assert (found.aligner, found.space, found.calibration) == (ALIGNER, ALIGNER, "fitted")
    assert found.timings.total_micros == 30
    requests = gateway.requests["MatchPairs"]
    assert [len(request.pairs) for request in requests] == [3, 3, 1]
    terms = requests[0].terms
    assert (terms.false_accept_rate, terms.impostor, terms.prior) == (0.05, matching_pb2.PAIR_IMPOSTOR_BEST, 0.9)
    assert requests[1].pairs[1].image_vector.space == IMAGE_SPACE
    await matched(client, pairs[:1])
    plain = gateway.requests["MatchPairs"][-1].terms
    assert not plain.HasField("false_accept_rate")
    assert not plain.HasField("prior")


async def test_no_pairs_ask_nothing(client: Client | AsyncClient, gateway: SmallGateway) -> None:
    """An empty list is an empty result, without a call."""
    found = await matched(client, [])
    assert (found.matches, found.errors, found.aligner) == ((), (), "")
    assert np.isnan(found.accept_above)
    assert gateway.calls["MatchPairs"] == 0


async def test_an_audit_comes_as_a_summary_and_pairs(client: Client | AsyncClient, gateway: SmallGateway) -> None:
    """More pairs than a message holds come one after the other, worst first; what is unset is None or empty."""
    summary, *pairs = await audited(client, top=1_100, seed=3, terms=MatchTerms(false_accept_rate=0.02))
    assert isinstance(summary, AuditSummary)
    assert (summary.pairs, summary.wrong_share, summary.match_count) == (AUDITED_COUNT, 0.125, 1_000)
    assert (summary.decided, summary.aligner) == (True, ALIGNER)
    assert len(pairs) == 1_100
    first, second = pairs[:2]
    assert isinstance(first, AuditedPair)
    assert isinstance(second, AuditedPair)
    assert (first.image_id, first.text_id, first.pair_key, first.probability) == ("i0", "t0", "p0", 0.0)
    assert (first.decision, first.match_probability, first.nearest_text_id) == (None, None, "")
    assert (second.decision, second.match_probability, second.nearest_image_id) == ("undecided", 0.5, "i2")
    (request,) = gateway.requests["AuditPairs"]
    assert (request.top_count, request.seed, request.terms.false_accept_rate) == (1_100, 3, 0.02)
    await audited(client)
    request = gateway.requests["AuditPairs"][1]
    assert (request.top_count, request.HasField("terms")) == (100, False)


async def test_what_an_audit_is_refused_with_is_raised(client: Client | AsyncClient, gateway: SmallGateway) -> None:
    """As an exception of its code, with its reason."""
    gateway.failures["AuditPairs"].append(
        served.FailedPreconditionError("fit one first", reason="NOT_CALIBRATED", metadata={"command": "fit"})
    )
    with pytest.raises(FailedPreconditionError) as caught:
        await audited(client)
    assert caught.value.reason == "NOT_CALIBRATED"
    with pytest.raises(ValueError, match="least is 0"):
        await audited(client, top=-1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pair(image=b"a"),
        lambda: Pair(text="a"),
        lambda: Pair(image=b"a", image_id="a", text="a"),
        lambda: MatchTerms(false_accept_rate=0.0),
        lambda: MatchTerms(prior=1.0),
        lambda: MatchTerms(impostor="worst"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_before_it_is_sent(make: Callable[[], object]) -> None:
    """Each side in one way; shares between 0 and 1."""
    with pytest.raises(ValueError, match=r"takes exactly one|must be"):
        make()
