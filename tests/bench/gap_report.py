"""The gap report on 10k + 10k embeddings: time and peak memory of a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.gap import measure_gap
from tests.bench.record import Figure
from tests.harness.memory import peak_rss_bytes

__all__ = ["measure"]

PAIRS = 10_000
DIMENSION = 512
ROUNDS = 3
SECONDS_MAX = 10.0
BYTES_MAX = 2e9


def measure(address: str) -> list[Figure]:
    """Return the median wall time of the report, and the largest peak of memory; the mesh has no part in it."""
    runs = [_run() for _ in range(ROUNDS)]
    seconds = sorted(run["seconds"] for run in runs)
    peak = max(run["peak_bytes"] for run in runs)
    what = f"gap report on {PAIRS // 1000}k + {PAIRS // 1000}k x {DIMENSION}"
    sampled = f"all cosines whole, {', '.join(runs[0]['sampled'])} on samples of at most 2,000 pairs"
    each = ", ".join(f"{one:.1f}" for one in seconds)
    middle = seconds[ROUNDS // 2]
    return [
        Figure(
            f"{what}: time", f"{middle:.1f} s", f"≤ {SECONDS_MAX:.0f} s", f"{each} s; {sampled}", middle <= SECONDS_MAX
        ),
        Figure(
            f"{what}: peak memory of the process",
            f"{peak / 1e9:.2f} GB",
            f"≤ {BYTES_MAX / 1e9:.0f} GB",
            "interpreter and libraries included",
            peak <= BYTES_MAX,
        ),
    ]


def _run() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.gap_report"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure once and print what it took."""
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(PAIRS, DIMENSION)).astype(np.float32)
    offset = rng.normal(size=DIMENSION).astype(np.float32)
    images = meaning + 0.8 * rng.normal(size=meaning.shape).astype(np.float32) + offset
    texts = meaning + 0.8 * rng.normal(size=meaning.shape).astype(np.float32) - offset
    start = time.perf_counter()
    measures = measure_gap(images, texts).to_dict()["measures"]
    seconds = time.perf_counter() - start
    peak_bytes = peak_rss_bytes()
    sampled = sorted(name for name, one in measures.items() if one["sampled"])
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes, "sampled": sampled}))


if __name__ == "__main__":
    main()
