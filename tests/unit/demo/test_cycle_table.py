"""An aligner's life as a terminal shows it, and as JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from tools.demo.cycle_results import Cycle, cycle_as_json
from tools.demo.cycle_table import print_cycle


def _printed(cycle: Cycle, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_cycle(cycle, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _rows(printed: str, start: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines() if line.strip().startswith(start)]


def test_each_step_stands_under_its_heading_in_order(cycle: Cycle) -> None:
    """Measure, fit and verify, promote, search again, roll back."""
    printed = _printed(cycle)
    places = [printed.index(step) for step in ("Measure:", "Fit an", "Promote it", "Search again", "Roll back")]
    assert places == sorted(places)


def test_the_gap_is_measured_of_both_collections(cycle: Cycle) -> None:
    """A recall is a sixth of rSum; what was not measured is a dash."""
    printed = _printed(cycle)
    assert ["photographs", "4", "0.50", "87.5%", "50.0%"] in _rows(printed, "photographs")
    assert ["colours", "1", "-", "87.5%", "50.0%"] in _rows(printed, "colours")
    assert "photographs: refused: pairs: 3 to fit on, at least 64; add pairs" in printed


def test_searches_stand_beside_chance(cycle: Cycle) -> None:
    """Of two names one comes first with the fitted aligner; by chance one of three would."""
    rows = {row[0]: row[1:] for row in _rows(_printed(cycle).partition("Search again")[2], "") if len(row) == 5}
    assert rows["chance"] == ["33.3%", "100.0%", "333.3%", "2"]
    assert rows["shipped"] == ["0.0%", "100.0%", "100.0%", "2.5"]
    assert rows["fitted"] == ["50.0%", "100.0%", "100.0%", "1.5"]


def test_a_refusal_is_shown_with_its_figures_and_the_override(cycle: Cycle) -> None:
    """The guard's reason and the reason on record are both there, as they are and never as markup."""
    printed = _printed(cycle)
    assert "the guard refuses: hubness growth: +0.125 [+0.100, +0.150], must be at most +0.020" in printed
    assert "on record: “we know <better>”" in printed
    passed = _printed(replace(cycle, guard_reasons=(), refusal="", override=""))
    assert "the guard lets it pass" in passed
    assert "on record" not in passed


def test_everything_fits_eighty_columns(cycle: Cycle) -> None:
    """A plain terminal shows every figure whole."""
    assert "…" not in _printed(cycle, width=80)


def test_json_holds_fractions_and_what_the_guard_said(cycle: Cycle) -> None:
    """The document survives a round trip."""
    document = json.loads(json.dumps(cycle_as_json(cycle)))
    assert document["n"] == {"colours": 3, "named": 1, "asked": 2, "judged": 3}
    assert document["search"]["after"] == {"r1": 0.5, "r3": 1.0, "r10": 1.0, "median_rank": 1.5}
    assert document["guard"] == {"ok": False, "reasons": list(cycle.guard_reasons)}
    assert document["rollback"] == {"identical": True, "answers": 6}
    assert document["timings_s"] == {"measuring": 1.5, "fitting": 2.5}
