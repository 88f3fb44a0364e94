"""`isthmus aliases`: names that point at collections."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Final

import typer

from isthmus.cli.failures import reporting
from isthmus.cli.options import Address, Json, connect
from isthmus.cli.output import facts, note, print_json, print_table, table
from isthmus.client import Alias

__all__ = ["app"]

app = typer.Typer(help="List, set and delete aliases: names that point at collections.", no_args_is_help=True)

_HEADINGS: Final = ("alias", "collection", "before", "since", "forced because")

_Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="Lower-case letters, digits, - and _.")]


@app.command("list")
def list_(address: Address = None, json: Json = False) -> None:
    """List the aliases."""
    with reporting(as_json=json), connect(address) as client:
        found = client.list_aliases()
        if json:
            print_json({"aliases": [_document(alias) for alias in found]})
        elif not found:
            note("there are no aliases; `isthmus aliases set ALIAS COLLECTION` makes one")
        else:
            print_table(
                table(*_HEADINGS),
                (
                    (a.name, a.collection, a.previous_collection or "-", _since(a), a.override_reason or "-")
                    for a in found
                ),
            )


@app.command("set")
def set_(
    alias: _Alias,
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="By its own name.")],
    recall_margin: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How far the recall@10 of pairs may fall.", show_default="0.02"),
    ] = None,
    override_reason: Annotated[
        str, typer.Option(metavar="WHY", help="Switch although the collections may not agree; kept with the alias.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the probe that both collections are asked.")] = 0,
    address: Address = None,
    json: Json = False,
) -> None:
    """Point an alias at a collection. To switch it, both must hold the same ids, and the new one find as well."""
    with reporting(as_json=json), connect(address) as client:
        made = client.set_alias(
            alias, collection, recall_margin=recall_margin, override_reason=override_reason, seed=seed
        )
        if json:
            print_json(_document(made))
            return
        rows: list[tuple[str, object]] = [("alias", made.name), ("collection", made.collection)]
        if made.previous_collection:
            rows.append(("before", made.previous_collection))
        found = made.comparison
        if found is not None and found.pair_count:
            rows += [
                ("pairs asked", found.pair_count),
                ("text to image", _change(found.old_t2i_recall, found.new_t2i_recall)),
                ("image to text", _change(found.old_i2t_recall, found.new_i2t_recall)),
            ]
        if found is not None and found.neighbor_query_count:
            rows.append(("neighbours in common", f"{found.neighbor_overlap:.1%}"))
        facts(rows)


@app.command()
def delete(alias: _Alias, address: Address = None, json: Json = False) -> None:
    """Delete an alias; the collection it points at stays."""
    with reporting(as_json=json), connect(address) as client:
        client.delete_alias(alias)
        if json:
            print_json({"deleted": alias})
        else:
            note(f"alias {alias} is deleted")


def _change(old: float, new: float) -> str:
    return f"recall@10 {old:.1%} before, {new:.1%} now"


def _since(alias: Alias) -> str:
    return "-" if alias.time is None else alias.time.astimezone().strftime("%Y-%m-%d %H:%M")


def _document(alias: Alias) -> dict[str, Any]:
    document = dataclasses.asdict(alias)
    document["time"] = None if alias.time is None else alias.time.isoformat()
    return document
