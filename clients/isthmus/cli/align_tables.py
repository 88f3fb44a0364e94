"""Figures of an aligner on held-out pairs, as table rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from isthmus.cli.output import percent, print_table, table

__all__ = ["FIGURE_COLUMNS", "figure_cells", "print_change"]

FIGURE_COLUMNS: Final = ("i2t R@1", "t2i R@1", "mixed R@10", "nDCG@10", "own share", "hubness")


def figure_cells(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a cell for each of FIGURE_COLUMNS; where there are two figures, those of image and of text queries."""
    image, text = (summary["mixed"][f"{query}_query"] for query in ("image", "text"))
    return (
        percent(summary["recall"]["i2t"]["r1"]),
        percent(summary["recall"]["t2i"]["r1"]),
        *(f"{percent(image[key])} / {percent(text[key])}" for key in ("r10", "ndcg10", "own_share")),
        f"{summary['hubness']:.2f}",
    )


def print_change(method: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Print what is served now above what the method makes of it."""
    rows = [("before", *figure_cells(before)), (method, *figure_cells(after))]
    print_table(table("", *FIGURE_COLUMNS, right=FIGURE_COLUMNS), rows)
