"""Tenants never see one another: what is another tenant's is answered like what was never there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.client import AsyncClient, Item
from isthmus.core.modality import Modality
from isthmus.gateway.cache_key import CacheKeys
from isthmus.gateway.domain import EncoderInfo
from isthmus.v1 import gateway_service_pb2 as pb
from isthmus.v1 import importing_pb2
from tests.security.edge import KEYS, any_call, key_line, write_keys
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh

SECRET, ABSENT = "secret", "absent"
SERVICE = "/isthmus.v1.GatewayService"


def _mesh(tmp_path: Path, keys_file: Path) -> contextlib.AbstractAsyncContextManager[GatewayMesh]:
    """Start a gateway before a real index and a real alignment service; its encoders share one space."""
    image, text = (DummyEncoder(modality, space="dual@0123456789abcdef") for modality in Modality)
    return gateway_mesh(image=image, text=text, data_dir=tmp_path / "data", keys_file=keys_file)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A mesh with a collection of the tenant `shop`."""
    async with _mesh(tmp_path, write_keys(tmp_path / "keys")) as running:
        async with AsyncClient(running.gateway.address, api_key=KEYS["admin"]) as shop:
            await shop.create_collection(SECRET)
            await shop.upsert(SECRET, [Item(id=f"s{n}", text=f"secret {n}", pair_key=f"p{n}") for n in range(4)])
        yield running


def _requests(collection: str) -> dict[str, Message]:
    """Return a request of every method that names a collection."""
    return {
        "SearchItems": pb.SearchItemsRequest(collection=collection, text="secret 1", top_k=3),
        "BatchSearchItems": pb.BatchSearchItemsRequest(
            collection=collection, queries=[pb.SearchQuery(text="secret 1"), pb.SearchQuery(item_id="s2")]
        ),
        "GetItems": pb.GetItemsRequest(collection=collection, ids=["s1"]),
        "GetCollection": pb.GetCollectionRequest(name=collection),
        "Evaluate": pb.EvaluateRequest(collection=collection),
        "DeleteItems": pb.DeleteItemsRequest(collection=collection, ids=["s1"], request_id="r1"),
        "EraseItems": pb.EraseItemsRequest(collection=collection, ids=["s1"], request_id="r9"),
        "DeleteCollection": pb.DeleteCollectionRequest(name=collection, request_id="r2"),
        "PromoteAligner": pb.PromoteAlignerRequest(
            collection=collection, aligner="identity", allow_unverified=True, request_id="r3"
        ),
        "RollbackAligner": pb.RollbackAlignerRequest(collection=collection, request_id="r4"),
        "FitAligner": pb.FitAlignerRequest(collection=collection, aligner_id="a", method="center", request_id="r5"),
        "UpsertItems": pb.UpsertItemsRequest(
            collection=collection, items=[pb.UpsertItem(id="mine", text="mine")], request_id="r6"
        ),
        "VerifyAligner": pb.VerifyAlignerRequest(collection=collection, aligner="identity"),
        "CompareAligners": pb.CompareAlignersRequest(collection=collection),
        "MatchPairs": pb.MatchPairsRequest(collection=collection, pairs=[pb.PairToMatch(image_id="s0", text_id="s1")]),
        "AuditPairs": pb.AuditPairsRequest(collection=collection),
        "MeasureGap": pb.MeasureGapRequest(collection=collection),
        "SetShadowAligner": pb.SetShadowAlignerRequest(collection=collection, request_id="r7"),
        "GetShadowReport": pb.GetShadowReportRequest(collection=collection),
        "GetWatch": pb.GetWatchRequest(collection=collection),
        "ListProposals": pb.ListProposalsRequest(collection=collection),
        "DismissProposal": pb.DismissProposalRequest(collection=collection, proposal="0" * 16, request_id="r7"),
        "ProposeLinks": pb.ProposeLinksRequest(collection=collection),
        "ImportFiles": pb.ImportFilesRequest(
            collection=collection,
            folder="job",
            files=[importing_pb2.ImportFile(name="block", digest=bytes(32))],
            request_id="r8",
        ),
        "BackupCollection": pb.BackupCollectionRequest(collection=collection),
        "RestoreCollection": pb.RestoreCollectionRequest(collection=collection, request_id="r9"),
        "SetAlias": pb.SetAliasRequest(alias="mine", collection=collection, request_id="r8"),
        "ListPromotions": pb.ListPromotionsRequest(collection=collection),
    }


def test_every_method_that_names_a_collection_is_asked_here() -> None:
    """A new RPC with a collection in its request fails here until it is among the requests below."""
    service = pb.DESCRIPTOR.services_by_name["GatewayService"]
    naming = {
        method.name
        for method in service.methods
        if "collection" in method.input_type.fields_by_name or method.name in {"GetCollection", "DeleteCollection"}
    }
    assert set(_requests("any")) == naming


async def test_the_labels_of_anothers_collection_are_not_there_either(mesh: GatewayMesh) -> None:
    """The values of an attribute are looked up before anything is measured: they too are the tenant's own."""
    async with grpc.aio.insecure_channel(mesh.gateway.address) as channel:
        shown = [
            await any_call(
                channel,
                f"{SERVICE}/MeasureGap",
                pb.MeasureGapRequest(collection=name, label_attribute="kind").SerializeToString(),
                key=KEYS["rival"],
            )
            for name in (SECRET, ABSENT)
        ]
    assert shown[0].code == "NOT_FOUND"
    assert shown[0].shown == shown[1].shown


async def test_anothers_collection_is_answered_like_one_that_is_not_there(mesh: GatewayMesh) -> None:
    """Search, get, list, evaluate, delete, fit, promote: code, reason, message and details are those of NOT_FOUND."""
    async with grpc.aio.insecure_channel(mesh.gateway.address) as channel:
        for method, request in _requests(SECRET).items():
            theirs = await any_call(channel, f"{SERVICE}/{method}", request.SerializeToString(), key=KEYS["rival"])
            absent = _requests(ABSENT)[method].SerializeToString()
            nothing = await any_call(channel, f"{SERVICE}/{method}", absent, key=KEYS["rival"])
            assert theirs.shown == nothing.shown, method
            # A restore makes what is absent: it is refused for what it lacks, a backup, before anybody looks.
            code = "INVALID_ARGUMENT" if method == "RestoreCollection" else "NOT_FOUND"
            assert (theirs.code, theirs.messages) == (code, ()), method
            assert b"secret" not in theirs.trailers
        listed = await any_call(channel, f"{SERVICE}/ListCollections", key=KEYS["rival"])
        assert not pb.ListCollectionsResponse.FromString(listed.messages[0]).collections
    # Nothing of it reached the owner's data.
    async with AsyncClient(mesh.gateway.address, api_key=KEYS["reader"]) as shop:
        assert sorted(item.id for item in (await shop.get_items(SECRET, [f"s{n}" for n in range(4)])).items) == [
            "s0",
            "s1",
            "s2",
            "s3",
        ]


async def test_the_same_name_is_two_collections(mesh: GatewayMesh) -> None:
    """Both tenants may call a collection alike and an item alike; each reads back its own, and deletes its own."""
    async with (
        AsyncClient(mesh.gateway.address, api_key=KEYS["rival"]) as rival,
        AsyncClient(mesh.gateway.address, api_key=KEYS["admin"]) as shop,
    ):
        await rival.create_collection(SECRET)
        await rival.upsert(SECRET, [Item(id="s1", text="a rival's")])
        found = await rival.search(SECRET, text="secret 2", top_k=10)
        assert [neighbor.id for neighbor in found.neighbors] == ["s1"]
        await rival.delete_collection(SECRET)
        found = await shop.search(SECRET, text="secret 2", top_k=10)
        assert sorted(neighbor.id for neighbor in found.neighbors) == ["s0", "s1", "s2", "s3"]


async def test_a_tenant_in_the_metadata_is_not_believed(mesh: GatewayMesh) -> None:
    """What counts is the key: names of tenant and role that a caller sends along change nothing."""
    async with grpc.aio.insecure_channel(mesh.gateway.address) as channel:
        method = channel.unary_unary(
            f"{SERVICE}/ListCollections",
            request_serializer=pb.ListCollectionsRequest.SerializeToString,
            response_deserializer=pb.ListCollectionsResponse.FromString,
        )
        answer = await method(
            pb.ListCollectionsRequest(),
            timeout=10,
            metadata=(
                ("authorization", f"Bearer {KEYS['rival']}"),
                ("x-isthmus-tenant", "shop"),
                ("x-isthmus-role", "admin"),
            ),
        )
        assert not answer.collections
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(pb.ListCollectionsRequest(), timeout=10, metadata=(("x-isthmus-tenant", "shop"),))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_one_tenant_embedded_is_no_cache_hit_for_another(mesh: GatewayMesh) -> None:
    """A hit would tell that somebody else has embedded the same: each tenant's first time is a miss, also at once."""
    async with (
        AsyncClient(mesh.gateway.address, api_key=KEYS["rival"]) as rival,
        AsyncClient(mesh.gateway.address, api_key=KEYS["reader"]) as shop,
    ):
        await shop.embed(texts=["a text that both have"])
        assert (await shop.embed(texts=["a text that both have"])).timings.cache_hits == 1
        assert (await rival.embed(texts=["a text that both have"])).timings.cache_misses == 1
        mesh.text.delay_s = 0.2
        both = await asyncio.gather(shop.embed(texts=["at once"]), rival.embed(texts=["at once"]))
        assert [answer.timings.cache_misses for answer in both] == [1, 1]


@given(
    st.lists(st.text(alphabet="abcdefghij0123456789-_", min_size=1, max_size=20), min_size=2, max_size=6, unique=True)
)
@settings(max_examples=50, deadline=None)
def test_cache_keys_of_tenants_never_meet(tenants: list[str]) -> None:
    """Whatever they are called, the same content by the same encoder has another key for each."""
    encoder = EncoderInfo("s@0123456789abcdef", Modality.TEXT, 8)
    assert len({CacheKeys(tenant, encoder).key(b"digest") for tenant in tenants}) == len(tenants)


async def test_many_tenants_at_once_see_only_their_own(tmp_path: Path) -> None:
    """Three tenants write and read the same names at once, 240 operations: no answer ever holds a foreign item."""
    tenants = ("shop", "rival", "third")
    keys = {tenant: f"isthmus_admin-of-{tenant}-0123456789" for tenant in tenants}
    keys_file = tmp_path / "keys"
    keys_file.write_text("\n".join(key_line(key, tenant=tenant, role="admin") for tenant, key in keys.items()))
    operations = 0

    async def live(address: str, tenant: str) -> None:
        nonlocal operations
        async with AsyncClient(address, api_key=keys[tenant]) as client:
            await client.create_collection("things")
            for turn in range(16):
                items = [Item(id=f"i{turn}", text=f"{tenant} {turn}", attributes={"owner": tenant})]
                await client.upsert("things", items)
                found = await client.search("things", text=f"shop {turn}", top_k=50)
                assert {neighbor.item.attributes["owner"] for neighbor in found.neighbors} == {tenant}
                assert len(found.neighbors) == turn + 1
                got = await client.get_items("things", [f"i{n}" for n in range(20)])
                assert [item.attributes["owner"] for item in got.items] == [tenant] * (turn + 1)
                (listed,) = await client.list_collections()
                assert listed.text_count == turn + 1
                await client.embed(texts=[f"{tenant} {turn}", "common"])
                operations += 5

    async with _mesh(tmp_path, keys_file) as mesh, asyncio.TaskGroup() as group:
        for tenant in tenants:
            group.create_task(live(mesh.gateway.address, tenant))
    assert operations == 240
