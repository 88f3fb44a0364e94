"""Structures that a segment's vectors are searched by: each names candidates, which are then scored exactly.

trained = train(Kind.IVF_SQ8, sample, queries=what_the_other_modality_asks)
structure = trained.build(vectors)
scores, rows = Arranged(structure, Effort(probes=8)).search(vectors, queries, 10)
"""

from isthmus.index.structures.base import SHORTLIST_MIN_COUNT, Effort, Structure
from isthmus.index.structures.building import Trained, build, estimated_bytes, train, training_rows
from isthmus.index.structures.coarse import Coarse
from isthmus.index.structures.searching import DEPTH_MAX_COUNT, Arranged
from isthmus.index.structures.tuning import Part, Tuned, recall_of, truth_of, tuned
from isthmus.runtime.base.structure_kinds import Kind

__all__ = [
    "DEPTH_MAX_COUNT",
    "SHORTLIST_MIN_COUNT",
    "Arranged",
    "Coarse",
    "Effort",
    "Kind",
    "Part",
    "Structure",
    "Trained",
    "Tuned",
    "build",
    "estimated_bytes",
    "recall_of",
    "train",
    "training_rows",
    "truth_of",
    "tuned",
]
