"""What commands print: one JSON document, or tables for people; everything else goes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["facts", "note", "percent", "print_json", "print_table", "shown", "table", "to_console"]

_PIPE_WIDTH_COUNT = 160


def to_console() -> Console:
    """Return the console of stdout. A pipe has no width: it gets enough for one line a row."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH_COUNT)


def print_json(document: Mapping[str, object]) -> None:
    """Print the one document of a command."""
    print(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, allow_nan=False))


def note(text: str) -> None:
    """Tell a person something beside the result, on stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[dim]{escape(text)}[/dim]")


def table(*columns: str, title: str = "", right: Sequence[str] = ()) -> Table:
    """Return an empty table.

    Args:
        columns: Headings.
        title: Above it.
        right: Headings of the columns that hold figures.
    """
    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def print_table(made: Table, rows: Iterable[Sequence[object]]) -> None:
    """Fill a table and print it; text from outside is printed as it is, never as markup."""
    for row in rows:
        made.add_row(*(escape(shown(cell)) for cell in row))
    to_console().print(made)


def facts(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, escape(shown(value)))
    to_console().print(made)


def shown(value: object) -> str:
    """Return a value as text on one line, with control characters made visible."""
    text = value if isinstance(value, str) else str(value)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def percent(share: float) -> str:
    """Return a share in [0, 1] as people read it."""
    return f"{100 * share:.1f} %"
