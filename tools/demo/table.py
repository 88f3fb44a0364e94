"""The run as tables for a terminal."""

from __future__ import annotations

import statistics

from rich import box
from rich.console import Console
from rich.table import Table

from tools.demo.results import Direction, Run, Search, median_rank, own_share, share

__all__ = ["print_run"]

_TOP = 3
_DIRECTIONS: tuple[tuple[Direction, str], ...] = (
    ("text_to_image", "sentence → photo"),
    ("image_to_text", "photo → sentence"),
    ("image_to_image", "mirrored crop → photo"),
    ("text_to_any", "sentence → any"),
    ("image_to_any", "photo → any"),
)


def print_run(run: Run, console: Console) -> None:
    """Print what was asked, how well it was answered, how long it took, and every miss.

    Args:
        run: What the demo measured.
        console: Where to print.
    """
    console.print("\n[bold]Searches[/]")
    console.print(_directions(run))
    console.print(
        "Top n: the first right answer is among the first n. In a mixed search (any) it is of the other modality, "
        f"and siblings of the query are set aside. {sum(s.encoded for s in run.searches)} of {len(run.searches)} "
        "queries had to be encoded; the others were found in a cache.",
        highlight=False,
        style="dim",
    )
    misses = run.misses(top=_TOP)
    console.print(f"\n[bold]Sentences whose photograph is not in the top {_TOP}: {len(misses)}[/]", highlight=False)
    if misses:
        console.print(_misses(misses))
    asked = run.of("text_to_image")
    hits = sum(s.rank is not None and s.rank <= _TOP for s in asked)
    chance = _TOP / len(run.pictures)
    console.print(
        f"[bold]{share(asked, top=_TOP):.1%}[/] of the sentences ({hits} of {len(asked)}) "
        f"find their photograph in the top {_TOP} of {len(run.pictures)}; by chance {chance:.1%}.",
        highlight=False,
    )
    mixed_text, mixed_image = run.of("text_to_any"), run.of("image_to_any")
    sentences = sum(len(p.captions) for p in run.pictures)
    console.print(
        f"Mixed top 10: {own_share(mixed_text, modality='text'):.0%} sentences for a sentence, "
        f"{own_share(mixed_image, modality='image'):.0%} photographs for a photograph "
        f"(the collection holds {len(run.pictures)} photographs and {sentences} sentences).",
        highlight=False,
    )
    console.print(
        f"Indexed in {run.index_s:.1f} s, {len(run.searches)} searches in "
        f"{sum(s.seconds for s in run.searches):.1f} s.",
        highlight=False,
    )
    for file, reason in run.left_out:
        console.print(f"[yellow]left out[/] {file}: {reason}", highlight=False)


def _directions(run: Run) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("search", no_wrap=True)
    for heading in ("n", "top 1", f"top {_TOP}", "top 10", "median", "p50 ms", "max ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for direction, name in _DIRECTIONS:
        searches = run.of(direction)
        waits_ms = [s.seconds * 1e3 for s in searches]
        table.add_row(
            name,
            str(len(searches)),
            *(f"{share(searches, top=top):.1%}" for top in (1, _TOP, 10)),
            f"{median_rank(searches):g}",
            f"{statistics.median(waits_ms):.1f}",
            f"{max(waits_ms):.1f}",
        )
    return table


def _misses(misses: tuple[Search, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("sentence", "photograph", "came first"):
        table.add_column(heading)
    table.add_column("rank", justify="right")
    for miss in misses:
        first = miss.found[0].key if miss.found else "nothing"
        table.add_row(miss.query, miss.key, first, str(miss.rank or "none"))
    return table
