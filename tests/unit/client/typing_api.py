"""The typed public API of the client. Nothing runs here: mypy checks that this is how it may be used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isthmus.client import (
    Aligner,
    AsyncClient,
    AuditedPair,
    AuditSummary,
    Client,
    ClientConfig,
    Collection,
    Comparison,
    DeleteResult,
    EmbedResult,
    EvaluationReport,
    Example,
    F,
    FitOptions,
    FitProgress,
    Gain,
    GainOptions,
    GapReport,
    GetResult,
    Input,
    Item,
    Limits,
    LinkProposal,
    MatchResult,
    MatchTerms,
    Modality,
    Neighbor,
    Pair,
    PromotionHistory,
    RefitProposal,
    Resume,
    SearchResult,
    ShadowReport,
    SliceOptions,
    SpacedVector,
    Status,
    Timeouts,
    UpsertAck,
    UpsertSummary,
    VerificationReport,
    WatchReport,
)

CONFIG = ClientConfig(timeouts=Timeouts(call_s=2.0), limits=Limits(window_max_count=2), resume=Resume(max_attempts=3))

WHERE = (F("price") < 10) & F("color").is_in(["red", "blue"]) | (F("sold") == False)  # noqa: E712 - a value

OPTIONS = FitOptions(dimension=64, hubness=True)
SLICES = SliceOptions(attribute="color", caption_length=True, query_ids=["a"])
GAINS = GainOptions(rows=[Gain("a", "b", 1.5)], top_k=5, modality="image")


def on_ack(ack: UpsertAck) -> None:
    """Take an acknowledgement."""
    assert_type(ack.revision, int)


def on_progress(step: FitProgress) -> None:
    """Take a step."""
    assert_type(step.progress, float)


def synchronous(pixels: NDArray[np.uint8], picture: Image.Image) -> None:
    """Use every method of the client for threads."""
    with Client("127.0.0.1:7480", config=CONFIG) as client:
        embedded = client.embed(images=[b"jpeg", "a.jpg", Path("a.jpg"), pixels, picture], texts=["a"], timeout_s=1.0)
        assert_type(embedded, EmbedResult)
        assert_type(embedded.texts.vectors, NDArray[np.float32])
        assert_type(embedded.vector(0), NDArray[np.float32])
        assert_type(client.embed(inputs=[Input(text="a"), Input(image=picture)]), EmbedResult)

        items = [
            Item(id="a", image=pixels, attributes={"year": 2020, "raw": False}, pair_key="p"),
            Item(id="b", text="a text"),
            Item(id="c", vector=SpacedVector([0.1], modality="text", space="mine@0123456789abcdef"), content_words=7),
        ]
        assert_type(client.upsert("c", items, truncation="refuse", progress=on_ack), UpsertSummary)
        assert_type(client.upsert_acks("c", iter(items)), Iterator[UpsertAck])
        assert_type(client.delete("c", ["a"]), DeleteResult)
        assert_type(client.get_items("c", ["a"], include_embeddings=True), GetResult)

        found = client.search("c", text="a", modality="image", where=WHERE, top_k=3, min_revision=0)
        assert_type(found, SearchResult)
        assert_type(found.neighbors, tuple[Neighbor, ...])
        assert_type(found.neighbors[0].modality, Modality)
        assert_type(client.search("c", image=picture, group_by="pair_key"), SearchResult)

        assert_type(client.search("c", examples=[Example(text="a"), Example(item_id="b", weight=-1)]), SearchResult)

        assert_type(client.create_collection("c", store_thumbnails=True), Collection)
        assert_type(client.get_collection("c"), Collection)
        assert_type(client.list_collections(), tuple[Collection, ...])
        client.delete_collection("c")
        assert_type(client.evaluate("c", through_search=True), EvaluationReport)
        assert_type(client.measure_gap("c", aligner="a", label_attribute="kind", label_template="a {}"), GapReport)
        assert_type(client.verify_aligner("c", "a", slices=SLICES, gains=GAINS), VerificationReport)
        assert_type(client.compare_aligners("c", methods=["center"]), Comparison)
        assert_type(client.match_pairs("c", [Pair(image=picture, text="a")], terms=MatchTerms(prior=0.9)), MatchResult)
        assert_type(client.audit_pairs("c", top=5), Iterator[AuditSummary | AuditedPair])
        assert_type(client.propose_links("c", mode="best_image"), LinkProposal)
        assert_type(client.list_aligners(), tuple[Aligner, ...])
        assert_type(
            client.fit_aligner("c", aligner_id="a", method="cca", options=OPTIONS, progress=on_progress), Aligner
        )
        assert_type(client.import_aligner(Path("folder")), Aligner)
        assert_type(client.get_aligner("a"), Aligner)
        assert_type(client.export_aligner("a", Path("folder")), Aligner)
        assert_type(client.promote_aligner("c", "a", allow_unverified=True), Collection)
        assert_type(client.rollback_aligner("c"), Collection)
        assert_type(client.list_promotions("c"), PromotionHistory)
        assert_type(client.set_shadow_aligner("c", None), Collection)
        assert_type(client.shadow_report("c"), ShadowReport)
        assert_type(client.get_watch("c"), WatchReport)
        assert_type(client.list_proposals(include_closed=True), tuple[RefitProposal, ...])
        assert_type(client.dismiss_proposal("c", "p", reason="r"), RefitProposal)
        assert_type(client.status(), Status)


async def asynchronous(pixels: NDArray[np.uint8]) -> None:
    """Use every method of the client for asyncio."""

    async def source() -> AsyncIterator[Item]:
        """Yield an item."""
        yield Item(id="a", image=pixels)

    async with AsyncClient() as client:
        assert_type(await client.embed(images=[pixels]), EmbedResult)
        assert_type(await client.upsert("c", source()), UpsertSummary)
        assert_type(await client.upsert("c", [Item(id="a", text="a")]), UpsertSummary)
        async for ack in client.upsert_acks("c", source()):
            assert_type(ack, UpsertAck)
        assert_type(await client.delete("c", ["a"]), DeleteResult)
        assert_type(await client.get_items("c", ["a"]), GetResult)
        assert_type(await client.search("c", item_id="a", where=~WHERE), SearchResult)
        assert_type(await client.create_collection("c"), Collection)
        assert_type(await client.get_collection("c"), Collection)
        assert_type(await client.list_collections(), tuple[Collection, ...])
        await client.delete_collection("c")
        assert_type(await client.evaluate("c"), EvaluationReport)
        assert_type(await client.measure_gap("c"), GapReport)
        assert_type(await client.verify_aligner("c", "a", slices=SLICES, gains=GAINS), VerificationReport)
        assert_type(await client.compare_aligners("c"), Comparison)
        assert_type(await client.match_pairs("c", [Pair(image_id="a", text="a")]), MatchResult)
        async for part in client.audit_pairs("c"):
            assert_type(part, AuditSummary | AuditedPair)
        assert_type(await client.propose_links("c"), LinkProposal)
        assert_type(await client.list_aligners(), tuple[Aligner, ...])
        assert_type(await client.fit_aligner("c", aligner_id="a", method="center"), Aligner)
        assert_type(await client.import_aligner("folder"), Aligner)
        assert_type(await client.get_aligner("a"), Aligner)
        assert_type(await client.export_aligner("a", "folder"), Aligner)
        assert_type(await client.promote_aligner("c", "a"), Collection)
        assert_type(await client.rollback_aligner("c"), Collection)
        assert_type(await client.list_promotions("c"), PromotionHistory)
        assert_type(await client.set_shadow_aligner("c", "a"), Collection)
        assert_type(await client.shadow_report("c"), ShadowReport)
        assert_type(await client.get_watch("c"), WatchReport)
        assert_type(await client.list_proposals("c"), tuple[RefitProposal, ...])
        assert_type(await client.dismiss_proposal("c", "p"), RefitProposal)
        assert_type(await client.status(), Status)
