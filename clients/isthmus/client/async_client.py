"""The client for asyncio, made of the calls in each concept's `aio`."""

from __future__ import annotations

from isthmus.client.aliases.aio import AsyncAliasCalls
from isthmus.client.aligners.aio import AsyncAlignerCalls
from isthmus.client.backups.aio import AsyncBackupCalls
from isthmus.client.collections.aio import AsyncCollectionCalls
from isthmus.client.embed.aio import AsyncEmbedCalls
from isthmus.client.importing.aio import AsyncImportCalls
from isthmus.client.items.aio import AsyncItemCalls
from isthmus.client.judging.aio import AsyncJudgingCalls
from isthmus.client.linking.aio import AsyncLinkCalls
from isthmus.client.matching.aio import AsyncMatchingCalls
from isthmus.client.mesh.aio import AsyncMeshCalls
from isthmus.client.search.aio import AsyncSearchCalls
from isthmus.client.watching.aio import AsyncWatchCalls

__all__ = ["AsyncClient"]


class AsyncClient(
    AsyncEmbedCalls,
    AsyncItemCalls,
    AsyncSearchCalls,
    AsyncCollectionCalls,
    AsyncAliasCalls,
    AsyncBackupCalls,
    AsyncJudgingCalls,
    AsyncMatchingCalls,
    AsyncAlignerCalls,
    AsyncWatchCalls,
    AsyncLinkCalls,
    AsyncImportCalls,
    AsyncMeshCalls,
):
    """Talk to a mesh from one event loop. Files are read, and arrays compressed, in a thread.

        async with AsyncClient() as client:
            result = await client.search("photos", text="a sleeping cat")

    Args:
        address: `HOST:PORT`, `unix:PATH`, or `dns://SERVER/HOST:PORT` to ask one name server; a name that stands for
            several gateways is spread over all of them. None means the variable ISTHMUS_ADDRESS, else 127.0.0.1:7480.
        tls: How the mesh is known; None means the configuration's.
        api_key: Who calls; None means the configuration's.
        config: Deadlines, sizes and patience; TLS and key too, and what it leaves open the environment says.

    Raises:
        ValueError: the address has another form, or the key would travel in the clear to another machine.
        OSError: a file of TLS cannot be read.
    """
