"""What a user's program does with the installed client; run by `test_client_environments` in a clean environment.

Takes the address of a gateway, prints one JSON document about what happened.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import sys

import numpy as np

from isthmus.client import AsyncClient, Client, Item, NotFoundError


def synchronous(address: str) -> dict[str, object]:
    """Embed, store, search, and be refused once."""
    with Client(address) as client:
        embedded = client.embed(images=[b"a picture"], texts=["a text", " "])
        client.create_collection("photos")
        stored = client.upsert("photos", [Item(id=f"i{n}", text=f"text {n}", attributes={"n": n}) for n in range(600)])
        found = client.search("photos", text="text 7", top_k=3)
        try:
            client.get_collection("missing")
        except NotFoundError as error:
            refusal = error.reason
    return {
        "shape": list(embedded.images.vectors.shape),
        "norm": float(np.linalg.norm(embedded.images.vectors[0])),
        "errors": [error.reason for error in embedded.errors],
        "created": stored.created,
        "first": found.neighbors[0].id,
        "attributes": dict(found.neighbors[0].item.attributes),
        "refusal": refusal,
    }


async def asynchronous(address: str) -> str:
    """Search from asyncio; return the id of the nearest item."""
    async with AsyncClient(address) as client:
        await client.upsert("photos", [Item(id="late", text="late")])
        return (await client.search("photos", text="late", top_k=1)).neighbors[0].id


def main() -> None:
    """Do it and tell."""
    address = sys.argv[1]
    report = {
        **synchronous(address),
        "async_first": asyncio.run(asynchronous(address)),
        "versions": {name: importlib.metadata.version(name) for name in ("grpcio", "protobuf", "numpy")},
        "installed": [name for name in ("PIL", "torch") if importlib.util.find_spec(name) is not None],
        "loaded": sorted({"PIL", "torch", "typer", "rich"} & set(sys.modules)),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
