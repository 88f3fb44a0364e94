"""Embedding through the gateway: a bad input harms no neighbour, a crowd costs one encoding, limits hold."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import AsyncIterator

import grpc
import pytest

from isthmus.core.modality import Modality
from isthmus.runtime.base.errors import UnavailableError
from isthmus.runtime.base.limits import EMBED_MAX_COUNT, INTERNAL_RECEIVE_MAX_BYTES, TEXT_MAX_BYTES
from isthmus.v1 import common_pb2, gateway_service_pb2
from tests.integration.gateway_calls import IMAGE_SPACE, TEXT_SPACE, item_reasons, refusal
from tests.unit.gateway.dummy_encoder import DummyEncoder, expected_row
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh, image_input, png, rows_of, text_input


@pytest.fixture
async def mesh() -> AsyncIterator[GatewayMesh]:
    """A gateway in front of dummy encoders."""
    async with gateway_mesh() as running:
        yield running


def _bomb() -> bytes:
    """Return the header of a PNG of 20,000 x 20,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"
    )


def _broken_batch(number: int) -> list[common_pb2.Input]:
    """Return 256 inputs of which three are broken: 17 a cut JPEG, 99 a bomb, 200 an empty text."""
    inputs = [
        image_input(png(1_000 * number + place)) if place % 2 else text_input(f"text {number} {place}")
        for place in range(256)
    ]
    inputs[17] = image_input(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    inputs[99] = image_input(_bomb())
    inputs[200] = text_input("")
    return inputs


def _check_broken(answer: gateway_service_pb2.EmbedResponse) -> None:
    images, texts = answer.image_embeddings, answer.text_embeddings
    assert len(images.input_indexes) + len(texts.input_indexes) == 253
    assert item_reasons(answer.errors) == {17: "INVALID_IMAGE", 99: "IMAGE_TOO_LARGE", 200: "EMPTY_TEXT"}


async def test_three_broken_inputs_of_256_harm_nobody(mesh: GatewayMesh) -> None:
    """253 embeddings, each that of its own input, and 3 typed errors."""
    inputs = _broken_batch(0)
    answer = await mesh.embed(inputs)
    _check_broken(answer)
    for batch, space in ((answer.image_embeddings, IMAGE_SPACE), (answer.text_embeddings, TEXT_SPACE)):
        assert batch.space == space
        for index, row in zip(batch.input_indexes, rows_of(batch), strict=True):
            content = inputs[index].image or inputs[index].text.encode()
            assert row == expected_row(space, content, 16)


async def test_a_flood_of_broken_batches_leaves_the_gateway_healthy(mesh: GatewayMesh) -> None:
    """Eight clients send such batches three times each: every answer is whole, and the next one too."""

    async def _client(number: int) -> None:
        for turn in range(3):
            _check_broken(await mesh.embed(_broken_batch(10 * number + turn)))

    await asyncio.gather(*(_client(number) for number in range(8)))
    assert len(await mesh.embed_texts("still here")) == 1
    assert all(encoder.serving for encoder in (await mesh.status()).encoders)


async def test_two_hundred_requests_for_a_cold_key_cost_one_encoding(mesh: GatewayMesh) -> None:
    """Over the wire, at once: the encoder sees the text once."""
    mesh.text.delay_s = 0.05
    answers = await asyncio.gather(*(mesh.embed_texts("same") for _ in range(200)))
    assert mesh.text.seen[b"same"] == 1
    assert {row for (row,) in answers} == {expected_row(TEXT_SPACE, b"same", 16)}


async def test_a_thousand_images_of_equal_size_are_never_mixed_up(mesh: GatewayMesh) -> None:
    """1,000 different images of 200 bytes, from four clients at once, fresh and cached: 0 of 2,000 rows mixed up."""
    images = [png(number) for number in range(1_000)]
    assert len({len(image) for image in images}) == 1

    async def _client(start: int) -> list[bytes]:
        answer = await mesh.embed([image_input(image) for image in images[start : start + 250]])
        assert list(answer.image_embeddings.input_indexes) == list(range(250))
        return rows_of(answer.image_embeddings)

    expected = [expected_row(IMAGE_SPACE, image, 16) for image in images]
    for _ in range(2):
        parts = await asyncio.gather(*(_client(start) for start in range(0, 1_000, 250)))
        assert [row for part in parts for row in part] == expected
    assert mesh.image.encoded == 1_001  # the dummy of the start is one


@pytest.mark.parametrize("half", [True, False])
async def test_fresh_and_cached_answers_are_equal_bit_for_bit(*, half: bool) -> None:
    """Whether the encoder sends float16 or float32, the answer is the same bytes, fresh and cached."""
    text = DummyEncoder(Modality.TEXT)
    text.half = half
    async with gateway_mesh(text=text) as mesh:
        inputs = [text_input(f"text {number}") for number in range(50)]
        fresh = await mesh.embed(inputs)
        cached = await mesh.embed(inputs)
    assert fresh.text_embeddings == cached.text_embeddings
    assert rows_of(fresh.text_embeddings)[7] == expected_row(TEXT_SPACE, b"text 7", 16)
    assert (cached.timings.cache_hits, cached.timings.cache_misses) == (50, 0)


async def test_a_text_and_an_image_of_the_same_bytes_are_two_things(mesh: GatewayMesh) -> None:
    """The modality is part of what is cached."""
    data = png(1, size=64)
    text = "\x89PNG"  # nothing in a text says what it is not
    answer = await mesh.embed([image_input(data), text_input(text), text_input(f"{data!r}")])
    assert len(answer.text_embeddings.input_indexes) == 2
    assert len(answer.image_embeddings.input_indexes) == 1


async def test_large_images_go_to_the_encoder_in_messages_it_accepts() -> None:
    """Three images of 9 MiB in one request of 27 MiB: each call to the encoder stays under 16 MiB."""
    size = 9 * 1024 * 1024
    assert 2 * size > INTERNAL_RECEIVE_MAX_BYTES
    async with gateway_mesh() as mesh:
        answer = await mesh.embed([image_input(png(number, size=size)) for number in range(3)])
        assert len(answer.image_embeddings.input_indexes) == 3
        assert mesh.image.batch_sizes[-3:] == [1, 1, 1]


async def test_a_cut_text_is_flagged_fresh_and_cached_and_refused_on_request(mesh: GatewayMesh) -> None:
    """The flag is cached with the row; REFUSE turns it into an error that names the limit."""
    inputs = [text_input("short"), text_input(" ".join(["word"] * 9))]
    for _ in range(2):
        answer = await mesh.embed(inputs)
        assert list(answer.truncated_indexes) == [1]
    refused = await mesh.embed(inputs, truncation=common_pb2.TRUNCATION_REFUSE)
    assert item_reasons(refused.errors) == {1: "TEXT_TOO_LONG"}
    assert refused.errors[0].metadata["limit"] == "8"
    assert list(refused.text_embeddings.input_indexes) == [0]
    assert list(refused.truncated_indexes) == []


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (gateway_service_pb2.EmbedRequest(), grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_INPUT"),
        (
            gateway_service_pb2.EmbedRequest(inputs=[text_input("a")] * (EMBED_MAX_COUNT + 1)),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "BATCH_TOO_LARGE",
        ),
        (
            gateway_service_pb2.EmbedRequest(inputs=[text_input("a")], truncation=7),  # type: ignore[arg-type]
            grpc.StatusCode.INVALID_ARGUMENT,
            "UNKNOWN_ENUM_VALUE",
        ),
    ],
)
async def test_a_malformed_request_is_refused(
    mesh: GatewayMesh, message: gateway_service_pb2.EmbedRequest, code: grpc.StatusCode, reason: str
) -> None:
    """Each has its code and its reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.stub.Embed(message, timeout=10)
    assert refusal(caught.value)[:2] == (code, reason)


async def test_limits_are_met_to_the_byte(mesh: GatewayMesh) -> None:
    """A text of 32 KiB is taken, one byte more is not; an input without content is named."""
    answer = await mesh.embed(
        [text_input("x" * TEXT_MAX_BYTES), text_input("é" * (TEXT_MAX_BYTES // 2)), common_pb2.Input()]
    )
    assert list(answer.text_embeddings.input_indexes) == [0, 1]
    assert item_reasons(answer.errors) == {2: "EMPTY_INPUT"}
    answer = await mesh.embed([text_input("x" * (TEXT_MAX_BYTES + 1))])
    assert item_reasons(answer.errors) == {0: "TEXT_TOO_LONG"}
    assert answer.errors[0].metadata["size"] == str(TEXT_MAX_BYTES + 1)


async def test_what_an_encoder_breaks_is_not_told(mesh: GatewayMesh) -> None:
    """Rows that are no unit vectors become INTERNAL errors of their items, without a word of the inside."""
    mesh.text.broken_rows = True
    answer = await mesh.embed([text_input("a"), image_input(png(1))])
    assert item_reasons(answer.errors) == {0: "INTERNAL"}
    assert answer.errors[0].message == "internal error"
    assert len(answer.image_embeddings.input_indexes) == 1


async def test_a_dead_encoder_takes_only_its_own_modality_along(mesh: GatewayMesh) -> None:
    """With the text encoder gone, images and cached texts are served; a new text is UNAVAILABLE, by name."""
    await mesh.embed_texts("known")
    await mesh.servers["text_encoder"].drain(grace_s=0)
    assert len(rows_of((await mesh.embed([image_input(png(1))])).image_embeddings)) == 1
    assert len(await mesh.embed_texts("known")) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.embed_texts("unknown")
    assert refusal(caught.value) == (
        grpc.StatusCode.UNAVAILABLE,
        "BACKEND_UNAVAILABLE",
        {"backend": "text_encoder"},
    )


async def test_a_client_that_gives_up_stops_the_encoder(mesh: GatewayMesh) -> None:
    """The deadline of the caller reaches the encoder: its handler is cancelled with the call."""
    mesh.text.delay_s = 5.0
    started_s = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.stub.Embed(gateway_service_pb2.EmbedRequest(inputs=[text_input("slow")]), timeout=0.3)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    while not mesh.text.cancelled:
        assert time.monotonic() - started_s < 1.0, "the encoder was left to work"
        await asyncio.sleep(0.005)
    assert time.monotonic() - started_s < 0.5  # measured: 0.30


async def test_a_client_that_hangs_up_stops_the_encoder(mesh: GatewayMesh) -> None:
    """Cancelling the call cancels the encoding within a moment."""
    mesh.text.delay_s = 5.0
    call = mesh.stub.Embed(gateway_service_pb2.EmbedRequest(inputs=[text_input("slow")]), timeout=10)
    await asyncio.sleep(0.1)
    call.cancel()
    started_s = time.monotonic()
    while not mesh.text.cancelled:
        assert time.monotonic() - started_s < 0.5, "the encoder was left to work"
        await asyncio.sleep(0.002)
    assert time.monotonic() - started_s < 0.2  # measured: 0.003; promised: 0.05 on an idle machine


async def test_the_gateway_notices_a_new_revision_although_everything_is_cached() -> None:
    """Within a refresh of the encoder's replacement, a cached text is embedded in the new space."""
    async with gateway_mesh(refresh_s=0.1) as mesh:
        await mesh.embed_texts("known")
        mesh.text.space = "dummy-text@0000000000000002"
        deadline_s = time.monotonic() + 3
        while (answer := await mesh.embed([text_input("known")])).text_embeddings.space == TEXT_SPACE:
            assert time.monotonic() < deadline_s, "the old space is still served"
            await asyncio.sleep(0.02)
        assert rows_of(answer.text_embeddings) == [expected_row(mesh.text.space, b"known", 16)]


async def test_the_gateway_is_not_ready_without_its_services() -> None:
    """When a service behind it does not come up, warming ends with its name."""
    with pytest.raises(UnavailableError, match="text_encoder"):
        async with gateway_mesh(text_encoder_address="127.0.0.1:1", warm_timeout_s=0.3):
            pytest.fail("it was ready")


async def test_the_gateway_is_not_ready_with_an_encoder_that_cannot_encode() -> None:
    """Dummy embeddings that go on failing end the warming, although the encoder says that it serves."""
    text = DummyEncoder(Modality.TEXT)
    msg = "no"
    text.failures += [UnavailableError(msg, reason="NOT_READY")] * 100
    with pytest.raises(UnavailableError, match="no"):
        async with gateway_mesh(text=text, warm_timeout_s=0.5):
            pytest.fail("it was ready")
    assert text.calls > 1


async def test_the_gateway_waits_for_an_encoder_that_is_still_coming_up() -> None:
    """A dummy embedding that fails is tried again: replicas come up one after the other."""
    text = DummyEncoder(Modality.TEXT)
    msg = "not yet"
    text.failures.append(UnavailableError(msg, reason="NOT_READY"))
    async with gateway_mesh(text=text) as mesh:
        assert mesh.text.calls == 2
