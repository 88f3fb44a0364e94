"""`isthmus items`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Final

import typer

from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import facts, note, print_json

__all__ = ["app"]

app = typer.Typer(help="Act on single items of a collection.", no_args_is_help=True)

_GAPS: Final = {
    "backups": "backups and other copies of the store, which the mesh knows nothing of",
    "shared_cache": "the shared embedding cache, which did not answer; what is there expires by itself",
    "searcher_files": "a searcher's cache files; it removes them when it is started again",
    "unfinished_writes": "files of writes that were cut short, in the object store for a week",
    "import_folder": "files of rows in the import folder, which belong to the bulk job that made them",
}


@app.callback()
def items() -> None:
    """Act on single items of a collection."""


@app.command()
def erase(
    collection: CollectionName,
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of the items; - reads them from stdin, one a line.")
    ],
    address: Address = None,
    json: Json = False,
) -> None:
    """Delete items and remove every copy of them that the mesh keeps.

    Rows, thumbnails, older versions of the items and of the store, cached embeddings, cache files. Items that were
    deleted before are erased too. Every file of the collection that held them is written again, which takes its time.
    """
    with reporting(as_json=json), connect(address) as client:
        wanted = [line.strip() for line in sys.stdin if line.strip()] if ids == ["-"] else ids
        if not wanted:
            msg = "there are no ids on stdin"
            raise UsageError(msg)
        erased = client.erase(collection, wanted)
        if json:
            print_json(dataclasses.asdict(erased) | {"time": erased.time.isoformat()})
            return
        facts(
            [
                ("collection", collection),
                ("items deleted", f"{erased.deleted} of {len(wanted)}; the others were not there"),
                ("revision", erased.revision),
                ("last copy went", erased.time.strftime("%Y-%m-%d %H:%M:%S UTC")),
            ]
        )
        for gap in erased.gaps:
            note(f"not covered: {_GAPS.get(gap, gap)}")
