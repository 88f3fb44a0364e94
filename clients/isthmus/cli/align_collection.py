"""`isthmus align fit|verify|compare --collection`: the mesh works, this shows."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.align_tables import FIGURE_COLUMNS, figure_cells, print_change
from isthmus.cli.detail_tables import show_details
from isthmus.cli.details import DetailOptions, gain_options, read_details, slice_options
from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.options import connect
from isthmus.cli.output import facts, note, print_json, print_table, table
from isthmus.cli.progress import share_bar
from isthmus.cli.report import require_folder, write_page
from isthmus.client import Comparison, FitOptions, VerificationReport

__all__ = ["OptionalCollection", "compare_collection", "fit_collection", "one_file", "verify_collection"]

OptionalCollection = Annotated[
    str | None, typer.Option("--collection", "-c", metavar="NAME", help="A collection of a running mesh.")
]


def one_file(embeddings: Path | None, collection: str | None) -> Path:
    """Return the file to work on, where it is the only source that is named.

    Raises:
        UsageError: A collection is named too, or nothing.
    """
    if embeddings is None or collection is not None:
        msg = "name either --embeddings or --collection"
        raise UsageError(msg)
    return embeddings


def fit_collection(
    collection: str, *, method: str, name: str, options: FitOptions, seed: int, address: str | None, json: bool
) -> None:
    """Fit an aligner in the mesh; it is kept there."""
    with reporting(as_json=json), connect(address) as client:
        if not method:
            msg = "name a method with --method, or an aligner to build on with --on-top-of"
            raise UsageError(msg)
        with share_bar() as tell:
            made = client.fit_aligner(
                collection,
                aligner_id=name or method,
                method=method,
                options=options,
                seed=seed,
                progress=lambda step: tell(step.progress, step.stage),
            )
        report: dict[str, Any] = json_module.loads(made.manifest_json)["report"]
        if json:
            print_json({"aligner": made.aligner, "method": made.method} | report)
            return
        facts([("aligner", made.aligner), ("judged on", f"{report.get('n', 0)} pairs")])
        for reason in report.get("guard", {}).get("reasons", ()):
            note(f"the guard refuses: {reason}")
        note(f"make it active with: isthmus align promote {made.aligner} --collection {collection}")


def verify_collection(
    collection: str,
    aligner: str,
    *,
    asked: DetailOptions,
    seed: int,
    report: Path | None,
    address: str | None,
    json: bool,
) -> None:
    """Judge an aligner on the collection's held-out pairs."""
    with reporting(as_json=json):
        require_folder(report)
        details = read_details(asked)
        with connect(address) as client:
            found = client.verify_aligner(
                collection,
                aligner,
                slices=slice_options(details),
                gains=gain_options(details),
                seed=seed,
                page=report is not None,
            )
        if json:
            print_json(_document(found))
        else:
            figures = json_module.loads(found.report_json)
            facts([("aligner", found.aligner), ("judged on", f"{found.pairs} pairs"), ("revision", found.revision)])
            print_change(found.method, figures["before"], figures["after"])
            _tell_guard("the guard", found)
            show_details(figures)
        if report is not None:
            write_page(report, found.page)


def compare_collection(
    collection: str,
    *,
    methods: tuple[str, ...],
    hubness: bool,
    seed: int,
    report: Path | None,
    address: str | None,
    json: bool,
) -> None:
    """Fit every method to the collection's pairs and judge all on the same held-out ones."""
    with reporting(as_json=json), connect(address) as client:
        require_folder(report)
        found = client.compare_aligners(
            collection, methods=methods, hubness=hubness, seed=seed, page=report is not None
        )
        if json:
            print_json(
                {
                    "methods": {one.method: json_module.loads(one.report_json) for one in found.reports},
                    "refused": dict(found.refused),
                    "best": found.best or None,
                    "revision": found.revision,
                }
            )
        else:
            _show_comparison(found, hubness=hubness)
        if report is not None:
            write_page(report, found.page)


def _show_comparison(found: Comparison, *, hubness: bool) -> None:
    """Print one row a method, and why some may not be used or could not be fitted."""
    rows: list[tuple[object, ...]] = []
    for report in found.reports:
        document = json_module.loads(report.report_json)
        if not rows:
            rows.append(("before", *figure_cells(document["before"]), ""))
        verdict = "passes" if report.guard_ok else "refused"
        rows.append((report.method, *figure_cells(document["after"]), verdict))
    print_table(table("method", *FIGURE_COLUMNS, "guard", right=FIGURE_COLUMNS), rows)
    for report in found.reports:
        _tell_guard(report.method, report)
    for method, reason in found.refused.items():
        note(f"not fitted: {method}: {reason}")
    if found.best:
        note(f"best: {found.best}")
    else:
        note("no method keeps the guard" + ("" if hubness else "; --hubness tries each with its hubs corrected"))


def _document(found: VerificationReport) -> dict[str, Any]:
    report: dict[str, Any] = json_module.loads(found.report_json)
    return {"aligner": found.aligner, "revision": found.revision} | report


def _tell_guard(name: str, found: VerificationReport) -> None:
    for reason in found.guard_reasons:
        note(f"{name} refuses: {reason}" if name == "the guard" else f"{name}: {reason}")
    if found.guard_ok and name == "the guard":
        note("the guard lets it pass")
