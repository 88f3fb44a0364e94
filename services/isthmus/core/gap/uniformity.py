"""Alignment and uniformity: are pairs close, and does the sphere get used?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.result import MeasureResult
from isthmus.core.gap.scan import CosineScan
from isthmus.core.modality import Modality

__all__ = ["AlignmentUniformity", "alignment_uniformity"]


@dataclass(frozen=True, kw_only=True)
class AlignmentUniformity(MeasureResult):
    """Both lower is better; a gap shows as a high alignment."""

    alignment: Figure
    """Mean ||x - y||² of a pair."""
    image_uniformity: Figure
    """log of the mean of exp(-2 ||u - v||²) over two images."""
    text_uniformity: Figure
    """The same over two texts."""
    joint_uniformity: Figure
    """The same over two items of either modality."""


def alignment_uniformity(scan: CosineScan, *, bootstrap: ClusterBootstrap, seed: int) -> AlignmentUniformity:
    """Measure alignment and uniformity, equations 1 and 2 of :cite:`wang:20:uniformity`, on all pairs.

    Args:
        scan: Of a balanced corpus.
        bootstrap: Of its corpus.
        seed: Said in the result; nothing here is random but the bootstrap.
    """
    images, texts = scan.corpus.images, scan.corpus.texts
    count = len(images)
    squared = 2.0 - 2.0 * np.einsum("nd,nd->n", images, texts, dtype=np.float64)
    sides = scan.sides
    own = {}
    joint_influence = {}
    for modality in Modality:
        kernel = sides[modality].own_kernel
        # A mean over pairs of items counts each item twice.
        own[modality] = bootstrap.expanded(float(np.log(kernel.mean())), {modality: 2.0 * kernel / kernel.mean()})
        joint_influence[modality] = (count - 1) * kernel + count * sides[modality].other_kernel
    joint = sum(float(values.sum()) for values in joint_influence.values()) / (2 * count * (2 * count - 1))
    return AlignmentUniformity(
        n=count,
        seed=seed,
        sampled=False,
        alignment=bootstrap.mean(squared, Modality.IMAGE),
        image_uniformity=own[Modality.IMAGE],
        text_uniformity=own[Modality.TEXT],
        joint_uniformity=bootstrap.expanded(
            float(np.log(joint)),
            {modality: values / ((2 * count - 1) * joint) for modality, values in joint_influence.items()},
        ),
    )
