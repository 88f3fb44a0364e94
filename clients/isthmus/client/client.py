"""The client for threads and scripts, made of the calls in each concept's `sync`."""

from __future__ import annotations

from isthmus.client.aliases.sync import AliasCalls
from isthmus.client.aligners.sync import AlignerCalls
from isthmus.client.backups.sync import BackupCalls
from isthmus.client.collections.sync import CollectionCalls
from isthmus.client.embed.sync import EmbedCalls
from isthmus.client.importing.sync import ImportCalls
from isthmus.client.items.sync import ItemCalls
from isthmus.client.judging.sync import JudgingCalls
from isthmus.client.linking.sync import LinkCalls
from isthmus.client.matching.sync import MatchingCalls
from isthmus.client.mesh.sync import MeshCalls
from isthmus.client.search.sync import SearchCalls
from isthmus.client.watching.sync import WatchCalls

__all__ = ["Client"]


class Client(
    EmbedCalls,
    ItemCalls,
    SearchCalls,
    CollectionCalls,
    AliasCalls,
    BackupCalls,
    JudgingCalls,
    MatchingCalls,
    AlignerCalls,
    WatchCalls,
    LinkCalls,
    ImportCalls,
    MeshCalls,
):
    """Talk to a mesh. Safe to share between threads.

        with Client() as client:
            client.upsert("photos", [Item(id="cat", image="cat.jpg")])
            for neighbor in client.search("photos", text="a sleeping cat").neighbors:
                print(neighbor.id, neighbor.score)

    Reads of a collection see everything that this client has written to it before (`min_revision`). Calls that cannot
    do harm twice are retried when nobody answers; whatever fails in the end is an `IsthmusError`, or a `ValueError`
    when the arguments are wrong already here.

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
