"""`isthmus keys`: API keys for the gateway's keys file."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime
from typing import Annotated, Final, Literal

import typer

from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.options import Json
from isthmus.cli.output import note, print_json

__all__ = ["app"]

_PREFIX: Final = "isthmus_"
"""Lets scanners for secrets know a key that lies where it should not."""
_KEY_BYTES: Final = 32
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NAME: Final = re.compile(r"[^\s=]{1,64}")

app = typer.Typer(help="Make API keys.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make API keys."""


@app.command()
def new(
    tenant: Annotated[str, typer.Option(help="Whose data its holder sees.", metavar="NAME")],
    role: Annotated[
        Literal["reader", "writer", "admin"],
        typer.Option(
            help="reader searches and embeds, writer stores and fits too, admin manages collections and promotes too."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What to call it.", metavar="NAME")] = None,
    expires: Annotated[
        str | None, typer.Option(help="From when on it is good no more, as 2027-01-31 (UTC).", metavar="DATE")
    ] = None,
    json: Json = False,
) -> None:
    """Make a key. It is printed once and kept nowhere; the gateway only ever sees the line with its digest.

    The first line of stdout is the key, for whoever will call. The second one goes into the gateway's keys file, which
    is read again within five seconds.
    """
    with reporting(as_json=json):
        if _TENANT.fullmatch(tenant) is None:
            msg = "--tenant must match ^[a-z0-9][a-z0-9_-]{0,62}$"
            raise UsageError(msg)
        if name is not None and _NAME.fullmatch(name) is None:
            msg = "--name takes 1 to 64 characters, neither white space nor ="
            raise UsageError(msg)
        if expires is not None:
            _check_date(expires)
        key = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        words = {
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "tenant": tenant,
            "role": role,
            "name": name,
            "expires": expires,
        }
        line = " ".join(f"{word}={value}" for word, value in words.items() if value is not None)
        if json:
            print_json({"key": key, "line": line})
            return
        print(key)
        print(line)
        note("the first line is the key and is shown only now; the second one belongs into the gateway's keys file")


def _check_date(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        msg = "--expires takes a date or a time of ISO 8601, for example 2027-01-31"
        raise UsageError(msg) from None
    if " " in text:
        msg = "--expires takes no white space: 2027-01-31T12:00:00"
        raise UsageError(msg)
