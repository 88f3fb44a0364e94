"""`isthmus evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.failures import reporting
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import note, percent, print_json, print_table, table
from isthmus.client import EvaluationReport, MixedRetrieval, RecallAt

__all__ = ["document", "evaluate"]


def evaluate(
    collection: CollectionName,
    through_search: Annotated[
        bool,
        typer.Option("--through-search", help="Send every query through search; the default computes exactly."),
    ] = False,
    address: Address = None,
    json: Json = False,
) -> None:
    """Judge how well images and texts of the same pair key find one another."""
    with reporting(as_json=json), connect(address) as client:
        report = client.evaluate(collection, through_search=through_search)
        if json:
            print_json(document(report))
        else:
            _show(report)


def document(report: EvaluationReport) -> dict[str, object]:
    """Return the report as JSON: every figure a fraction in [0, 1]."""
    return {
        "n": report.pairs,
        "image_queries": report.image_queries,
        "text_queries": report.text_queries,
        "recall": {"t2i": _recall(report.t2i), "i2t": _recall(report.i2t)},
        "mixed": {"image_query": _mixed(report.mixed_image_query), "text_query": _mixed(report.mixed_text_query)},
        "aligner": report.aligner,
        "revision": report.revision,
        "through_search": report.through_search,
        "calibration": report.calibration,
    }


def _recall(figures: RecallAt) -> dict[str, float]:
    return {"r1": figures.r1, "r5": figures.r5, "r10": figures.r10}


def _mixed(figures: MixedRetrieval) -> dict[str, float]:
    return {
        "r1": figures.r1,
        "r10": figures.r10,
        "r20": figures.r20,
        "ndcg10": figures.ndcg10,
        "own_share": figures.own_share,
    }


def _show(report: EvaluationReport) -> None:
    print_table(
        table("", "R@1", "R@5", "R@10", title="One modality searched", right=("R@1", "R@5", "R@10")),
        (
            (name, *map(percent, (figures.r1, figures.r5, figures.r10)))
            for name, figures in (("text → image", report.t2i), ("image → text", report.i2t))
        ),
    )
    headings = ("R@1", "R@10", "R@20", "nDCG@10", "own share")
    print_table(
        table("", *headings, title="Both modalities searched", right=headings),
        (
            (name, *map(percent, (f.r1, f.r10, f.r20, f.ndcg10, f.own_share)))
            for name, f in (("text → any", report.mixed_text_query), ("image → any", report.mixed_image_query))
        ),
    )
    how = "every query through search" if report.through_search else "exact similarities"
    note(
        f"{report.pairs} pairs ({report.image_queries} images, {report.text_queries} texts), {how}, "
        f"aligner {report.aligner or 'none'}, revision {report.revision}, calibration {report.calibration}"
    )
