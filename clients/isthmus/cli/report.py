"""`--report FILE.html`: the figures of a command as one page that people can read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.local import unwritable
from isthmus.cli.output import note

if TYPE_CHECKING:
    from isthmus.evaluation.report import ReportContents

__all__ = ["Report", "require_folder", "write_page", "write_report"]

Report = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE.html", help="Also write one page with pictures, for people; needs no network."
    ),
]


def require_folder(path: Path | None) -> None:
    """Refuse a page that could not be written, before anything is measured.

    Raises:
        CommandError: its folder is not there.
    """
    if path is not None and not path.parent.is_dir():
        raise unwritable(path, FileNotFoundError(2, "there is no such folder"))


def write_page(path: Path, page: str) -> None:
    """Write a page; a file of that name is replaced.

    Raises:
        CommandError: it cannot be written.
    """
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
    note(f"wrote {path}")


def write_report(path: Path, contents: ReportContents) -> None:
    """Render the page of an offline command and write it.

    Raises:
        CommandError: it cannot be written.
    """
    from isthmus.evaluation.report import render_report

    write_page(path, render_report(contents))
