"""`make bench`: measure everything in one run, print it, append it to docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import (
    aligning,
    batch_search,
    cached,
    embedding,
    few_labels,
    filtering,
    gap_report,
    promoting,
    ray_path,
    restart,
    searching,
    store_choice,
)
from tests.bench.record import Figure, append, show
from tests.harness.mesh import start_mesh

BENCHES: dict[str, Callable[[str], list[Figure]]] = {
    "embedding": lambda address: asyncio.run(embedding.measure(address)),
    "cached": cached.measure,
    "searching": searching.measure,
    "batch_search": batch_search.measure,
    "filtering": filtering.measure,
    "gap_report": gap_report.measure,
    "aligning": aligning.measure,
    "promoting": promoting.measure,
    "ray_path": ray_path.measure,
    "restart": restart.measure,
}

ALONE: dict[str, Callable[[str], list[Figure]]] = {
    "few_labels": few_labels.measure,
    "store_choice": store_choice.measure,
}
"""Too long for every run: measured only by name."""


def main() -> int:
    """Run the benches; the exit status says only whether they ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(BENCHES | ALONE), help="run one bench and append nothing")
    chosen = parser.parse_args().only
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, start_mesh(Path(folder) / "data") as mesh:
        first_search_s, rest_mib = mesh.ready_s, mesh.rss_mib()
        figures.append(
            Figure(
                "cold start of `isthmus up` until ready", f"{first_search_s:.1f} s", "≤ 20 s", "", first_search_s <= 20
            )
        )
        figures.append(Figure("memory at rest of `isthmus up`", f"{rest_mib:.0f} MiB"))
        for name in [chosen] if chosen else BENCHES:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            figures += (BENCHES | ALONE)[name](mesh.address)
    show(figures)
    if chosen is None:
        append(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
