"""A gateway on a real socket, in front of dummy encoders and of whatever else a test brings."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.service import build as build_alignment
from isthmus.core.modality import Modality
from isthmus.gateway.config import GatewayConfig
from isthmus.gateway.service import build
from isthmus.index.config import IndexConfig
from isthmus.index.service import build as build_index
from isthmus.runtime.rpc.server import Hosted, Registration, RpcServer
from isthmus.v1 import common_pb2, gateway_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tests.unit.gateway.dummy_encoder import DummyEncoder

if TYPE_CHECKING:
    from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

__all__ = ["GatewayMesh", "gateway_mesh", "image_input", "png", "rows_of", "text_input"]


def png(number: int, *, size: int = 200) -> bytes:
    """Return a file that passes the header check: `size` bytes, told apart by their middle alone."""
    head = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000200000002008000000003a3a3a3a")
    body = f"{number:016d}".encode()
    tail = b"\x00\x00\x00\x00IDAT" + bytes(size - len(head) - len(body) - 8)
    return head + tail[:8] + body + tail[8:]


def image_input(data: bytes) -> common_pb2.Input:
    """Return an image to embed."""
    return common_pb2.Input(image=data)


def text_input(text: str) -> common_pb2.Input:
    """Return a text to embed."""
    return common_pb2.Input(text=text)


async def _nothing() -> None:
    return


def _silent_services() -> dict[str, Hosted]:
    """Return an index and an alignment service that are healthy and can do nothing."""
    names = {
        "alignment": "isthmus.v1.AlignmentService",
        "index_writer": "isthmus.v1.IndexWriterService",
        "index_search": "isthmus.v1.IndexSearchService",
    }
    return {
        name: Hosted(
            name=name, registrations=[Registration(service, lambda _server: None)], warm=_nothing, close=_nothing
        )
        for name, service in names.items()
    }


def _real_services(data_dir: Path, sockets: Path) -> dict[str, Hosted]:
    """Return the index and the alignment service as `isthmus up` makes them."""
    store = data_dir / "store"
    alignment = AlignmentConfig.load(
        aligners_dir=data_dir / "aligners", index_search_address=f"unix:{sockets / 'index_search'}.sock"
    )
    return {
        "index_writer": build_index(IndexConfig.load(role="writer", store_dir=store, durability="process")),
        "index_search": build_index(IndexConfig.load(role="searcher", store_dir=store, poll_interval_s=0.02)),
        "alignment": build_alignment(alignment),
    }


@dataclass(slots=True)
class GatewayMesh:
    """A gateway that is up.

    Attributes:
        stub: Calls it.
        image: The image encoder behind it.
        text: The text encoder behind it.
        servers: Every server behind it, by short name.
        gateway: The gateway's own server.
    """

    stub: GatewayServiceAsyncStub
    image: DummyEncoder
    text: DummyEncoder
    gateway: RpcServer
    servers: dict[str, RpcServer] = field(default_factory=dict)

    async def embed(
        self,
        inputs: Sequence[common_pb2.Input],
        *,
        truncation: common_pb2.Truncation.ValueType = common_pb2.TRUNCATION_UNSPECIFIED,
    ) -> gateway_service_pb2.EmbedResponse:
        """Embed inputs."""
        request = gateway_service_pb2.EmbedRequest(inputs=inputs, truncation=truncation)
        return await self.stub.Embed(request, timeout=20)

    async def embed_texts(self, *texts: str) -> list[bytes]:
        """Return the rows of texts, as they travelled."""
        return rows_of((await self.embed([text_input(text) for text in texts])).text_embeddings)

    async def status(self) -> gateway_service_pb2.GetStatusResponse:
        """Return the status."""
        return await self.stub.GetStatus(gateway_service_pb2.GetStatusRequest(), timeout=10)


def rows_of(batch: common_pb2.EmbeddingBatch) -> list[bytes]:
    """Return the rows of a raw batch."""
    assert batch.vectors.type == common_pb2.VECTOR_TYPE_FLOAT16
    size = 2 * batch.vectors.dimension
    data = batch.vectors.data
    return [data[start : start + size] for start in range(0, len(data), size)]


@contextlib.asynccontextmanager
async def gateway_mesh(
    *,
    image: DummyEncoder | None = None,
    text: DummyEncoder | None = None,
    data_dir: Path | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    **settings: object,
) -> AsyncIterator[GatewayMesh]:
    """Start a gateway with everything behind it.

    Args:
        image: The image encoder.
        text: The text encoder.
        data_dir: Where the real index and the real alignment service keep their data; without it both are silent.
        credentials: Of the channel to a gateway that has TLS.
        settings: Go into the gateway's configuration.
    """
    image = image or DummyEncoder(Modality.IMAGE)
    text = text or DummyEncoder(Modality.TEXT)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-test-")))
        others = _silent_services() if data_dir is None else _real_services(data_dir, folder)
        hosted = {**others, "image_encoder": image.hosted(), "text_encoder": text.hosted()}
        servers: dict[str, RpcServer] = {}
        stack.push_async_callback(lambda: _drain(servers))
        for name, service in hosted.items():
            servers[name] = RpcServer(service, f"unix:{folder / name}.sock")
            await servers[name].start()
        addresses = {f"{name}_address": server.address for name, server in servers.items()}
        config = GatewayConfig.load(listen="127.0.0.1:0", **{**addresses, "warm_timeout_s": 10.0, **settings})
        gateway = RpcServer(build(config), config.listen, config.transport())
        await gateway.start()
        stack.push_async_callback(lambda: gateway.drain(grace_s=1))
        for server in servers.values():
            await server.warm()
        await gateway.warm()
        channel = await stack.enter_async_context(_channel(gateway.address, credentials))
        yield GatewayMesh(GatewayServiceStub(channel), image, text, gateway, servers)


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    options = (
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),
        ("grpc.max_send_message_length", 64 * 1024 * 1024),
        ("grpc.use_local_subchannel_pool", 1),
    )
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


async def _drain(servers: dict[str, RpcServer]) -> None:
    for server in servers.values():
        await server.drain(grace_s=0.5)
