"""Inputs that no cache has seen, and closed loops around a call."""

from __future__ import annotations

import io
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

__all__ = ["fresh_images", "fresh_texts", "latencies_s", "median_ms", "throughput"]

_WORDS = [
    "a",
    "the",
    "dog",
    "cat",
    "man",
    "woman",
    "child",
    "street",
    "river",
    "horse",
    "red",
    "blue",
    "small",
    "large",
    "runs",
    "sits",
    "under",
    "over",
    "with",
    "near",
]
_counter = itertools.count()


def fresh_texts(count: int) -> list[str]:
    """Return sentences of about a dozen words that were never returned before."""
    rng = np.random.default_rng(next(_counter))
    return [" ".join(rng.choice(_WORDS, 11)) + f" {next(_counter)}" for _ in range(count)]


def _photograph(name: str) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = getattr(data, name)()
    return pixels


def fresh_images(count: int, *, side_px: int = 320) -> list[bytes]:
    """Return JPEG files, crops of photographs, that were never returned before."""
    rng = np.random.default_rng(next(_counter))
    photographs = [_photograph(name) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    files = []
    for _ in range(count):
        photograph = photographs[rng.integers(len(photographs))]
        height, width = (photograph.shape[axis] - side_px + 1 for axis in (0, 1))
        top, left = rng.integers(max(height, 1)), rng.integers(max(width, 1))
        crop = photograph[top : top + side_px, left : left + side_px].copy()
        crop[:2, :2] = rng.integers(0, 256, (2, 2, 3))
        buffer = io.BytesIO()
        Image.fromarray(crop).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def throughput(
    call: Callable[[Sequence[object]], object], batches: Sequence[Sequence[object]], *, callers: int
) -> float:
    """Send every batch from `callers` threads and return items a second."""
    started_s = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, batches))
    return sum(map(len, batches)) / (time.perf_counter() - started_s)


def latencies_s(call: Callable[[], object], *, count: int, warm_up: int = 50) -> list[float]:
    """Call `count` times in a row and return each duration."""
    for _ in range(warm_up):
        call()
    durations = []
    for _ in range(count):
        started_s = time.perf_counter()
        call()
        durations.append(time.perf_counter() - started_s)
    return durations


def median_ms(durations_s: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(durations_s) * 1000
