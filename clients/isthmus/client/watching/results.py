"""What calls for watched collections return. What is unknown is None or absent, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from isthmus.client.inputs import Modality

__all__ = [
    "ModalityDrift",
    "Moved",
    "ProbeRecall",
    "ProposalState",
    "RefitProposal",
    "WatchLimits",
    "WatchReport",
]

ProposalState: TypeAlias = Literal["open", "dismissed", "superseded", "unknown"]
"""What became of a proposal; `unknown` is a state that a newer server knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far one moment of a modality's raw vectors has moved since the fit."""

    distance: float
    """Between then and now, noise included."""
    noise_floor: float
    """What the distance would be if nothing had moved."""
    share: float
    """What has moved, noise taken off: of the mean as a share of the spread, of the spectrum as a share of its norm."""
    floors: float
    """The distance in noise floors: about 1 when nothing has moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityDrift:
    """How one modality's raw vectors have moved since the fit."""

    pairs: int
    """Pair keys looked at now."""
    mean: Moved
    spectrum: Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRecall:
    """How often held-out pairs find each other across the modalities, in galleries of one size."""

    gallery: int
    """Pair keys a gallery."""
    pairs: int
    """Pair keys in all galleries."""
    image_query: float
    """Recall@10 of images asking for their text, in [0, 1]."""
    text_query: float
    """Recall@10 of texts asking for their image, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits:
    """From where a re-fit is proposed."""

    mean_share: float
    mean_floors: float
    spectrum_share: float
    spectrum_floors: float
    recall_drop: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitProposal:
    """A proposal to fit an aligner again; nothing changes by itself."""

    proposal: str
    """Its id."""
    collection: str
    aligner: str
    """The aligner that the world has moved away from."""
    cause: str
    """mean, spectrum or probe_recall."""
    subject: str
    """image or text: the modality that has moved furthest; empty for probe_recall."""
    figure: float
    """What passed its limit."""
    limit: float
    revision: int
    """Of the collection, at which it was seen first."""
    time: datetime
    """When that was, in UTC."""
    command: str
    """What would fit anew."""
    state: ProposalState
    closed: datetime | None
    """When it was closed, in UTC; None while it is open."""
    reason: str
    """Why a person dismissed it; empty otherwise."""
    report_json: str
    """All figures of that look, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchReport:
    """The latest look at a collection."""

    collection: str
    aligner: str
    """The active one, `aligner_id@revision`; empty when there is none."""
    revision: int
    """Of the collection; 0 when nobody has looked yet."""
    time: datetime | None
    """When, in UTC; None when nobody has looked yet."""
    pairs: int
    """Pair keys looked at: a seeded sample of the collection's."""
    raw_gap: float | None
    """Distance of the two centroids, raw; None for two raw spaces."""
    aligned_gap: float | None
    """The same in the aligner's space."""
    drift: Mapping[Modality, ModalityDrift]
    """Since the fit; empty when the aligner remembers nothing of it."""
    probe: ProbeRecall | None
    """The probe now; None when held-out pairs are too few."""
    fit_probe: ProbeRecall | None
    """The probe at the fit."""
    limits: WatchLimits
    proposals: tuple[RefitProposal, ...]
    """Open ones."""
    unmeasured: str
    """Why there are no figures; empty when there are."""
