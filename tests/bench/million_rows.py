"""A million images as the embedded encoders see them: crops of real photos, and crops of photos drawn between those.

A photo is its twelve crops a_1 ... a_12 (aligned, unit norm) with mean A. One more is drawn from a photo a, from one b
of the K photos nearest to it, and from all of these, N_1 ... N_K; with t uniform in [0, 1], r^2 = 2 t (1 - t) and
standard normal g and h:

    C = (1 - t) A + t B + r sum_l g_l (N_l - A) / sqrt(K)
    x_j = unit(C + (1 - t) (a_j - A) + t (b_j - B) + r sum_l h_jl (a_l - A) / sqrt(12))

Interpolation by itself (SMOTE, Chawla et al. 2002) shrinks what it mixes, to (1 - t)^2 + t^2 of the variance, and
leaves photos on segments. The noise gives back what is missing, 2 t (1 - t), at the scale and in the directions in
which real neighbours differ: among photos by g, among the crops of one by h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.artefact_store import SHIPPED_FOLDER
from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.modality import Modality
from tests.bench.spread import nearest
from tests.harness.flickr8k import embedded, is_held_out
from tests.harness.flickr8k_crops import CROPS, crops_of_train

__all__ = ["Million", "drawn_photos", "million_rows"]

NEIGHBORS: Final = 8
"""K above."""
_BLOCK_PHOTOS: Final = 1_024

Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Million:
    """Aligned rows of unit norm, d = 256."""

    crops: Rows
    """(photos * 12, d) of real photos, photo by photo."""
    drawn: Rows
    """(m, d) of drawn ones."""
    captions: Rows
    """(c, d) of the photos that the shipped heads were fitted to: for training structures."""
    tuning: Rows
    """(t, d) of half of the photos that were held out of that fit: for tuning structures."""
    queries: Rows
    """(q, d) of the other half: nothing has seen them."""


def million_rows(count: int, *, seed: int = 0) -> Million:
    """Return `count` images, crops and drawn ones together, and captions to train and to ask with.

    Args:
        count: Images wanted; below 72,000 there are only real ones, of fewer photos.
        seed: Of the draw.
    """
    aligner = load_aligner(Artefact.load(SHIPPED_FOLDER / "flickr8k-heads"))
    raw = crops_of_train().images[: count - count % CROPS]
    crops = _unit(aligner.item_rows(raw.astype(np.float32), Modality.IMAGE))
    data = embedded("train")
    captions = _unit(aligner.query_rows(data.pairs.texts, Modality.TEXT))
    held_out = np.array([is_held_out(key) for key in data.pair_keys])
    unseen = held_out & (np.cumsum(held_out) > held_out.sum() // 2)
    trained, tuning, asked = (which[data.pairs.owners] for which in (~held_out, held_out & ~unseen, unseen))
    drawn = drawn_photos(crops, -(-(count - len(crops)) // CROPS), seed=seed)[: count - len(crops)]
    return Million(
        crops=crops, drawn=drawn, captions=captions[trained], tuning=captions[tuning], queries=captions[asked]
    )


def drawn_photos(crops: Rows, count: int, *, seed: int) -> Rows:
    """Draw photos near and between given ones, see above; (count * 12, d).

    Args:
        crops: (photos * 12, d) unit norm, photo by photo, more photos than NEIGHBORS.
        count: Photos to draw.
        seed: Of the draw.
    """
    photos = crops.reshape(-1, CROPS, crops.shape[1])
    centers = photos.mean(axis=1)
    apart = photos - centers[:, None]
    near = nearest(_unit(centers), _unit(centers), NEIGHBORS + 1)[1][:, 1:]
    rng = np.random.default_rng(seed)
    drawn = np.empty((count, CROPS, crops.shape[1]), dtype=np.float32)
    for start in range(0, count, _BLOCK_PHOTOS):
        block = drawn[start : start + _BLOCK_PHOTOS]
        a = rng.integers(len(photos), size=len(block))
        b = near[a, rng.integers(NEIGHBORS, size=len(block))]
        t = rng.random((len(block), 1), dtype=np.float32)
        r = np.sqrt(2 * t * (1 - t))
        among = rng.standard_normal((len(block), 1, NEIGHBORS), dtype=np.float32) / np.float32(np.sqrt(NEIGHBORS))
        within = rng.standard_normal((len(block), CROPS, CROPS), dtype=np.float32) / np.float32(np.sqrt(CROPS))
        center = (1 - t) * centers[a] + t * centers[b]
        center += r * (among @ (centers[near[a]] - centers[a][:, None]))[:, 0]
        np.matmul(r[..., None] * within, apart[a], out=block)
        block += center[:, None] + (1 - t[..., None]) * apart[a] + t[..., None] * apart[b]
        block /= np.linalg.norm(block, axis=2, keepdims=True)
    return drawn.reshape(-1, crops.shape[1])


def _unit(rows: Rows) -> Rows:
    scaled: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled
