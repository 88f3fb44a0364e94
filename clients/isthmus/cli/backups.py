"""`isthmus collections backup` and `isthmus collections restore`: to a folder or an object store, and back."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from isthmus.cli.failures import CommandError, missing_extra, reporting
from isthmus.cli.options import Address, Json, connect
from isthmus.cli.output import facts, note, print_json
from isthmus.client.backups.folder import MANIFEST_FILE, backup_files

__all__ = ["backup", "restore"]

_PART_BYTES: Final = 1 << 20

_To = Annotated[
    str, typer.Option("--to", metavar="DIR|URI", help="A folder that is empty or not there yet, or s3://BUCKET/PREFIX.")
]
_From = Annotated[str, typer.Argument(metavar="DIR|URI", help="Where `isthmus collections backup` wrote to.")]


def backup(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    to: _To,
    address: Address = None,
    json: Json = False,
) -> None:
    """Copy a collection at one revision, with sums, while it is written to."""
    with reporting(as_json=json), connect(address) as client, _outgoing(to) as folder:
        made = client.backup_collection(name, folder)
        document = {**dataclasses.asdict(made), "to": to}
    if json:
        print_json(document)
        return
    facts(
        [
            ("collection", made.collection),
            ("revision", made.revision),
            ("can be restored to", f"{made.oldest_revision} to {made.revision}"),
            ("images", made.images),
            ("texts", made.texts),
            ("aligner", made.aligner or "none"),
            ("size", f"{made.bytes:,} bytes in {made.files} files"),
        ]
    )


def restore(
    source: _From,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Restore under a name that is free.", show_default="the backup's")
    ] = "",
    to_revision: Annotated[
        int, typer.Option(min=0, help="An earlier revision that the backup holds.", show_default="its newest")
    ] = 0,
    address: Address = None,
    json: Json = False,
) -> None:
    """Restore a collection from a backup, as a new revision: numbers never go back."""
    with reporting(as_json=json), connect(address) as client, _incoming(source) as folder:
        done = client.restore_collection(folder, collection=name, to_revision=to_revision)
        if json:
            print_json(dataclasses.asdict(done))
            return
        facts(
            [
                ("collection", done.collection.name),
                ("revision", done.collection.revision),
                ("restored", f"revision {done.restored_revision} of the backup"),
                ("put back", done.created),
                ("replaced", done.updated),
                ("removed", done.deleted),
                ("left alone", done.unchanged),
            ]
        )
        if done.deleted:
            note("items that were stored after that revision are gone; an earlier backup of now brings them back")


@contextlib.contextmanager
def _outgoing(target: str) -> Iterator[Path]:
    """Yield the folder to write to; one on the way to an object store is copied there at the end, the manifest last."""
    with _telling("the backup cannot be written"):
        if "://" not in target:
            yield Path(target)
            return
        there, root = _object_store(target)
        with tempfile.TemporaryDirectory(prefix="isthmus-backup-") as temporary:
            folder = Path(temporary)
            yield folder
            for name in (*backup_files(folder), MANIFEST_FILE):
                with (folder / name).open("rb") as source, there.open_output_stream(f"{root}/{name}") as sink:
                    while data := source.read(_PART_BYTES):
                        sink.write(data)


@contextlib.contextmanager
def _incoming(source: str) -> Iterator[Path]:
    """Yield the folder to read from; what lies in an object store is copied into one first."""
    with _telling("the backup cannot be read"):
        if "://" not in source:
            yield Path(source)
            return
        there, root = _object_store(source)
        with tempfile.TemporaryDirectory(prefix="isthmus-backup-") as temporary:
            folder = Path(temporary)

            def fetch(name: str) -> None:
                with there.open_input_stream(f"{root}/{name}") as stream, (folder / name).open("wb") as sink:
                    while data := stream.read(_PART_BYTES):
                        sink.write(data)

            fetch(MANIFEST_FILE)
            for name in backup_files(folder):
                fetch(name)
            yield folder


@contextlib.contextmanager
def _telling(problem: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"{problem}: {error.strerror or error}"
        raise CommandError(msg, reason="FILES") from error


def _object_store(uri: str) -> tuple[Any, str]:
    try:
        from isthmus.runtime.base.object_store import ObjectStore
    except ImportError as error:
        raise missing_extra(error, extra="serve", what="a backup in an object store") from error
    return ObjectStore().file_system(uri)
