"""Fitting and applying aligners: each in a process of its own, which reports time and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core import Modality
from isthmus.core.aligners import FitOptions, FitPairs, Label, fit_artefact, load_aligner
from isthmus.core.aligners.spectral import fit_spectral
from isthmus.core.aligners.transport import fit_transport
from tests.bench.record import Figure
from tests.harness.memory import peak_rss_bytes

__all__ = ["measure"]

DIMENSION: Final = 512
SPECTRAL_PAIRS: Final = 100_000
SPECTRAL_SECONDS_MAX: Final = 5.0
TRANSPORT_PAIRS: Final = 5_000
TRANSPORT_SECONDS_MAX: Final = 30.0
TRANSPORT_BYTES_MAX: Final = 1e9
APPLY_ROWS: Final = 100_000
APPLY_SHARE_MIN: Final = 0.7
ROUNDS: Final = 5

_SPACE: Final = "clip@00112233445566aa"


def measure(address: str) -> list[Figure]:
    """Return the times of the fits and the speed of applying; the mesh has no part in it."""
    spectral, transport, applied = (_run(name) for name in ("spectral", "transport", "apply"))
    parts = (
        f"{transport['batches']} batches, at most {transport['iterations']} iterations, converged: "
        f"{transport['converged']}, marginal error {transport['marginal_error']:.0e}"
    )
    figures = [
        Figure(
            f"spectral fit on {SPECTRAL_PAIRS // 1000}k pairs x {DIMENSION}",
            f"{spectral['seconds']:.1f} s",
            f"≤ {SPECTRAL_SECONDS_MAX:.0f} s",
            "",
            spectral["seconds"] <= SPECTRAL_SECONDS_MAX,
        ),
        Figure(
            f"transport fit on {TRANSPORT_PAIRS // 1000}k pairs x {DIMENSION}: time",
            f"{transport['seconds']:.1f} s",
            f"≤ {TRANSPORT_SECONDS_MAX:.0f} s",
            parts,
            transport["seconds"] <= TRANSPORT_SECONDS_MAX,
        ),
        Figure(
            f"transport fit on {TRANSPORT_PAIRS // 1000}k pairs x {DIMENSION}: peak memory of the process",
            f"{transport['peak_bytes'] / 1e9:.2f} GB",
            f"≤ {TRANSPORT_BYTES_MAX / 1e9:.0f} GB",
            "interpreter and libraries included",
            transport["peak_bytes"] <= TRANSPORT_BYTES_MAX,
        ),
    ]
    for method in ("ridge", "spectral"):
        share = applied[method]
        figures.append(
            Figure(
                f"{method} applied to {APPLY_ROWS // 1000}k rows, over a bare numpy matmul of its shape",
                f"{share:.2f}",
                f"≥ {APPLY_SHARE_MIN}",
                f"best of {ROUNDS} rounds each, {applied['shapes'][method]}",
                share >= APPLY_SHARE_MIN,
            )
        )
    return figures


def _run(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.aligning", name],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _pairs(count: int) -> FitPairs:
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(count, DIMENSION)).astype(np.float32)

    def side() -> NDArray[np.float32]:
        rows = meaning + rng.normal(size=meaning.shape).astype(np.float32) + 1.5
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    return FitPairs(images=side(), texts=side(), image_space=_SPACE, text_space=_SPACE)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _spectral() -> dict[str, Any]:
    pairs = _pairs(SPECTRAL_PAIRS)
    return {"seconds": _timed(lambda: fit_spectral(pairs))}


def _transport() -> dict[str, Any]:
    pairs = _pairs(TRANSPORT_PAIRS)
    start = time.perf_counter()
    found = fit_transport(pairs)
    seconds = time.perf_counter() - start
    peak_bytes = peak_rss_bytes()
    return {"seconds": seconds, "peak_bytes": peak_bytes} | found.settings()


def _apply() -> dict[str, Any]:
    found: dict[str, Any] = {"shapes": {}}
    rows = _pairs(APPLY_ROWS).texts
    fitted = _pairs(2_000)
    for method, dimension in (("ridge", None), ("spectral", 256)):
        artefact = fit_artefact(
            method,
            fitted,
            label=Label(aligner_id="a", created_by="a bench"),
            options=FitOptions(dimension=dimension),
        )
        aligner = load_aligner(artefact)
        weight = artefact.tensors["text.weight"]
        bare = min(_timed(lambda weight=weight: rows @ weight.T) for _ in range(ROUNDS))  # type: ignore[misc]
        whole = min(
            _timed(lambda aligner=aligner: aligner.align(rows, Modality.TEXT))  # type: ignore[misc]
            for _ in range(ROUNDS)
        )
        found[method] = bare / whole
        found["shapes"][method] = f"{weight.shape[1]} to {weight.shape[0]}"
    return found


_WORKS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "spectral": _spectral,
    "transport": _transport,
    "apply": _apply,
}


if __name__ == "__main__":
    print(json.dumps(_WORKS[sys.argv[1]]()))
