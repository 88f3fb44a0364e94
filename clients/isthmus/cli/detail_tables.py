"""Slices and gains as people read them; both come as JSON, from the mesh or from here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from isthmus.cli.output import note, print_table, table

__all__ = ["show_details"]

_FIGURES: Final = (
    ("i2t R@1", "recall.i2t.r1"),
    ("t2i R@1", "recall.t2i.r1"),
    ("mixed R@10, images", "mixed.image_query.r10"),
    ("mixed R@10, texts", "mixed.text_query.r10"),
    ("nDCG@10, images", "mixed.image_query.ndcg10"),
    ("nDCG@10, texts", "mixed.text_query.ndcg10"),
)
_CHANGE: Final = "after - before"
_NAMES: Final = {"all": "all held-out queries", "queries": "listed queries"}


def show_details(report: Mapping[str, Any]) -> None:
    """Print what a verification says of slices and of gains, where they were asked for."""
    if "slices" in report:
        _show_slices(report["slices"])
    if "gain" in report:
        _show_gain(report["gain"])


def _show_slices(found: Mapping[str, Any]) -> None:
    headings = ("pairs", "before", "after", _CHANGE, "95 % interval")
    print_table(
        table("slice", "figure", *headings, "says", title="Slices of the held-out queries, percent", right=headings),
        (row for one in found["slices"] for row in _slice_rows(one)),
    )
    for kind, count in found["without_value"].items():
        if count:
            what = "no value of the attribute" if kind == "attribute" else "no known caption length"
            note(f"{count} queries are in no slice: they have {what}, and their pair has not one either")
    if found["query_list"] is not None:
        _tell_list(found["query_list"])
    intervals = sum(len(one["difference"]) for one in found["slices"])
    note(f"{intervals} intervals, of which one in twenty misses the truth by chance: one alone proves little")


def _slice_rows(one: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    name = _NAMES.get(one["kind"]) or (f"{one['value']} words" if one["kind"] == "caption_length" else one["value"])
    for heading, key in _FIGURES:
        difference = one["difference"].get(key)
        if difference is None:
            continue
        group, side, figure = key.split(".")
        yield (
            name,
            heading,
            f"{one['n']}",
            f"{100 * one['before'][group][side][figure]:.1f}",
            f"{100 * one['after'][group][side][figure]:.1f}",
            f"{100 * difference['value']:+.1f}",
            f"{100 * difference['low']:+.1f} … {100 * difference['high']:+.1f}",
            difference["change"],
        )
        name = ""


def _tell_list(found: Mapping[str, Any]) -> None:
    note(f"{found['judged']} of {found['given']} listed queries are held out and were judged")
    if found["learned"]:
        note(f"may have been fitted on, so not judged: ids {_some(found['learned'])} of the list")
    if found["unknown"]:
        note(f"no paired item has: ids {_some(found['unknown'])} of the list")


def _show_gain(found: Mapping[str, Any]) -> None:
    figures, headings = found["per_1000"], ("per 1,000 queries", "95 % interval")
    searched = {"image": "images", "text": "texts", None: "images and texts"}[found["item_modality"]]
    title = f"Expected gain, the first {found['top_k']} of {searched} shown"
    print_table(
        table("", *headings, "says", title=title, right=headings),
        (
            (
                name,
                f"{figures[key]['value']:,.2f}",
                f"{figures[key]['low']:,.2f} … {figures[key]['high']:,.2f}",
                figures[key].get("change", ""),
            )
            for name, key in (("before", "before"), ("after", "after"), (_CHANGE, "difference"))
        ),
    )
    note(
        f"{found['queries']} queries of {found['n']} pairs, {found['rows']} rows; "
        f"{figures['possible']:,.2f} per 1,000 if the most valuable were always shown"
    )
    for reason, rows in found["skipped"].items():
        note(f"rows that count for nothing, {reason.replace('_', ' ')}: {_some(rows)}")


def _some(rows: list[int], *, most: int = 20) -> str:
    told = ", ".join(map(str, rows[:most]))
    return told if len(rows) <= most else f"{told} and {len(rows) - most} more"
