"""What labels show: classification by the nearest label text, and whether clusters are classes or modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.hubness import gini
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality

__all__ = ["ClusterHomogeneity", "ZeroShot", "cluster_homogeneity", "zero_shot"]

_LABELS_MIN: Final = 2
_RESTART_COUNT: Final = 4


@dataclass(frozen=True, kw_only=True)
class ZeroShot(MeasureResult):
    """Classification of images by the nearest label text."""

    accuracy: Figure
    """Share of the labelled images whose nearest label is their own; the floor is the share of the commonest label."""
    label_count: int
    """Different labels."""
    gini: float
    """How unequally often labels are predicted: a label that everything falls to is a hub."""


@dataclass(frozen=True, kw_only=True)
class ClusterHomogeneity(MeasureResult):
    """k-means over images and texts together, as many clusters as labels."""

    by_label: float
    """Homogeneity of the clusters in the label: 1 when every cluster holds one class."""
    by_modality: float
    """Homogeneity in the modality: 1 when every cluster holds one modality, which is what a gap does."""
    label_count: int
    """Different labels."""


def zero_shot(
    corpus: Corpus,
    *,
    image_labels: Sequence[str | None],
    label_vectors: Mapping[str, NDArray[np.floating[Any]]],
    bootstrap: ClusterBootstrap,
    seed: int,
) -> ZeroShot:
    """Classify the labelled images by the cosine to a vector a label.

    Args:
        corpus: Of one space.
        image_labels: One label an image; None or empty where it has none.
        label_vectors: The (d,) text vector of every label, of the same space.
        bootstrap: Of this corpus.
        seed: Said in the result; nothing here is random but the bootstrap.

    Raises:
        ShapeError: Lengths or dimensions do not agree, or an image has a label that has no vector.
        NotEnoughItemsError: There are fewer than 2 labels, or no image has one.
    """
    if len(image_labels) != len(corpus.images):
        msg = f"labels: need one for each of {len(corpus.images)} images, got {len(image_labels)}"
        raise ShapeError(msg)
    if {vector.shape for vector in label_vectors.values()} - {(corpus.images.shape[1],)}:
        msg = f"labels: a label's vector must have {corpus.images.shape[1]} dimensions, as the images have"
        raise ShapeError(msg)
    known = {name: row for row, name in enumerate(label_vectors)}
    labelled = np.array([row for row, label in enumerate(image_labels) if label], dtype=np.intp)
    if len(known) < _LABELS_MIN or len(labelled) == 0:
        msg = f"labels: {len(known)} labels and {len(labelled)} labelled images; need at least {_LABELS_MIN} and one"
        raise NotEnoughItemsError(msg)
    if not {image_labels[row] for row in labelled} <= known.keys():
        msg = "labels: an image has a label that has no vector; give a vector for each label"
        raise ShapeError(msg)
    stacked = np.stack([*label_vectors.values()]).astype(np.float64)
    truth = np.array([known[image_labels[row] or ""] for row in labelled])
    directions = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12)
    predicted = (corpus.images[labelled] @ directions.T).argmax(axis=1)
    right = np.full(len(corpus.images), np.nan)
    right[labelled] = predicted == truth
    return ZeroShot(
        n=len(labelled),
        seed=seed,
        sampled=False,
        accuracy=bootstrap.mean(right, Modality.IMAGE, noise_floor=float(np.bincount(truth).max()) / len(truth)),
        label_count=len(known),
        gini=float(gini(np.bincount(predicted, minlength=len(known)))),
    )


def cluster_homogeneity(
    sample: Corpus, *, labels: Sequence[str | None], seed: int, sampled: bool
) -> ClusterHomogeneity:
    """Cluster images and texts together and ask what the clusters are made of.

    Homogeneity as in section 2 of :cite:`rosenberg:07:vmeasure`: 1 - H(class | cluster) / H(class).

    Args:
        sample: Balanced, of one space.
        labels: One label a pair; None or empty where it has none, and is left out.
        seed: Seed of k-means.
        sampled: Said in the result.

    Raises:
        SpacesMismatchError: The dimensions differ.
        ShapeError: There is not one label for each pair.
        NotEnoughItemsError: There are fewer than 2 labels.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 - a second of import that no searcher needs
    from sklearn.metrics import homogeneity_score  # noqa: PLC0415 - as above

    sample.require_one_space("clustering")
    if len(labels) != len(sample.images):
        msg = f"labels: need one for each of {len(sample.images)} pairs, got {len(labels)}"
        raise ShapeError(msg)
    rows = np.array([row for row, label in enumerate(labels) if label], dtype=np.intp)
    names = [labels[row] or "" for row in rows]
    if (label_count := len(set(names))) < _LABELS_MIN:
        msg = f"labels: {label_count} different labels, need at least {_LABELS_MIN}"
        raise NotEnoughItemsError(msg)
    both = np.concatenate([sample.images[rows], sample.texts[rows]])
    clusters = KMeans(n_clusters=label_count, n_init=_RESTART_COUNT, random_state=seed).fit_predict(both)
    return ClusterHomogeneity(
        n=len(rows),
        seed=seed,
        sampled=sampled,
        by_label=float(homogeneity_score(names + names, clusters)),
        by_modality=float(homogeneity_score(np.arange(len(both)) < len(rows), clusters)),
        label_count=label_count,
    )
