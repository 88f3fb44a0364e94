"""Options that several commands share."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.cli.failures import UsageError
from isthmus.cli.local import read_bytes, unreadable
from isthmus.client import Client, ClientConfig, Tls

__all__ = ["Access", "Address", "CollectionName", "Json", "access", "connect"]

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


@dataclass(frozen=True, slots=True)
class Access:
    """How the mesh is reached, from the options before the command.

    Attributes:
        tls: None leaves it to the environment.
        api_key_file: Holds the key; None leaves it to the environment.
    """

    tls: Tls | None = None
    api_key_file: Path | None = None


_ACCESS: Final[ContextVar[Access | None]] = ContextVar("isthmus_access", default=None)
"""A variable of our own: Typer's context is click's in some releases and not in others."""


def access(
    ca_file: Annotated[
        Path | None, typer.Option(envvar="ISTHMUS_CA_FILE", metavar="FILE", help="CAs of the mesh's certificate (PEM).")
    ] = None,
    cert_file: Annotated[
        Path | None, typer.Option(envvar="ISTHMUS_CERT_FILE", metavar="FILE", help="Own certificate, for mTLS (PEM).")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(envvar="ISTHMUS_KEY_FILE", metavar="FILE", help="Its private key (PEM).")
    ] = None,
    server_name: Annotated[
        str | None, typer.Option(envvar="ISTHMUS_SERVER_NAME", metavar="NAME", help="Name in the mesh's certificate.")
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", envvar="ISTHMUS_TLS", help="TLS with a public CA's certificate.")
    ] = False,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds the API key.", show_default="the variable ISTHMUS_API_KEY"),
    ] = None,
) -> None:
    """Remember how commands reach the mesh.

    Raises:
        BadParameter: --cert-file and --key-file do not come together.
    """
    try:
        found = Tls(ca_file=ca_file, cert_file=cert_file, key_file=key_file, server_name=server_name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    _ACCESS.set(Access(found if tls or found != Tls() else None, api_key_file))


def connect(address: str | None, *, config: ClientConfig | None = None) -> Client:
    """Return a client.

    Raises:
        UsageError: the address has no form of one, or a key would travel in the clear.
        CommandError: a file of TLS, or the key's, cannot be read.
    """
    found = _ACCESS.get() or Access()
    api_key = None
    if found.api_key_file is not None:
        api_key = read_bytes(found.api_key_file).decode(errors="replace").strip()
    try:
        return Client(address, tls=found.tls, api_key=api_key, config=config)
    except OSError as error:
        raise unreadable(Path(error.filename or "a file of TLS"), error) from error
    except ValueError as error:
        raise UsageError(str(error)) from error
