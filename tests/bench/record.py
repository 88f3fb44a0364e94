"""Figures of one run: printed as a table, appended to docs/benchmarks.md with machine and commit."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Figure", "append", "show"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured line.

    Attributes:
        name: What was measured.
        value: The figure that is judged, with its unit.
        target: What it should be; empty when nothing was promised.
        parts: What it was computed from.
        met: Whether the target is met; None without a target.
    """

    name: str
    value: str
    target: str = ""
    parts: str = ""
    met: bool | None = None


def _machine() -> str:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
    return git("rev-parse", "--short=10", "HEAD") + changed


def show(figures: Sequence[Figure]) -> None:
    """Print the figures for people."""
    table = Table(title=f"{_machine()} at {_commit()}")
    for column in ("what", "figure", "target", "met", "from"):
        table.add_column(column)
    for figure in figures:
        met = "" if figure.met is None else "yes" if figure.met else "NO"
        table.add_row(figure.name, figure.value, figure.target, met, figure.parts)
    Console(width=160).print(table)


def append(figures: Sequence[Figure], page: Path = ROOT / "docs" / "benchmarks.md", *, how: str = "") -> None:
    """Add a section for this run to the page of benchmarks.

    Args:
        figures: Its lines.
        page: The page.
        how: What was run; empty for `make bench`.
    """
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M")
    lines = [
        f"\n## {now} UTC, {_commit()}\n",
        f"\n{_machine()}{how and f'; {how}'}\n\n",
        "| what | figure | target | met | from |\n",
    ]
    lines.append("|---|---|---|---|---|\n")
    for figure in figures:
        met = "" if figure.met is None else "yes" if figure.met else "no"
        lines.append(f"| {figure.name} | {figure.value} | {figure.target} | {met} | {figure.parts} |\n")
    with page.open("a") as handle:
        handle.writelines(lines)
