"""The demo's tables for a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from tools.demo.results import Run
from tools.demo.table import print_run


def _printed(run: Run, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_run(run, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_states_the_share_in_the_top_three_beside_chance(run: Run) -> None:
    """Ten of twelve sentences find their photograph in the top 3 of 4, where chance finds three in four."""
    wanted = "83.3% of the sentences (10 of 12) find their photograph in the top 3 of 4; by chance 75.0%."
    assert wanted in _printed(run)


def test_table_has_a_row_for_each_direction_with_its_times(run: Run) -> None:
    """Five directions; one search of rank 4 waited longest, 16 ms."""
    printed = _printed(run)
    for asked in ("photo → sentence", "mirrored crop → photo", "sentence → any", "photo → any"):
        assert f" {asked} " in printed
    row = next(line for line in printed.splitlines() if "sentence → photo " in line)
    assert row.split() == ["sentence", "→", "photo", "12", "66.7%", "83.3%", "100.0%", "1", "4.0", "16.0"]


def test_table_lists_each_miss_with_what_came_first(run: Run) -> None:
    """A miss shows the sentence, its photograph, the wrong first answer and the rank."""
    printed = _printed(run)
    assert "Sentences whose photograph is not in the top 3: 2" in printed
    row = next(line for line in printed.splitlines() if run.misses()[0].query in line)
    assert row.strip().removeprefix(run.misses()[0].query).split() == ["brick", "astronaut", "4"]


def test_searches_fit_eighty_columns(run: Run) -> None:
    """A plain terminal shows every figure whole."""
    lines = _printed(run, width=80).splitlines()
    heading = next(line for line in lines if "median" in line)
    assert heading.split() == ["search", "n", "top", "1", "top", "3", "top", "10", "median", "p50", "ms", "max", "ms"]
    assert not any("…" in line for line in lines)


def test_table_without_a_miss_prints_no_empty_table(run: Run) -> None:
    """When all is found, the count of misses is 0 and nothing follows."""
    printed = _printed(replace(run, searches=tuple(replace(s, rank=1) for s in run.searches)))
    assert "not in the top 3: 0" in printed
    assert "came first" not in printed


def test_table_names_what_was_left_out(run: Run) -> None:
    """A picture that the wheels do not carry is named with the reason."""
    assert "left out skimage/data/gone.png: not carried by the installed scikit-image" in _printed(run)
