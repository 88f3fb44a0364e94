"""`isthmus measure --collection`: the mesh measures, this shows."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.cli.failures import reporting
from isthmus.cli.options import connect
from isthmus.cli.output import note, percent, print_json, print_table, table
from isthmus.cli.report import require_folder, write_page
from isthmus.client import GapReport

__all__ = ["document", "measure_collection"]


def measure_collection(
    collection: str,
    *,
    aligner: str,
    seed: int,
    sample: int,
    distances: bool,
    report: Path | None,
    label_attribute: str,
    label_template: str,
    address: str | None,
    json: bool,
) -> None:
    """Measure the gap of a collection's pairs, and print the report."""
    with reporting(as_json=json), connect(address) as client:
        require_folder(report)
        measured = client.measure_gap(
            collection,
            aligner=aligner,
            seed=seed,
            sample_count=sample,
            compare_distances=distances,
            page=report is not None,
            label_attribute=label_attribute,
            label_template=label_template,
        )
        found = document(measured)
        if json:
            print_json(found)
        else:
            _show(found)
            _tell(measured)
            active = "" if aligner else client.get_collection(collection).aligner
            if active:
                note(f"these are raw embeddings; as it is searched today it is measured with --aligner {active}")
        if report is not None:
            write_page(report, measured.page)


def document(report: GapReport) -> dict[str, Any]:
    """Return the report as JSON: one number a measure in `gap`, all that is known of each in `measures`."""
    found: dict[str, Any] = json_module.loads(report.report_json)
    return found | {"share": report.share, "aligner": report.aligner, "revision": report.revision}


def _tell(report: GapReport) -> None:
    """Say what was measured."""
    share = "all pair keys" if report.share == 1.0 else f"{100 * report.share:.3g} % of the pair keys"
    note(
        f"{report.pairs} pairs ({report.image_count} images, {report.text_count} texts), {share}, "
        f"{report.sample_count} for the costlier measures, aligner {report.aligner or 'none'}, "
        f"revision {report.revision}, seed {report.seed}"
    )


def _show(found: Mapping[str, Any]) -> None:
    """Print one number a measure, and why some were not taken."""
    print_table(
        table("measure", "figure", title="The gap", right=("figure",)),
        ((name, "-" if value is None else f"{value:.4f}") for name, value in found["gap"].items()),
    )
    _show_labels(found["measures"])
    for name, reason in found["missing"].items():
        note(f"not measured: {name.replace('_', ' ')}: {reason}")


def _show_labels(measures: Mapping[str, Any]) -> None:
    rows: list[tuple[str, str, str]] = []
    if (clusters := measures.get("homogeneity")) is not None:
        rows.append(("clusters by label", f"{clusters['by_label']:.4f}", f"{clusters['label_count']} clusters of both"))
        rows.append(("clusters by modality", f"{clusters['by_modality']:.4f}", "1 every cluster is of one modality"))
    if (classes := measures.get("zero_shot")) is not None:
        found = classes["accuracy"]
        accuracy = f"{percent(found['value'])} ({100 * found['low']:.1f} … {100 * found['high']:.1f})"
        chance = f"commonest {percent(found['noise_floor'])}"
        rows.append(
            ("zero-shot accuracy", accuracy, f"{classes['label_count']} labels, {classes['n']} images, {chance}")
        )
    if rows:
        print_table(table("labels", "value", "reads", title="Labels", right=("value",)), rows)
