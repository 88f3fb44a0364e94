"""`isthmus align`: everything that is done with aligners."""

from __future__ import annotations

import typer

from isthmus.cli import aligners

__all__ = ["app"]

app = typer.Typer(help="List, show, import, promote and roll back aligners.", no_args_is_help=True)
app.command("list")(aligners.list_)
app.command("show")(aligners.show)
app.command("import")(aligners.import_)
app.command("promote")(aligners.promote)
app.command("rollback")(aligners.rollback)
