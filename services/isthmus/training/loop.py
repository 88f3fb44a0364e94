"""Train two heads on embeddings that are at hand."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.core.aligners.heads import Head
from isthmus.core.metrics import RecallAt, cross_modal_recall
from isthmus.core.modality import Modality
from isthmus.encoders.precision import choose_dtype
from isthmus.training.cca import fit_cca
from isthmus.training.config import HeadsConfig
from isthmus.training.loss import symmetric_info_nce
from isthmus.training.network import TrainableHead
from isthmus.training.progress import Progress, ProgressCallback, silent

__all__ = ["EmbeddedPairs", "TrainedHeads", "train_heads"]

_WARM_UP_SHARE: Final = 0.1
"""Share of the steps in which the learning rate rises."""
_AVERAGE_WARM_UP: Final = 10
"""Steps over which the running average still forgets its start quickly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPairs:
    """Raw embeddings of photos and captions, and which belong together."""

    images: NDArray[np.float32]
    """(n, d) canonical."""
    texts: NDArray[np.float32]
    """(m, e) canonical."""
    owners: NDArray[np.intp]
    """(m,) row of the photo that each caption belongs to; every photo has at least one."""
    codes: NDArray[np.int64]
    """(n,) photos with equal codes are the same thing."""

    def subset(self, photos: NDArray[np.intp]) -> EmbeddedPairs:
        """Return some photos with their captions, in the order given."""
        place = np.full(len(self.images), -1, dtype=np.intp)
        place[photos] = np.arange(len(photos))
        kept = np.flatnonzero(place[self.owners] >= 0)
        return EmbeddedPairs(
            images=self.images[photos],
            texts=self.texts[kept],
            owners=place[self.owners[kept]],
            codes=self.codes[photos],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedHeads:
    """Heads at their best epoch."""

    heads: Mapping[Modality, Head]
    epoch: int
    """The epoch chosen, from 1."""
    figures: Sequence[float]
    """Mean of the six recalls on the choosing slice after each epoch."""


def train_heads(
    pairs: EmbeddedPairs,
    choosing: EmbeddedPairs,
    *,
    config: HeadsConfig,
    seed: int,
    progress: ProgressCallback = silent,
) -> TrainedHeads:
    """Train both heads with symmetric InfoNCE and keep the epoch that does best on pairs they have not seen.

    The heads start from CCA. Each step takes one caption, at random, of each photo of the batch; the weights judged
    and kept are a running average over steps.

    Args:
        pairs: What is learned.
        choosing: Other pairs, by which the epoch is chosen.
        config: Shape and training of the heads.
        seed: Of everything random.
        progress: Told after each epoch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _train(pairs, choosing, config=config, rng=np.random.default_rng(seed), progress=progress)


def _train(
    pairs: EmbeddedPairs,
    choosing: EmbeddedPairs,
    *,
    config: HeadsConfig,
    rng: np.random.Generator,
    progress: ProgressCallback,
) -> TrainedHeads:
    towers = _fresh(pairs, config)
    averages = copy.deepcopy(towers).eval().requires_grad_(requires_grad=False)
    sampler = _CaptionSampler(pairs, rng)
    batch = min(config.batch_count, len(pairs.images))
    batches = len(pairs.images) // batch
    passes = max(1, round(len(pairs.texts) / len(pairs.images)))
    optimizer = torch.optim.AdamW(towers.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=config.epochs * passes * batches + 1,
        pct_start=_WARM_UP_SHARE,
    )
    images, codes = torch.from_numpy(pairs.images), torch.from_numpy(pairs.codes)
    texts = torch.from_numpy(pairs.texts)
    dtype = choose_dtype("auto", device=torch.device("cpu"))
    best: dict[Modality, Head] = {}
    figures: list[float] = []
    step = 0
    for epoch in range(1, config.epochs + 1):
        for _ in range(passes):
            order = rng.permutation(len(pairs.images))
            for start in range(0, batches * batch, batch):
                photos = order[start : start + batch]
                chosen = sampler.draw(photos)
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
                    x = towers[Modality.IMAGE.value](images[photos])
                    y = towers[Modality.TEXT.value](texts[chosen])
                loss = symmetric_info_nce(x, y, codes=codes[photos], temperature=config.temperature)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                step += 1
                _average(averages, towers, decay=min(config.average_decay, (1 + step) / (_AVERAGE_WARM_UP + step)))
        figure = _figure(averages, choosing)
        if figure > max(figures, default=-1.0):
            best = {modality: _tower(averages, modality).served() for modality in Modality}
        figures.append(figure)
        progress(Progress(stage="training", done=epoch, total=config.epochs, figure=figure))
    return TrainedHeads(heads=best, epoch=int(np.argmax(figures)) + 1, figures=tuple(figures))


class _CaptionSampler:
    """Draws one caption of each photo."""

    def __init__(self, pairs: EmbeddedPairs, rng: np.random.Generator) -> None:
        self._rng = rng
        self._by_photo = np.argsort(pairs.owners, kind="stable")
        self._counts = np.bincount(pairs.owners, minlength=len(pairs.images))
        self._starts = np.cumsum(self._counts) - self._counts

    def draw(self, photos: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return one caption row for each of (n,) photo rows."""
        rows: NDArray[np.intp] = self._by_photo[self._starts[photos] + self._rng.integers(self._counts[photos])]
        return rows


def _fresh(pairs: EmbeddedPairs, config: HeadsConfig) -> torch.nn.ModuleDict:
    """Return both heads, starting from CCA, scaled so that aligned rows start with a length near 1."""
    dimension = min(config.dimension, pairs.images.shape[1], pairs.texts.shape[1])
    start = fit_cca(pairs.images, pairs.texts, owners=pairs.owners, dimension=dimension)
    parts = {
        Modality.IMAGE: (pairs.images, start.image_mean, start.image_weight, config.image_dropout),
        Modality.TEXT: (pairs.texts, start.text_mean, start.text_weight, config.text_dropout),
    }
    towers = torch.nn.ModuleDict()
    for modality, (rows, mean, weight, dropout) in parts.items():
        centred = rows - mean
        length = float(np.linalg.norm(centred @ weight, axis=1).mean())
        towers[modality.value] = TrainableHead(
            mean=mean,
            scale=float(np.sqrt(np.square(centred).mean())),
            weight=weight / length,
            dropout=dropout,
            config=config,
        )
    return towers


def _tower(towers: torch.nn.ModuleDict, modality: Modality) -> TrainableHead:
    tower = towers[modality.value]
    assert isinstance(tower, TrainableHead)
    return tower


@torch.no_grad()
def _average(averages: torch.nn.ModuleDict, towers: torch.nn.ModuleDict, *, decay: float) -> None:
    for average, current in zip(averages.parameters(), towers.parameters(), strict=True):
        average.lerp_(current, 1.0 - decay)


@torch.no_grad()
def _figure(towers: torch.nn.ModuleDict, pairs: EmbeddedPairs) -> float:
    """Return the mean of the six recalls over `pairs`."""
    x = towers[Modality.IMAGE.value](torch.from_numpy(pairs.images)).numpy()
    y = towers[Modality.TEXT.value](torch.from_numpy(pairs.texts)).numpy()
    text_codes = pairs.codes[pairs.owners]
    both = (
        cross_modal_recall(y, x, query_codes=text_codes, item_codes=pairs.codes),
        cross_modal_recall(x, y, query_codes=pairs.codes, item_codes=text_codes),
    )
    return float(np.mean([_recalls(recall) for recall in both]))


def _recalls(recall: RecallAt) -> tuple[float, float, float]:
    return recall.r1, recall.r5, recall.r10
