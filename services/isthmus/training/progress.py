"""How a long training says where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Progress", "ProgressCallback", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A step of the work."""

    stage: str
    """`embedding images`, `embedding texts`, `training` or `calibrating`."""
    done: int
    """Units of this stage that are done."""
    total: int
    """Units of this stage."""
    figure: float | None = None
    """Mean of the six recalls on held-out pairs so far, in [0, 1]; only while training."""


ProgressCallback: TypeAlias = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Say nothing."""
