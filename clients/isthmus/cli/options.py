"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.failures import UsageError
from isthmus.client import Client, ClientConfig

__all__ = ["Address", "CollectionName", "Json", "connect"]

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="ISTHMUS_ADDRESS",
        metavar="HOST:PORT",
        help="Where the mesh listens.",
        show_default="127.0.0.1:7480",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
CollectionName = Annotated[str, typer.Option("--collection", "-c", metavar="NAME", help="The collection.")]


def connect(address: str | None, *, config: ClientConfig | None = None) -> Client:
    """Return a client.

    Raises:
        UsageError: the address has no form of one.
    """
    try:
        return Client(address, config=config)
    except ValueError as error:
        raise UsageError(str(error)) from error
