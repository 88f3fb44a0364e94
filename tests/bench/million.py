"""Every kind of structure on a million images that captions are asked of: `python -m tests.bench --only million`.

Needs no mesh: segments, structures and searches are those of a searcher, in this process. The images are
`million_rows`; captions of photos that nothing was trained on are the queries. ISTHMUS_BENCH_MILLION_ROWS says how many
images: 1,000,000 unless it is set, which take 4 GiB and some ten minutes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from isthmus.index import ranking
from isthmus.index.segments import SEGMENT_MAX_ROWS
from isthmus.index.structures import Coarse, Effort, Kind
from tests.bench.filtering import CASES, COLORS, Columns, _brute, _quickest_ms
from tests.bench.million_parts import BATCH, RECALL_MIN, TOP_K, Built, Parts, built, recall, segments_of, speed
from tests.bench.million_rows import million_rows
from tests.bench.record import Figure
from tests.bench.spread import margin, nearest, spread
from tests.harness.flickr8k_crops import CROPS

__all__ = ["measure"]

ROWS: Final = int(os.environ.get("ISTHMUS_BENCH_MILLION_ROWS", "1000000"))
HNSW_ROWS: Final = min(ROWS, SEGMENT_MAX_ROWS)
"""One segment: a graph of a million takes longer to build than all else here together."""
_CORES: Final = len(os.sched_getaffinity(0))
_ASKED: Final = 512
_TUNED_BY: Final = 512
_SAMPLE_ROWS: Final = 131_072
_PROBES: Final = (1, 2, 4, 8, 16, 32, 64)
_FILTERED: Final = 64
_ROUNDS: Final = {1: 5, BATCH: 3}

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is searched, and what is asked.

    Attributes:
        images: (n, d) in the order of the segments.
        columns: Of the images.
        sample: Images to train on.
        captions: To train on.
        tuning: Captions to tune by.
        queries: What recall and speed are measured with.
    """

    images: Rows
    columns: Columns
    sample: Rows
    captions: Rows
    tuning: Rows
    queries: Rows


def measure() -> list[Figure]:
    """Return what each kind of structure takes, finds and how fast it is, alone and under filters."""
    started_s = time.perf_counter()
    figures = []
    for figure in _figures():
        figures.append(figure)
        at = f"{time.perf_counter() - started_s:6.0f} s"
        print(f"{at}  {figure.name}: {figure.value} {figure.target}  {figure.parts}", file=sys.stderr, flush=True)
    return figures


def _figures() -> Iterator[Figure]:
    _faiss.omp_set_num_threads(_CORES)
    rng = np.random.default_rng(0)
    data = million_rows(ROWS)
    queries = rng.permutation(data.queries)
    captions = rng.permutation(data.captions)
    tuning = rng.permutation(data.tuning)[:_TUNED_BY]
    together = np.concatenate([data.crops, data.drawn])
    yield from _lie(data.crops, together, queries[:_ASKED])
    images = together[rng.permutation(len(together))]
    del data, together
    columns = Columns(rng.random(ROWS), rng.integers(0, len(COLORS), ROWS))
    sample = images[rng.choice(ROWS, min(ROWS, _SAMPLE_ROWS), replace=False)]
    asked = _Asked(
        images=images, columns=columns, sample=sample, captions=captions, tuning=tuning, queries=queries[:_ASKED]
    )
    parts = segments_of(images, columns)
    truth = nearest(asked.queries, images, TOP_K)[0]
    yield _flat(asked, parts)
    yield from _filtered("flat_float32", asked, parts)
    of_kind = built(Kind.FLAT_FLOAT16, parts, sample=asked.sample, captions=None, tuning=asked.tuning)
    yield from _kind(Kind.FLAT_FLOAT16, asked, of_kind, truth)
    of_kind = built(Kind.IVF_SQ8, parts, sample=asked.sample, captions=asked.captions, tuning=asked.tuning)
    lists = of_kind.coarse
    assert lists is not None
    yield from _kind(Kind.IVF_SQ8, asked, of_kind, truth)
    yield from _alone(asked, lists, of_kind.effort, truth)
    yield from _taught(asked, parts, of_kind, truth)
    of_kind = built(Kind.IVF_PQ, parts, sample=asked.sample, captions=asked.captions, tuning=asked.tuning, coarse=lists)
    yield from _kind(Kind.IVF_PQ, asked, of_kind, truth)
    few = _Asked(
        images=images[:HNSW_ROWS],
        columns=Columns(columns.prices[:HNSW_ROWS], columns.colors[:HNSW_ROWS]),
        sample=asked.sample,
        captions=asked.captions,
        tuning=asked.tuning,
        queries=asked.queries,
    )
    of_kind = built(Kind.HNSW, parts[:1], sample=few.sample, captions=few.captions, tuning=few.tuning)
    yield from _kind(Kind.HNSW, few, of_kind, nearest(few.queries, few.images, TOP_K)[0])


def _lie(crops: Rows, together: Rows, queries: Rows) -> Iterator[Figure]:
    """Tell how the images lie: the real ones, as many of all, photo by photo, and all."""
    photos = together[: len(together) // CROPS * CROPS].reshape(-1, CROPS, together.shape[1])
    chosen = np.random.default_rng(0).choice(len(photos), len(crops) // CROPS, replace=False)
    as_many = photos[chosen].reshape(len(crops), -1)
    for name, rows in (
        ("real crops", crops),
        ("as many of all images", as_many),
        ("all images", together),
    ):
        crop, photo = spread(rows), spread(rows[::CROPS])
        yield Figure(
            f"{len(rows):,} {name}: intrinsic dimension by TwoNN, by MLE",
            f"{crop.two_nn:.1f}, {crop.mle:.1f}",
            "",
            f"one crop a photo {photo.two_nn:.1f}, {photo.mle:.1f}",
        )
        scores = nearest(queries, rows, 100)[0]
        yield Figure(f"{len(rows):,} {name}: score of a caption's best answer, and how much lower", f"{margin(scores)}")


def _flat(asked: _Asked, parts: Parts) -> Figure:
    """Compare the exact search of segments with FAISS alone."""
    ours = speed(parts, asked.queries, threads=_CORES)
    alone = _faiss.IndexFlatIP(asked.images.shape[1])
    alone.add(asked.images)
    rate = _rate_alone(alone, asked.queries)
    ratio = ours.batch / rate
    return Figure(
        f"flat_float32, {ROWS:,} images: {BATCH} captions at a time over FAISS alone",
        f"{ratio:.2f}",
        "≥ 0.8",
        f"{ours}, FAISS {rate:,.0f}/s; {asked.images.nbytes / 1e6:,.0f} MB",
        ratio >= 0.8,
    )


def _rate_alone(index: Any, queries: Rows) -> float:
    """Return FAISS's queries a second by batches, with the number of threads that is quicker."""
    best = 0.0
    for threads in {1, _CORES}:
        _faiss.omp_set_num_threads(threads)
        index.search(queries[:BATCH], TOP_K)
        started_s, count = time.perf_counter(), 0
        while count < 3 * BATCH or time.perf_counter() - started_s < 1.0:
            index.search(queries[count % len(queries) :][:BATCH], TOP_K)
            count += BATCH
        best = max(best, count / (time.perf_counter() - started_s))
    _faiss.omp_set_num_threads(_CORES)
    return best


def _kind(kind: Kind, asked: _Asked, of_kind: Built, truth: Rows) -> Iterator[Figure]:
    """Tell what a kind takes and finds, and how fast it is, then the same under filters."""
    found = recall(of_kind.parts, asked.queries, truth)
    name = f"{kind}, {len(asked.images):,} images"
    effort = of_kind.effort
    yield Figure(
        f"{name}: recall@10 of captions that nothing has seen",
        f"{found:.3f}",
        f"≥ {RECALL_MIN}",
        f"{effort.probes} probes, {effort.shortlist} scored exactly; tuned on captions of other photos",
        found >= RECALL_MIN,
    )
    yield Figure(f"{name}: queries a second", f"{speed(of_kind.parts, asked.queries, threads=_CORES)}")
    memory = f"{of_kind.nbytes / 1e6:,.0f} MB"
    raw = f"beside {asked.images.nbytes / 1e6:,.0f} MB of float32 rows, in memory or in a file"
    took_s = of_kind.train_s + of_kind.build_s
    parts = f"{of_kind.train_s:.1f} s of it to train; {memory} {raw}"
    yield Figure(f"{name}: time to build, and memory", f"{took_s:.0f} s, {memory}", "", parts)
    yield from _filtered(str(kind), asked, of_kind.parts)


def _alone(asked: _Asked, lists: Coarse, effort: Effort, truth: Rows) -> Iterator[Figure]:
    """Measure FAISS's own IVF-SQ8: the same centroids and bytes, as many probes, nothing scored again."""
    quantizer = _faiss.IndexFlatIP(asked.images.shape[1])
    quantizer.add(lists.centroids)
    index = _faiss.IndexIVFScalarQuantizer(
        quantizer, quantizer.d, lists.count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    index.train(asked.sample)
    index.add(asked.images)
    index.nprobe = effort.probes
    rows = index.search(asked.queries, TOP_K)[1]
    scores = np.einsum("qd,qkd->qk", asked.queries, asked.images[rows])
    found = float((scores >= truth[:, -1:] - 1e-6).mean())
    yield Figure(
        f"FAISS alone, IVF-SQ8, {ROWS:,} images, {effort.probes} probes: recall@10, queries a second",
        f"{found:.3f}, {_rate_alone(index, asked.queries):,.0f}/s by {BATCH}",
    )


def _taught(asked: _Asked, parts: Parts, both: Built, truth: Rows) -> Iterator[Figure]:
    """Compare lists whose routes captions taught with those of images alone, probe for probe."""
    assert both.coarse is not None
    centroids = both.coarse.centroids
    images_alone = built(
        Kind.IVF_SQ8,
        parts,
        sample=asked.sample,
        captions=None,
        tuning=asked.tuning,
        coarse=Coarse(centroids, centroids),
    )
    for probes in _PROBES:
        effort = Effort(probes=probes)
        ours, theirs = (recall(one.searched_by(effort), asked.queries, truth) for one in (both, images_alone))
        yield Figure(
            f"recall@10 of captions, {probes} of {both.coarse.count:,} lists: both modalities taught, images alone",
            f"{ours:.3f}, {theirs:.3f}",
            "≥ images alone",
            f"{both.nbytes / 1e6:,.1f} MB, {images_alone.nbytes / 1e6:,.1f} MB",
            ours >= theirs,
        )
    yield Figure(
        f"probes that recall@10 ≥ {RECALL_MIN} takes: both modalities taught, images alone",
        f"{both.effort.probes}, {images_alone.effort.probes}",
    )


def _filtered(name: str, asked: _Asked, parts: Parts) -> Iterator[Figure]:
    """Compare filtered searches with brute force over what a filter leaves, in one thread, as one search is."""
    exact = name == "flat_float32"
    with threadpool_limits(1):
        _faiss.omp_set_num_threads(1)
        for case in CASES:
            held = case.held(asked.columns)
            queries = asked.queries[:_FILTERED]
            truth = _brute(asked.images, np.flatnonzero(held), queries)[0]
            found = recall(parts, queries, truth, case.where)
            ratios, times = [], []
            for count, rounds in _ROUNDS.items():
                few = queries[:count]
                ours_ms, brute_ms = _quickest_ms(
                    rounds,
                    lambda: ranking._best_of(parts, few, TOP_K, case.where),  # noqa: B023 - called at once
                    lambda: _brute(asked.images, np.flatnonzero(case.held(asked.columns)), few),  # noqa: B023
                )
                ratios.append(ours_ms / brute_ms)
                times.append(f"{ours_ms:.2f} ms against {brute_ms:.2f} ms")
            wanted = 1.0 if exact else RECALL_MIN
            yield Figure(
                f"{name}, {len(asked.images):,} images, filter that leaves {100 * case.share:g} %: "
                f"time of 1 and of {BATCH} captions over brute force, recall@10",
                f"{ratios[0]:.2f}, {ratios[1]:.2f}, {found:.3f}",
                f"≤ 1, ≤ 1, {'1' if exact else f'≥ {RECALL_MIN}'}",
                "; ".join(times),
                max(ratios) <= 1 and found >= wanted,
            )
    _faiss.omp_set_num_threads(_CORES)
