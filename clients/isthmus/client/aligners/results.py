"""What calls for aligners return."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Aligner", "FitProgress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligner:
    """An aligner, without its tensors."""

    aligner: str
    """`aligner_id@revision`: also the name of its aligned space."""
    method: str
    """identity, center or heads."""
    image_space: str
    """Raw space of the images it accepts."""
    text_space: str
    """Raw space of the texts it accepts."""
    dimension: int
    """Dimension of the aligned space."""
    manifest_json: str
    """Its manifest: provenance, figures, calibration."""
    notice: str
    """What a person must know before using it, for example its licence; empty for most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitProgress:
    """A step of a fit."""

    progress: float
    """Share of the work that is done, in [0, 1]."""
    stage: str
    """reading, fitting, saving or done."""
