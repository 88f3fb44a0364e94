"""All measures of one corpus, gathered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import CoreError, ShapeError
from isthmus.core.gap.bootstrap import ClusterBootstrap
from isthmus.core.gap.centroid import CentroidGap, centroid_gap
from isthmus.core.gap.corpus import SAMPLE_LIMIT, Corpus
from isthmus.core.gap.distances import DistanceComparison, compare_distances
from isthmus.core.gap.gaussian import GaussianGap, gaussian_gap
from isthmus.core.gap.heterogeneity import Heterogeneity, heterogeneity
from isthmus.core.gap.histograms import ScoreHistograms, score_histograms
from isthmus.core.gap.hubness import Hubness, hubness
from isthmus.core.gap.labels import ClusterHomogeneity, ZeroShot, cluster_homogeneity, zero_shot
from isthmus.core.gap.mmd import MmdGap, mmd_gap
from isthmus.core.gap.overlap import NeighborOverlap, neighbor_overlap
from isthmus.core.gap.paired import PairedCosine, paired_cosine
from isthmus.core.gap.relative import RelativeGap, relative_gap
from isthmus.core.gap.retrieval import GapRetrieval, gap_retrieval
from isthmus.core.gap.scan import scan_cosines
from isthmus.core.gap.separability import Separability, separability
from isthmus.core.gap.sinkhorn import SINKHORN_LIMIT, SinkhornGap, sinkhorn_gap
from isthmus.core.gap.sliced import SlicedGap, sliced_gap
from isthmus.core.gap.uniformity import AlignmentUniformity, alignment_uniformity
from isthmus.core.modality import Modality

__all__ = ["GapReport", "measure_gap"]


@dataclass(frozen=True, kw_only=True)
class GapReport:
    """Every measure that could be taken; the others are None, with the reason in `missing`."""

    n: int
    """Pair keys with items of both modalities."""
    image_count: int
    """Images."""
    text_count: int
    """Texts."""
    seed: int
    """Seed of every sample, split and bootstrap."""
    sample_count: int
    """Pairs that the sampled measures looked at."""
    centroid: CentroidGap | None = None
    rmg: RelativeGap | None = None
    fid: GaussianGap | None = None
    sliced_w2: SlicedGap | None = None
    sinkhorn: SinkhornGap | None = None
    mmd: MmdGap | None = None
    separability: Separability | None = None
    heterogeneity: Heterogeneity | None = None
    uniformity: AlignmentUniformity | None = None
    neighbor_overlap: NeighborOverlap | None = None
    hubness: Hubness | None = None
    paired_cosine: PairedCosine | None = None
    histograms: ScoreHistograms | None = None
    retrieval: GapRetrieval | None = None
    distances: DistanceComparison | None = None
    homogeneity: ClusterHomogeneity | None = None
    zero_shot: ZeroShot | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Why a measure was not taken, by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values.

        `gap` holds one number a measure (None where it was not taken), `measures` all that is known of each, with
        intervals, noise floors, counts and seeds; `recall` and `mixed` are those of every `--json` answer.
        """
        document: dict[str, Any] = {
            "n": self.n,
            "image_count": self.image_count,
            "text_count": self.text_count,
            "seed": self.seed,
            "sample_count": self.sample_count,
            "gap": self.headline(),
        }
        if (found := self.retrieval) is not None:
            document["recall"] = {"t2i": asdict(found.t2i.recall), "i2t": asdict(found.i2t.recall)}
            document["mixed"] = {"image_query": asdict(found.i2t.mixed), "text_query": asdict(found.t2i.mixed)}
        document["measures"] = {
            name: measure.to_dict() for name in _MEASURES if (measure := getattr(self, name)) is not None
        }
        document["missing"] = dict(self.missing)
        return document

    def headline(self) -> dict[str, float | None]:
        """Return one number a measure, None where it was not taken."""
        spread, mixing, found = self.uniformity, self.heterogeneity, self.retrieval
        return {
            "centroid": self.centroid.distance.value if self.centroid else None,
            "rmg": self.rmg.ratio.value if self.rmg else None,
            "fid": self.fid.fid.value if self.fid else None,
            "sliced_w2": self.sliced_w2.w2.value if self.sliced_w2 else None,
            "sinkhorn": self.sinkhorn.divergence.value if self.sinkhorn else None,
            "mmd": self.mmd.squared.value if self.mmd else None,
            "separability": self.separability.accuracy.value if self.separability else None,
            "itr": mixing.image_query.ratio.value if mixing else None,
            "tir": mixing.text_query.ratio.value if mixing else None,
            "tmr": mixing.image_query.mean_rank.value if mixing else None,
            "imr": mixing.text_query.mean_rank.value if mixing else None,
            "alignment": spread.alignment.value if spread else None,
            "uniformity": spread.joint_uniformity.value if spread else None,
            "neighbor_overlap": self.neighbor_overlap.overlap.value if self.neighbor_overlap else None,
            "hubness": self.hubness.gini if self.hubness else None,
            "paired_cosine": self.paired_cosine.cosine.value if self.paired_cosine else None,
            "rsum": found.rsum.value if found else None,
        }


_MEASURES = (
    "centroid",
    "rmg",
    "fid",
    "sliced_w2",
    "sinkhorn",
    "mmd",
    "separability",
    "heterogeneity",
    "uniformity",
    "neighbor_overlap",
    "hubness",
    "paired_cosine",
    "histograms",
    "retrieval",
    "distances",
    "homogeneity",
    "zero_shot",
)


def measure_gap(
    images: NDArray[np.floating[Any]],
    texts: NDArray[np.floating[Any]],
    *,
    image_keys: Sequence[str | None] | None = None,
    text_keys: Sequence[str | None] | None = None,
    image_labels: Sequence[str | None] | None = None,
    label_vectors: Mapping[str, NDArray[np.floating[Any]]] | None = None,
    seed: int = 0,
    sample_limit: int = SAMPLE_LIMIT,
    distances: bool = False,
    progress: Callable[[str], None] | None = None,
) -> GapReport:
    """Take every measure of a corpus.

    Measures of the gap look at one image and one text a pair key; retrieval and hubness look at every item. Whatever
    follows from cosines alone is taken on all of them, in blocks; FID, sliced W2, Sinkhorn, MMD, separability and
    histograms on a seeded sample of pairs (Sinkhorn on at most 1,000). Spaces of two dimensions have no cosine between
    them: only the overlap of neighbours is taken then, and `missing` says so for the others.

    Args:
        images: (n, d) real numbers, one row an image.
        texts: (m, e) real numbers, one row a text.
        image_keys: n pair keys; None or empty where an item has none. Without keys row i pairs with row i.
        text_keys: m pair keys.
        image_labels: One label an image, where the clusters are to be judged by one; None or empty where it has none.
        label_vectors: With `image_labels`, the (d,) text vector of every label: images are classified by the nearest.
        seed: Seed of every sample, split and bootstrap, at least 0.
        sample_limit: Pairs of the sample.
        distances: Also compare four dissimilarities, which takes longer than all the rest.
        progress: Told what is measured next.

    Raises:
        ShapeError: An array has another shape, or there is not one key for each row.
        InvalidVectorError: A row holds NaN or Inf, or has zero length.
        NotEnoughItemsError: A modality is missing, or fewer than 16 pair keys have items of both.
    """
    corpus = Corpus.of(images, texts, image_keys=image_keys, text_keys=text_keys)
    if image_labels is not None and len(image_labels) != len(corpus.images):
        msg = f"labels: need one for each of {len(corpus.images)} images, got {len(image_labels)}"
        raise ShapeError(msg)
    balanced, sample = corpus.balanced(), corpus.sample(seed=seed, limit=sample_limit)
    taken = _Taken(progress)
    _take_moments(taken, balanced, seed=seed)
    _take_sampled(taken, corpus, seed=seed, limit=sample_limit, distances=distances)
    if image_labels is not None:
        _take_labels(taken, corpus, sample, labels=image_labels, label_vectors=label_vectors or {}, seed=seed)
    _take_scanned(taken, corpus, balanced, seed=seed)
    return GapReport(
        n=len(balanced.images),
        image_count=len(corpus.images),
        text_count=len(corpus.texts),
        seed=seed,
        sample_count=len(sample.images),
        missing=taken.missing,
        **taken.results,
    )


class _Taken:
    """What was measured so far, and why something was not."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        self.tell = progress or (lambda _: None)
        self.results: dict[str, Any] = {}
        self.missing: dict[str, str] = {}

    def take(self, name: str, measure: Callable[[], object]) -> None:
        """Measure, or note why that is impossible."""
        self.tell(name.replace("_", " "))
        try:
            self.results[name] = measure()
        except CoreError as error:
            self.missing[name] = str(error)


def _take_moments(taken: _Taken, balanced: Corpus, *, seed: int) -> None:
    """Measure what the rows and their sums alone tell, on all pairs."""
    bootstrap = ClusterBootstrap(balanced, seed=seed)
    taken.take("centroid", lambda: centroid_gap(balanced, bootstrap=bootstrap, seed=seed))
    taken.take("rmg", lambda: relative_gap(balanced, bootstrap=bootstrap, seed=seed))
    taken.take("paired_cosine", lambda: paired_cosine(balanced, bootstrap=bootstrap, seed=seed))


def _take_sampled(taken: _Taken, corpus: Corpus, *, seed: int, limit: int, distances: bool) -> None:
    """Measure what costs too much on everything."""
    count = len(corpus.paired_keys)
    sample = corpus.sample(seed=seed, limit=limit)
    small = corpus.sample(seed=seed, limit=min(limit, SINKHORN_LIMIT))
    bootstrap = ClusterBootstrap(sample, seed=seed)
    sampled = len(sample.images) < count
    for name, measure in (
        ("fid", gaussian_gap),
        ("sliced_w2", sliced_gap),
        ("mmd", mmd_gap),
        ("separability", separability),
        *((("distances", compare_distances),) if distances else ()),
    ):
        taken.take(name, partial(measure, sample, bootstrap=bootstrap, seed=seed, sampled=sampled))
    taken.take("histograms", lambda: score_histograms(sample, seed=seed, sampled=sampled))
    small_bootstrap = ClusterBootstrap(small, seed=seed)
    taken.take(
        "sinkhorn",
        lambda: sinkhorn_gap(small, bootstrap=small_bootstrap, seed=seed, sampled=len(small.images) < count),
    )


def _take_labels(
    taken: _Taken,
    corpus: Corpus,
    sample: Corpus,
    *,
    labels: Sequence[str | None],
    label_vectors: Mapping[str, NDArray[np.floating[Any]]],
    seed: int,
) -> None:
    """Measure what labels show."""
    label_of: dict[str, str | None] = {}
    for key, label in zip(corpus.keys[Modality.IMAGE], labels, strict=True):
        label_of.setdefault(key, label)
    of_sample = [label_of[key] for key in sample.keys[Modality.IMAGE]]
    sampled = len(sample.images) < len(corpus.paired_keys)
    taken.take("homogeneity", lambda: cluster_homogeneity(sample, labels=of_sample, seed=seed, sampled=sampled))
    if label_vectors:
        taken.take(
            "zero_shot",
            lambda: zero_shot(
                corpus,
                image_labels=labels,
                label_vectors=label_vectors,
                bootstrap=ClusterBootstrap(corpus, seed=seed),
                seed=seed,
            ),
        )


def _take_scanned(taken: _Taken, corpus: Corpus, balanced: Corpus, *, seed: int) -> None:
    """Measure what needs all cosines."""
    one_each = len(corpus.images) == len(corpus.texts) == len(balanced.images)
    bootstrap = ClusterBootstrap(balanced, seed=seed)
    taken.tell("all cosines")
    try:
        scan = scan_cosines(balanced if one_each else corpus)
    except CoreError as error:
        taken.missing |= dict.fromkeys(("heterogeneity", "uniformity", "hubness", "retrieval"), str(error))
        taken.take("neighbor_overlap", lambda: neighbor_overlap(balanced, bootstrap=bootstrap, seed=seed))
        return
    pairs = scan if one_each else scan_cosines(balanced)
    taken.take("neighbor_overlap", lambda: neighbor_overlap(balanced, bootstrap=bootstrap, seed=seed, scan=pairs))
    taken.take("heterogeneity", lambda: heterogeneity(pairs, bootstrap=bootstrap, seed=seed))
    taken.take("uniformity", lambda: alignment_uniformity(pairs, bootstrap=bootstrap, seed=seed))
    everything = bootstrap if one_each else ClusterBootstrap(corpus, seed=seed)
    taken.take("hubness", lambda: hubness(scan, bootstrap=everything, seed=seed))
    taken.take("retrieval", lambda: gap_retrieval(scan, bootstrap=everything, seed=seed))
