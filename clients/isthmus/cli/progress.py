"""Progress bars, on stderr and only where a person looks at it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

__all__ = ["count_bar", "share_bar"]


def _console() -> Console:
    return Console(stderr=True, highlight=False)


@contextlib.contextmanager
def count_bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many things are done; yield a function that is told how many more are.

    Args:
        what: Name of the work.
        total: Things there are, when that is known.
    """
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=_console(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with progress:
        task = progress.add_task(what, total=total)
        yield lambda more: progress.advance(task, more)


@contextlib.contextmanager
def share_bar() -> Iterator[Callable[[float, str], None]]:
    """Show which share of the work is done; yield a function that is told the share in [0, 1] and the stage."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=_console(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda share, stage: progress.update(task, completed=share, description=stage)
