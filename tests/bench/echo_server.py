"""A bare grpc.aio server that answers with as many bytes as it is asked for: the floor of any reply."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc


async def _serve(reply_bytes: int) -> None:
    reply = bytes(reply_bytes)

    async def echo(_request: bytes, _context: object) -> bytes:
        return reply

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("isthmus.bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"echo ready 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
