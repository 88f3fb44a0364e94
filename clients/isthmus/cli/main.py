"""The command `isthmus` and its groups."""

from __future__ import annotations

import typer

from isthmus.cli import (
    aliases,
    align,
    aligners,
    audit,
    bulk_index,
    collections,
    compare,
    deploy,
    embed,
    evaluate,
    index,
    items,
    keys,
    link,
    match,
    measure,
    models,
    search,
    status,
    train,
    up,
    watch,
)
from isthmus.cli.options import access

__all__ = ["app"]

app = typer.Typer(
    name="isthmus",
    help="Embed, align, index and search images and texts.",
    epilog="Start with `isthmus up`, then `isthmus index FOLDER --collection NAME` in another terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.callback()(access)
app.command("up")(up.up)
app.command("status")(status.status)
app.add_typer(collections.app, name="collections")
app.add_typer(aliases.app, name="aliases")
app.command("index")(index.index)
app.command("bulk-index")(bulk_index.bulk_index)
app.add_typer(items.app, name="items")
app.command("search")(search.search)
app.command("embed")(embed.embed)
app.command("evaluate")(evaluate.evaluate)
app.command("measure")(measure.measure)
app.command("match")(match.match)
app.command("audit")(audit.audit)
app.command("watch")(watch.watch)
app.command("link")(link.link)
app.add_typer(compare.app, name="compare")
app.add_typer(align.app, name="align")
app.add_typer(aligners.app, name="aligners")
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(deploy.app, name="deploy")
