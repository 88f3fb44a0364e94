"""Two gateways over one store: behind one a searcher of everything, behind the other a process for each shard."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.service import build as build_alignment
from isthmus.core.modality import Modality
from isthmus.gateway.config import GatewayConfig
from isthmus.gateway.service import build as build_gateway
from isthmus.runtime.rpc.server import RpcServer
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tests.harness.process import Process
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh

__all__ = ["SPACE", "ShardedMesh", "eventually", "sharded_mesh"]

SPACE = "dual@00000000000000aa"


@dataclass(slots=True)
class ShardedMesh:
    """Both.

    Attributes:
        whole: The gateway in front of one searcher of everything.
        sharded: The gateway in front of the shards.
        shards: Their processes.
    """

    whole: GatewayMesh
    sharded: GatewayMesh
    store: Path
    shards: list[Process] = field(default_factory=list)

    def stop(self) -> None:
        """Kill the shards."""
        for shard in self.shards:
            shard.__exit__()

    def restart(self, number: int) -> None:
        """Start a shard that was killed, at the address that it had."""
        gone = self.shards[number]
        gone.__exit__()
        self.shards[number] = _start(self.store, number, len(self.shards), gone.address)


def _start(store: Path, number: int, count: int, listen: str) -> Process:
    return Process(
        ["-m", "isthmus.index", "--role", "searcher"],
        ready="isthmus index_search ready ",
        env={
            "ISTHMUS_INDEX_STORE_DIR": str(store),
            "ISTHMUS_INDEX_LISTEN": listen,
            "ISTHMUS_INDEX_SHARD_COUNT": str(count),
            "ISTHMUS_INDEX_SHARD_NUMBER": str(number),
            "ISTHMUS_INDEX_POLL_INTERVAL_S": "0.02",
        },
    )


@contextlib.asynccontextmanager
async def sharded_mesh(data_dir: Path, *, count: int = 2) -> AsyncIterator[ShardedMesh]:
    """Start everything; both encoders share one raw space."""
    image, text = (DummyEncoder(modality, space=SPACE) for modality in (Modality.IMAGE, Modality.TEXT))
    async with contextlib.AsyncExitStack() as stack:
        whole = await stack.enter_async_context(gateway_mesh(data_dir=data_dir, image=image, text=text))
        store = data_dir / "store"
        running = await asyncio.gather(
            *(asyncio.to_thread(_start, store, number, count, "127.0.0.1:0") for number in range(count))
        )
        mesh = ShardedMesh(whole, whole, store, list(running))
        stack.callback(mesh.stop)
        addresses = ",".join(shard.address for shard in running)
        alignment = RpcServer(
            build_alignment(AlignmentConfig.load(aligners_dir=data_dir / "aligners", index_search_address=addresses)),
            "127.0.0.1:0",
        )
        await alignment.start()
        stack.push_async_callback(lambda: alignment.drain(grace_s=0.5))
        config = GatewayConfig.load(
            listen="127.0.0.1:0",
            warm_timeout_s=20.0,
            **{
                **{f"{name}_address": server.address for name, server in whole.servers.items()},
                "index_search_address": addresses,
                "alignment_address": alignment.address,
            },
        )
        gateway = RpcServer(build_gateway(config), config.listen, config.transport())
        await gateway.start()
        stack.push_async_callback(lambda: gateway.drain(grace_s=1))
        await alignment.warm()
        await gateway.warm()
        options = (("grpc.max_receive_message_length", 64 * 1024 * 1024), ("grpc.use_local_subchannel_pool", 1))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(gateway.address, options=options))
        mesh.sharded = GatewayMesh(GatewayServiceStub(channel), image, text, gateway)
        yield mesh


async def eventually(check: Callable[[], Awaitable[bool]], *, within_s: float = 20.0) -> None:
    """Wait until something is so."""
    until = time.monotonic() + within_s
    while not await check():
        assert time.monotonic() < until, f"it did not happen within {within_s:g} s"
        await asyncio.sleep(0.02)
