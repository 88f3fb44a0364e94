"""Links between items that nobody paired, through the gateway, a real index and a real alignment service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.runtime.base.not_calibrated import CALIBRATE_COMMAND
from isthmus.v1 import common_pb2, gateway_service_pb2, linking_pb2
from tests.integration.gateway_calls import create, refusal, request, search, spaced, upsert
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh

SPACE = "dual@00000000000000aa"
OTHER_SPACE = "other@00000000000000bb"
PAIRED, UNPAIRED = 300, 120


def _items(modality: Modality, *, count: int, keyed: int) -> list[gateway_service_pb2.UpsertItem]:
    """Return things seen from one side, the first of them with a pair key."""
    meaning = np.random.default_rng(8).normal(size=(PAIRED + UNPAIRED, 16))
    noise = np.random.default_rng(9 if modality is Modality.IMAGE else 10).normal(size=meaning.shape)
    number = common_pb2.MODALITY_IMAGE if modality is Modality.IMAGE else common_pb2.MODALITY_TEXT
    return [
        gateway_service_pb2.UpsertItem(
            id=f"{modality}-{n}",
            pair_key=f"p{n}" if n < keyed else "",
            vector=spaced(list(row), space=SPACE, modality=number),
        )
        for n, row in enumerate((meaning + 0.5 * noise)[:count])
    ]


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """`things`: 300 pairs, and 120 images and as many texts without a key. `paired`: texts without a key, no image."""
    image, text = (DummyEncoder(modality, space=SPACE) for modality in (Modality.IMAGE, Modality.TEXT))
    async with gateway_mesh(data_dir=tmp_path, image=image, text=text) as running:
        for name, keyed in (("things", PAIRED), ("paired", PAIRED + UNPAIRED)):
            await create(running, name)
            requests = [
                request("r1", _items(Modality.IMAGE, count=PAIRED + UNPAIRED, keyed=keyed), collection=name),
                request("r2", _items(Modality.TEXT, count=PAIRED + UNPAIRED, keyed=PAIRED), collection=name),
            ]
            (*_, ack) = await upsert(running, *requests)
            await search(running, collection=name, item_id="text-0", min_revision=ack.revision)
        yield running


async def _fit(mesh: GatewayMesh) -> str:
    """Fit an aligner that changes nothing but has a calibration; return its name."""
    fit = gateway_service_pb2.FitAlignerRequest(
        collection="things", aligner_id="as-it-is", method="identity", request_id="fit"
    )
    aligner = ""
    async for step in mesh.stub.FitAligner(fit, timeout=120):
        aligner = step.aligner.aligner
    return aligner


async def _links(
    mesh: GatewayMesh, *, collection: str = "things", aligner: str = "", min_revision: int = 0, **terms: Any
) -> tuple[linking_pb2.LinkSummary, list[linking_pb2.ProposedLink]]:
    message = gateway_service_pb2.ProposeLinksRequest(
        collection=collection, aligner=aligner, min_revision=min_revision, terms=linking_pb2.LinkTerms(**terms)
    )
    first, *rest = [part async for part in mesh.stub.ProposeLinks(message, timeout=120)]
    return first.summary, [link for part in rest for link in part.links]


def _right(links: list[linking_pb2.ProposedLink]) -> list[bool]:
    return [link.image_id.rpartition("-")[2] == link.text_id.rpartition("-")[2] for link in links]


async def test_items_without_a_pair_key_find_one_another(mesh: GatewayMesh) -> None:
    """All of 120 links are right one-to-one, 111 by best image.

    Nothing with a pair key is touched, and nothing is stored.
    """
    aligner = await _fit(mesh)
    summary, links = await _links(mesh, aligner="as-it-is")
    right = _right(links)
    assert (summary.image_count, summary.text_count, summary.count) == (UNPAIRED, UNPAIRED, len(links))
    assert (summary.aligner, summary.HasField("accept_above")) == (aligner, False)
    assert {int(link.image_id.rpartition("-")[2]) for link in links} <= set(range(PAIRED, PAIRED + UNPAIRED))
    assert len({link.image_id for link in links}) == len({link.text_id for link in links}) == len(links)
    assert sum(right) >= 114
    assert all(right[:60])
    best, found = await _links(mesh, aligner="as-it-is", mode=linking_pb2.LINK_MODE_BEST_IMAGE)
    assert best.count == UNPAIRED
    assert 100 <= sum(_right(found)) < sum(right)
    again, repeated = await _links(mesh, aligner="as-it-is")
    assert (again, repeated) == (summary, links)


async def test_terms_choose_rate_and_count(mesh: GatewayMesh) -> None:
    """A false-accept rate leaves items without a link, a maximum keeps the most probable ones."""
    await _fit(mesh)
    whole, every = await _links(mesh, aligner="as-it-is", mode=linking_pb2.LINK_MODE_BEST_TEXT)
    strict, few = await _links(
        mesh, aligner="as-it-is", mode=linking_pb2.LINK_MODE_BEST_TEXT, false_accept_rate=0.2, max_count=10
    )
    assert whole.count == UNPAIRED
    assert strict.count == len(few) == 10
    assert all(link.score > strict.accept_above for link in few)
    kept = [link for link in every if link.score > strict.accept_above]
    assert 10 < len(kept) < UNPAIRED
    assert [link.image_id for link in few] == [link.image_id for link in kept[:10]]


async def test_what_cannot_be_linked_is_refused_with_its_reason(mesh: GatewayMesh) -> None:
    """No unpaired item of a modality, no calibration, no such collection or aligner, terms out of bounds."""
    await _fit(mesh)
    failed, missing = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    cases: list[tuple[dict[str, Any], tuple[grpc.StatusCode, str, dict[str, str]]]] = [
        ({"collection": "paired"}, (failed, "NOTHING_TO_LINK", {"image_count": "0", "text_count": str(UNPAIRED)})),
        ({}, (failed, "NOT_CALIBRATED", {"command": CALIBRATE_COMMAND})),
        ({"aligner": "nobody"}, (missing, "ALIGNER_NOT_FOUND", {"field": "aligner"})),
        (
            {"aligner": "as-it-is", "false_accept_rate": 1.0},
            (invalid, "INVALID_FIELD", {"field": "terms.false_accept_rate"}),
        ),
        ({"aligner": "as-it-is", "mode": 9}, (invalid, "UNKNOWN_ENUM_VALUE", {"field": "terms.mode"})),
    ]
    for options, wanted in cases:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _links(mesh, **options)
        assert refusal(caught.value) == wanted, options
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _links(mesh, collection="nowhere")
    assert refusal(caught.value)[:2] == (missing, "COLLECTION_NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _links(mesh, aligner="as-it-is", false_accept_rate=0.001)
    assert refusal(caught.value)[:2] == (failed, "NOT_ENOUGH_PAIRS")


async def test_two_raw_spaces_without_an_aligner_are_refused(tmp_path: Path) -> None:
    """Images of one encoder and texts of another have no score: NO_ALIGNER, with the command that helps."""
    image, text = DummyEncoder(Modality.IMAGE, space=SPACE), DummyEncoder(Modality.TEXT, space=OTHER_SPACE)
    async with gateway_mesh(data_dir=tmp_path, image=image, text=text) as mesh:
        await create(mesh, "things")
        foreign = [
            gateway_service_pb2.UpsertItem(id=f"t{n}", vector=spaced([1.0 + n] * 16, space=OTHER_SPACE))
            for n in range(2)
        ]
        images = _items(Modality.IMAGE, count=2, keyed=0)
        (*_, ack) = await upsert(mesh, request("r1", images), request("r2", foreign))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _links(mesh, min_revision=ack.revision)
        assert refusal(caught.value)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ALIGNER")
