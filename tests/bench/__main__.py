"""`make bench`: measure everything in one run, print it, append it to docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench import (
    aligning,
    batch_search,
    bulk_index,
    cached,
    embedding,
    few_labels,
    filtering,
    gap_report,
    keywords,
    million,
    promoting,
    ray_path,
    restart,
    searching,
    store_choice,
    writes,
)
from tests.bench.record import Figure, append, show
from tests.harness.mesh import start_mesh

BENCHES: dict[str, Callable[[str], list[Figure]]] = {
    "embedding": lambda address: asyncio.run(embedding.measure(address)),
    "cached": cached.measure,
    "searching": searching.measure,
    "batch_search": batch_search.measure,
    "bulk_index": bulk_index.measure,
    "filtering": filtering.measure,
    "gap_report": gap_report.measure,
    "keywords": keywords.measure,
    "aligning": aligning.measure,
    "promoting": promoting.measure,
    "ray_path": ray_path.measure,
    "restart": restart.measure,
}

ALONE: dict[str, Callable[[str], list[Figure]]] = {
    "few_labels": few_labels.measure,
    "store_choice": store_choice.measure,
    "writes": writes.measure,
}
"""Too long for every run: measured only by name."""


WITHOUT_MESH: dict[str, Callable[[], list[Figure]]] = {"million": million.measure}
"""As long, and of parts of the mesh in this process."""


def main() -> int:
    """Run the benches; the exit status says only whether they ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted({*BENCHES, *ALONE, *WITHOUT_MESH}), help="run one bench")
    parser.add_argument("--append", action="store_true", help="with --only: append its figures, as `make bench` does")
    arguments = parser.parse_args()
    chosen: str | None = arguments.only
    figures = WITHOUT_MESH[chosen]() if chosen in WITHOUT_MESH else _through_mesh([chosen] if chosen else BENCHES)
    show(figures)
    if chosen is None:
        append(figures)
    elif arguments.append:
        append(figures, how=f"`python -m tests.bench --only {chosen}`")
    return 0


def _through_mesh(names: Iterable[str]) -> list[Figure]:
    """Start a mesh and run benches against it, one after the other."""
    with tempfile.TemporaryDirectory() as folder, start_mesh(Path(folder) / "data") as mesh:
        first_search_s, rest_mib = mesh.ready_s, mesh.rss_mib()
        figures = [
            Figure(
                "cold start of `isthmus up` until ready", f"{first_search_s:.1f} s", "≤ 20 s", "", first_search_s <= 20
            ),
            Figure("memory at rest of `isthmus up`", f"{rest_mib:.0f} MiB"),
        ]
        for name in names:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            figures += (BENCHES | ALONE)[name](mesh.address)
    return figures


if __name__ == "__main__":
    sys.exit(main())
