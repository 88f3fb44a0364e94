"""Measures of the modality gap: one file a measure, each with its interval, its sample and its noise floor."""

from __future__ import annotations

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.centroid import CentroidGap, centroid_gap
from isthmus.core.gap.corpus import PAIRS_MIN, SAMPLE_LIMIT, Corpus
from isthmus.core.gap.distances import DistanceComparison, DistanceFigures, compare_distances
from isthmus.core.gap.drift import (
    CLOUD_KEYS_MAX,
    CLOUD_KEYS_MIN,
    CLOUD_RANK,
    CloudDrift,
    CloudStatistics,
    Moved,
    cloud_drift,
)
from isthmus.core.gap.encoders import EncoderChoice, EncoderDifference, choose_encoder
from isthmus.core.gap.gaussian import GaussianGap, gaussian_gap
from isthmus.core.gap.heterogeneity import Heterogeneity, SideHeterogeneity, heterogeneity
from isthmus.core.gap.histograms import ScoreHistogram, ScoreHistograms, score_histograms
from isthmus.core.gap.hubness import Hubness, gini, hubness
from isthmus.core.gap.labels import ClusterHomogeneity, ZeroShot, cluster_homogeneity, zero_shot
from isthmus.core.gap.mmd import MmdGap, mmd_gap
from isthmus.core.gap.overlap import NeighborOverlap, StructureKept, neighbor_overlap, structure_kept
from isthmus.core.gap.paired import PairedCosine, paired_cosine
from isthmus.core.gap.relative import RelativeGap, relative_gap
from isthmus.core.gap.report import GapReport, measure_gap
from isthmus.core.gap.result import MeasureResult
from isthmus.core.gap.retrieval import (
    DirectionRetrieval,
    FoldedRetrieval,
    GapRetrieval,
    fold_rows,
    folded_retrieval,
    gap_retrieval,
)
from isthmus.core.gap.scan import CosineScan, SideScan, scan_cosines
from isthmus.core.gap.separability import Separability, separability
from isthmus.core.gap.sinkhorn import SinkhornGap, sinkhorn_gap
from isthmus.core.gap.sliced import SlicedGap, sliced_gap
from isthmus.core.gap.uniformity import AlignmentUniformity, alignment_uniformity

__all__ = [
    "CLOUD_KEYS_MAX",
    "CLOUD_KEYS_MIN",
    "CLOUD_RANK",
    "PAIRS_MIN",
    "SAMPLE_LIMIT",
    "AlignmentUniformity",
    "CentroidGap",
    "CloudDrift",
    "CloudStatistics",
    "ClusterBootstrap",
    "ClusterHomogeneity",
    "Corpus",
    "CosineScan",
    "DirectionRetrieval",
    "DistanceComparison",
    "DistanceFigures",
    "EncoderChoice",
    "EncoderDifference",
    "Figure",
    "FoldedRetrieval",
    "GapReport",
    "GapRetrieval",
    "GaussianGap",
    "Heterogeneity",
    "Hubness",
    "MeasureResult",
    "MmdGap",
    "Moved",
    "NeighborOverlap",
    "PairedCosine",
    "RelativeGap",
    "ScoreHistogram",
    "ScoreHistograms",
    "Separability",
    "SideHeterogeneity",
    "SideScan",
    "SinkhornGap",
    "SlicedGap",
    "StructureKept",
    "ZeroShot",
    "alignment_uniformity",
    "centroid_gap",
    "choose_encoder",
    "cloud_drift",
    "cluster_homogeneity",
    "compare_distances",
    "fold_rows",
    "folded_retrieval",
    "gap_retrieval",
    "gaussian_gap",
    "gini",
    "heterogeneity",
    "hubness",
    "measure_gap",
    "mmd_gap",
    "neighbor_overlap",
    "paired_cosine",
    "relative_gap",
    "scan_cosines",
    "score_histograms",
    "separability",
    "sinkhorn_gap",
    "sliced_gap",
    "structure_kept",
    "zero_shot",
]
