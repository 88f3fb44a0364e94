"""An aligner's life as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.demo.cycle_results import DEPTHS, Cycle, found_share, median_place

__all__ = ["print_cycle"]

_EXAMPLES = 5


def print_cycle(cycle: Cycle, console: Console) -> None:
    """Print how an aligner was fitted, judged, promoted, put to use and rolled back.

    Args:
        cycle: What became of it.
        console: Where to print.
    """
    named = sum(colour.named for colour in cycle.colours)

    def say(text: str, *, style: str = "") -> None:
        console.print(text, highlight=False, style=style)

    say("\n[bold]Measure: how far images and texts lie apart, as they are searched today[/]")
    console.print(_gaps(cycle))
    say(
        f"photographs: those above. colours: the {len(cycle.colours)} that people name most often (xkcd's survey), "
        f"{named} with their name. Centroid gap: 0 none, 2 opposite. Told apart: 50% is guessing. "
        "Recall: found in the first 1, 5 and 10 of the other kind, on average.",
        style="dim",
    )
    say("\n[bold]Fit an aligner of their own, and verify it on pairs that it never saw[/]")
    say(f"photographs: refused: {escape(cycle.too_few)}")
    say(f"colours: {escape(cycle.fitted)}, judged on {cycle.judged_count} held-out pairs:")
    console.print(_held_out(cycle))
    say("\n[bold]Promote it[/]")
    if cycle.guard_reasons:
        for reason in cycle.guard_reasons:
            say(f"the guard refuses: {escape(reason)}")
    else:
        say("the guard lets it pass: better in a mixed search, and nothing that it looks at is worse than is allowed")
    if cycle.refusal:
        say(f"promoted all the same; on record: “{escape(cycle.override)}”")
    say("\n[bold]Search again[/]")
    console.print(_searches(cycle))
    say(
        f"{len(cycle.asked_before)} names that the mesh was never told, each among all {len(cycle.colours)} colours. "
        f"For example: {'; '.join(_examples(cycle))}.",
        style="dim",
    )
    say("\n[bold]Roll back[/]")
    say(
        f"{cycle.compared_count:,} answers to {len(cycle.asked_before)} searches are what they were before the "
        "promotion, bit for bit."
    )
    say(", ".join(f"{name} {seconds:.1f} s" for name, seconds in cycle.seconds.items()) + ".", style="dim")


def _gaps(cycle: Cycle) -> Table:
    table = _table("collection", "pairs", "centroid gap", "told apart", "recall")
    for name, gap in cycle.gaps.items():
        recall = gap["rsum"]
        table.add_row(
            name,
            str(cycle.pair_counts[name]),
            _figure(gap["centroid"]),
            _percent(gap["separability"]),
            _percent(None if recall is None else recall / 600.0),  # six recalls of at most 100 %
        )
    return table


def _held_out(cycle: Cycle) -> Table:
    table = _table("aligner", "name in 10", "colour in 10", "mixed in 10", "quality", "hubness")
    for name, found in (("shipped", cycle.before), ("fitted", cycle.after)):
        image, text = (found["mixed"][f"{query}_query"] for query in ("image", "text"))
        table.add_row(
            name,
            _percent(found["recall"]["i2t"]["r10"]),
            _percent(found["recall"]["t2i"]["r10"]),
            _percent(_mean(image, text, "r10")),
            _percent(_mean(image, text, "ndcg10")),
            _figure(found["hubness"]),
        )
    return table


def _searches(cycle: Cycle) -> Table:
    table = _table("aligner", *(f"top {top}" for top in DEPTHS), "median place")
    count = len(cycle.colours)
    table.add_row("chance", *(f"{top / count:.1%}" for top in DEPTHS), f"{(count + 1) / 2:g}")
    for name, asked in (("shipped", cycle.asked_before), ("fitted", cycle.asked_after)):
        table.add_row(name, *(f"{found_share(asked, top=top):.1%}" for top in DEPTHS), f"{median_place(asked):g}")
    return table


def _examples(cycle: Cycle) -> list[str]:
    """Return the places of the first few colours that were asked for, whatever they are."""
    asked = list(zip(cycle.asked_before, cycle.asked_after, strict=True))[:_EXAMPLES]
    return [f"“{old.colour.name}” place {old.rank}, then {new.rank}" for old, new in asked]


def _table(first: str, *figures: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _mean(image: Mapping[str, Any], text: Mapping[str, Any], key: str) -> float:
    return (float(image[key]) + float(text[key])) / 2.0


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
