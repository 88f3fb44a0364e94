"""`isthmus align`: everything that is done with aligners."""

from __future__ import annotations

import typer

from isthmus.cli import align_offline, aligners
from isthmus.cli.shadow import shadow

__all__ = ["app"]

app = typer.Typer(
    help="Fit, verify and compare aligners; list, show, import, promote, shadow and roll them back.",
    no_args_is_help=True,
)
app.command("fit")(align_offline.fit)
app.command("verify")(align_offline.verify)
app.command("compare")(align_offline.compare)
app.command("list")(aligners.list_)
app.command("show")(aligners.show)
app.command("import")(aligners.import_)
app.command("promote")(aligners.promote)
app.command("rollback")(aligners.rollback)
app.command("shadow")(shadow)
