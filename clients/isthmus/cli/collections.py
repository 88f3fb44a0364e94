"""`isthmus collections`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Final

import typer

from isthmus.cli import backups
from isthmus.cli.failures import reporting
from isthmus.cli.options import Address, Json, connect
from isthmus.cli.output import facts, note, percent, print_json, print_table, table
from isthmus.cli.promotions import history_document, show_active, show_history
from isthmus.client import Collection, GuardLimits, IndexKind, ServedRecall, Structure

__all__ = ["app", "show_collection"]

app = typer.Typer(help="List, show, create, delete, back up and restore collections.", no_args_is_help=True)

_FIGURES: Final = ("images", "texts", "revision")
_MEBIBYTE: Final = 1 << 20
_HEADINGS: Final = ("name", *_FIGURES, "image space", "text space", "aligner")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, - and _.")]


@app.command("list")
def list_(address: Address = None, json: Json = False) -> None:
    """List the collections."""
    with reporting(as_json=json), connect(address) as client:
        found = client.list_collections()
        if json:
            print_json({"collections": [dataclasses.asdict(collection) for collection in found]})
        elif not found:
            note("there are no collections; `isthmus index FOLDER --collection NAME` makes one")
        else:
            print_table(
                table(*_HEADINGS, right=_FIGURES),
                (
                    (
                        c.name,
                        c.image_count,
                        c.text_count,
                        c.revision,
                        c.image_space or "-",
                        c.text_space or "-",
                        c.aligner or "-",
                    )
                    for c in found
                ),
            )


@app.command()
def create(
    name: _Name,
    image_space: Annotated[
        str, typer.Option(metavar="SPACE", help="Raw space of its images.", show_default="the mesh's own")
    ] = "",
    text_space: Annotated[
        str, typer.Option(metavar="SPACE", help="Raw space of its texts.", show_default="the mesh's own")
    ] = "",
    image_dimension: Annotated[int, typer.Option(min=0, help="Of an image space that is not the mesh's own.")] = 0,
    text_dimension: Annotated[int, typer.Option(min=0, help="Of a text space that is not the mesh's own.")] = 0,
    aligner: Annotated[
        str, typer.Option(metavar="ID", help="Aligner to start with.", show_default="the mesh's default")
    ] = "",
    thumbnails: Annotated[bool, typer.Option("--thumbnails", help="Let items carry thumbnails.")] = False,
    index: Annotated[
        IndexKind | None,
        typer.Option(
            help="How large segments are searched; all but flat_float32 miss some neighbours and answer sooner.",
            show_default="the searchers choose",
        ),
    ] = None,
    keyword_search: Annotated[
        bool,
        typer.Option("--keyword-search", help="Keep the texts of text items, so that their words can be searched."),
    ] = False,
    epsilon: Annotated[
        float,
        typer.Option("--guard-epsilon", min=0, max=1, help="How far an aligner may let a recall or nDCG@10 fall."),
    ] = 0.02,
    address: Address = None,
    json: Json = False,
) -> None:
    """Create a collection. `isthmus index` does this by itself."""
    with reporting(as_json=json), connect(address) as client:
        made = client.create_collection(
            name,
            image_space=image_space,
            text_space=text_space,
            image_dimension=image_dimension,
            text_dimension=text_dimension,
            aligner=aligner,
            store_thumbnails=thumbnails,
            index=index,
            keyword_search=keyword_search,
            guard=GuardLimits(epsilon=epsilon),
        )
        show_collection(made, as_json=json)


@app.command()
def show(name: _Name, address: Address = None, json: Json = False) -> None:
    """Show one collection: what it holds, which aligner is active, since when, and which were forced and why."""
    with reporting(as_json=json), connect(address) as client:
        found, history = client.get_collection(name), client.list_promotions(name)
        if json:
            print_json(dataclasses.asdict(found) | history_document(history))
            return
        show_collection(found, as_json=False)
        show_active(history)
        show_history(history)


@app.command()
def delete(name: _Name, address: Address = None, json: Json = False) -> None:
    """Delete a collection and its items."""
    with reporting(as_json=json), connect(address) as client:
        client.delete_collection(name)
        if json:
            print_json({"deleted": name})
        else:
            note(f"collection {name} is deleted")


app.command("backup")(backups.backup)
app.command("restore")(backups.restore)


def show_collection(collection: Collection, *, as_json: bool) -> None:
    """Print one collection."""
    if as_json:
        print_json(dataclasses.asdict(collection))
        return
    facts(
        [
            ("collection", collection.name),
            ("images", f"{collection.image_count} in {collection.image_space or 'no space'}"),
            ("texts", f"{collection.text_count} in {collection.text_space or 'no space'}"),
            ("aligner", collection.aligner or "none"),
            *([("shadow aligner", collection.shadow_aligner)] if collection.shadow_aligner else []),
            *([("index", collection.index)] if collection.index else []),
            *((f"{found.modality} search", _told(found)) for found in collection.structures),
            *((f"{one.modality} recall", _measured(one.served)) for one in collection.structures if one.served),
            *([("keyword search", "texts are kept")] if collection.keyword_search else []),
            ("revision", collection.revision),
        ]
    )


def _measured(served: ServedRecall) -> str:
    """Say what of the nearest items is found now."""
    asked = "real queries" if served.real else "items of the other modality"
    low = "; LOW" if served.recall < served.target else ""
    return f"{percent(served.recall)} @10 on {served.query_count} {asked}, of {percent(served.target)}{low}"


def _told(found: Structure) -> str:
    """Say what a modality is searched by."""
    if found.state == "over_budget":
        needed, limit = found.needed_bytes / _MEBIBYTE, found.limit_bytes / _MEBIBYTE
        return f"all vectors; {found.kind} does not fit: {needed:,.0f} MiB in all, of {limit:,.0f} MiB"
    if found.state == "failed":
        return "as before; structures could not be built, see the searcher's log"
    if found.recall is None or found.state != "ready":
        return "all vectors"
    asked = "queries of the other modality" if found.cross_modal else "its own items"
    memory = f"{found.memory_bytes / _MEBIBYTE:,.1f} MiB"
    return f"{found.kind} for {found.item_count} items, {memory}, recall@10 {percent(found.recall)} on {asked}"
