"""Training of learned aligners. Never imported by a service."""

from __future__ import annotations

from isthmus.training.aligner import EmbeddedData, embed_pairs, train_aligner, train_on_embeddings
from isthmus.training.config import HeadsConfig, TrainAlignerConfig
from isthmus.training.data import PairData, TrainingDataError, read_pairs
from isthmus.training.progress import Progress, ProgressCallback

__all__ = [
    "EmbeddedData",
    "HeadsConfig",
    "PairData",
    "Progress",
    "ProgressCallback",
    "TrainAlignerConfig",
    "TrainingDataError",
    "embed_pairs",
    "read_pairs",
    "train_aligner",
    "train_on_embeddings",
]
