"""What calls for collections return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from isthmus.client.inputs import GuardLimits, Modality

__all__ = ["Collection", "IndexKind", "ServedRecall", "Structure", "StructureState"]

IndexKind: TypeAlias = Literal["flat_float32", "flat_float16", "flat_sq8", "ivf_sq8", "hnsw", "ivf_pq"]
"""How the vectors of large segments are searched; all but the first miss some neighbours and answer sooner."""
StructureState: TypeAlias = Literal["exact", "ready", "over_budget", "failed", "unknown"]
"""What became of structures; `unknown` is a value of a later server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRecall:
    """Recall of what a searcher serves, measured in the background on queries of the other modality."""

    recall: float
    """Recall@10 against all vectors, in [0, 1]."""
    target: float
    """What it should not be below, in [0, 1]."""
    query_count: int
    """Queries it was measured on."""
    real: bool
    """Whether these were asked; else they are items of the other modality."""
    revision: int
    """The revision that was measured."""
    time_micros: int
    """When, in microseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What one searcher searches the items of one modality by."""

    modality: Modality
    """The modality."""
    state: StructureState
    """What became of it."""
    kind: IndexKind | None
    """Its kind, or the one that takes least where none fits; None is one of a later server."""
    recall: float | None
    """Recall@10 measured when it was built, in [0, 1]; None where nothing was measured."""
    cross_modal: bool
    """Whether recall was measured on queries of the other modality."""
    probes: int
    """Lists that a query looks into, or candidates that a walk keeps."""
    shortlist: int
    """Candidates that are scored exactly, a segment."""
    item_count: int
    """Items that are searched by it; the others are searched exactly."""
    memory_bytes: int
    """Of it and of the vectors beside it."""
    needed_bytes: int
    """What the searcher would take in all, where that is more than it may; else 0."""
    limit_bytes: int
    """What vectors and structures of all collections may take in the searcher."""
    served: ServedRecall | None = None
    """Recall of what is served now; None until it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A named set of items."""

    name: str
    """Its name."""
    image_space: str
    """Raw space of its images; empty when it holds none."""
    text_space: str
    """Raw space of its texts; empty when it holds none."""
    image_dimension: int
    """Dimension of the image space."""
    text_dimension: int
    """Dimension of the text space."""
    aligner: str
    """The active aligner, `aligner_id@revision`; empty when there is none."""
    store_thumbnails: bool
    """True when items may carry thumbnails."""
    revision: int
    """Counter of applied mutations."""
    image_count: int
    """Live images."""
    text_count: int
    """Live texts."""
    guard: GuardLimits
    """What an aligner may cost it."""
    shadow_aligner: str = ""
    """The aligner that is compared with the active one on real searches; empty when there is none."""
    index: IndexKind | None = None
    """The kind of structure that it asks for; None leaves it to the searchers."""
    structures: tuple[Structure, ...] = ()
    """What one searcher searches it by, one a modality; none where no searcher said so in time, and in lists."""
    keyword_search: bool = False
    """True when the texts of text items are kept, so that their words can be searched."""
