"""The structures of an index on a GPU, held to what a searcher answers on the CPU.

    python -m tests.bench.gpu_index --device gpu           # with faiss-gpu in place of faiss-cpu: `isthmus[gpu]`
    python -m tests.bench.gpu_index --device cpu --tiny    # the same steps without a GPU, in CI

The device holds the very rows, lists and codes of the searcher's structures, and names candidates; these are scored as
a searcher scores its own. Ids and scores must then be the searcher's, whatever the device adds up in another order.
Exit status: 0 they are, 1 they are not, 2 there is no such device.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.index import flat
from isthmus.index.structures import Arranged, Effort, Kind, train
from tests.bench.million_rows import million_rows
from tests.bench.record import Figure, show

__all__ = ["main"]

TOP_K: Final = 10
BATCH: Final = 32
PROBES: Final = 16
_ALIKE_SHARE: Final = 0.999
"""Answers that must be equal: a device may drop the last candidate for another one that rounding puts beside it."""
_TINY_ROWS: Final = 4_000
_TINY_DIMENSION: Final = 32
_ROWS: Final = 1_000_000
_SAMPLE_ROWS: Final = 131_072
_SPEED_S: Final = 2.0

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

Rows: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _Data:
    images: Rows
    captions: Rows
    queries: Rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare flat and IVF-SQ8 on a device with a searcher's own answers; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.gpu_index", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--tiny", action="store_true", help=f"{_TINY_ROWS:,} made rows in place of {_ROWS:,} images")
    chosen = parser.parse_args(arguments)
    if chosen.device == "gpu" and not (hasattr(faiss, "StandardGpuResources") and _faiss.get_num_gpus()):
        print("no GPU that FAISS can use: pip install 'isthmus[gpu]' on a machine with one", file=sys.stderr)
        return 2
    data = _made() if chosen.tiny else _images()
    figures = [_flat(data, chosen.device), _inverted(data, chosen.device)]
    show(figures)
    return 0 if all(figure.met for figure in figures) else 1


def _made() -> _Data:
    """Return rows about a few centers, and queries beside them as the other modality's are."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((50, _TINY_DIMENSION))

    def near(count: int, offset: float) -> Rows:
        rows = centers[rng.integers(len(centers), size=count)] + rng.standard_normal((count, _TINY_DIMENSION)) + offset
        unit: Rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit

    return _Data(images=near(_TINY_ROWS, 0.0), captions=near(500, 0.3), queries=near(128, 0.3))


def _images() -> _Data:
    rows = million_rows(_ROWS)
    images = np.random.default_rng(0).permutation(np.concatenate([rows.crops, rows.drawn]))
    return _Data(images=images, captions=rows.captions, queries=rows.queries[:512])


def _flat(data: _Data, device: str) -> Figure:
    index = _faiss.IndexFlatIP(data.images.shape[1])
    index.add(data.images)
    own = flat.exactly(data.images, data.queries, TOP_K)
    return _figure("flat", data, _on(device, index), own, shortlist=4 * TOP_K)


def _inverted(data: _Data, device: str) -> Figure:
    sample = np.random.default_rng(0).permutation(data.images)[:_SAMPLE_ROWS]
    trained = train(Kind.IVF_SQ8, sample, queries=data.captions, rows=len(data.images))
    structure: Any = trained.build(data.images)
    assert trained.coarse is not None
    effort = Effort(probes=min(PROBES, trained.coarse.count))
    own = Arranged(structure, effort).search(data.images, data.queries, TOP_K)
    assert own is not None
    # A searcher looks the lists up by their routes: here they are what FAISS takes for centroids.
    routes = _faiss.IndexFlatIP(data.images.shape[1])
    routes.add(trained.coarse.routes)
    index = _faiss.IndexIVFScalarQuantizer(
        routes, routes.d, trained.coarse.count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    index.sq, index.is_trained, index.ntotal = structure.index.sq, True, structure.rows
    index.replace_invlists(structure.index.invlists, False)
    index.nprobe = effort.probes
    placed = _on(device, index)
    placed.nprobe = effort.probes
    return _figure("IVF-SQ8", data, placed, own, shortlist=effort.shortlist)


def _on(device: str, index: Any) -> Any:
    """Return an index on a device."""
    if device == "cpu":
        return index
    resources = _faiss.StandardGpuResources()
    placed = _faiss.index_cpu_to_gpu(resources, 0, index)
    placed.resources = resources  # it lives as long as what is on it
    return placed


def _figure(name: str, data: _Data, placed: Any, own: flat.Found, *, shortlist: int) -> Figure:
    """Return how many of a searcher's answers the device gives too, and how fast it is."""
    candidates = placed.search(data.queries, shortlist)[1].astype(np.int64)
    is_there = candidates >= 0
    scores = flat.inner_products(data.queries, data.images, np.where(is_there, candidates, 0))
    scores[~is_there] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_K]
    # Scored alike, equal answers have equal scores to the last bit; of equal scores either id may come first.
    alike = float((np.take_along_axis(scores, order, axis=1) == own[0]).mean())
    return Figure(
        f"{name} on {len(data.images):,} x {data.images.shape[1]}: answers that are a searcher's own",
        f"{alike:.4f}",
        f"≥ {_ALIKE_SHARE}",
        f"{_rate(placed, data.queries, 1):,.0f}/s by one, {_rate(placed, data.queries, BATCH):,.0f}/s by {BATCH}",
        alike >= _ALIKE_SHARE,
    )


def _rate(index: Any, queries: Rows, size: int) -> float:
    """Return queries a second, `size` at a time."""
    limit_s = _SPEED_S if index.ntotal > _TINY_ROWS else 0.0
    index.search(queries[:size], TOP_K)
    started_s, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - started_s < limit_s:
        index.search(queries[calls * size % (len(queries) - size + 1) :][:size], TOP_K)
        calls += 1
    return calls * size / (time.perf_counter() - started_s)


if __name__ == "__main__":
    sys.exit(main())
