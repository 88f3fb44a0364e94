"""What every measure says beside its figures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MeasureResult"]


@dataclass(frozen=True, kw_only=True)
class MeasureResult:
    """A measure's figures and what they were taken from."""

    n: int
    """Pair keys that it looked at."""
    seed: int
    """Seed of the sample, of the halves and of the bootstrap."""
    sampled: bool
    """Whether it looked at a seeded sample instead of all pairs."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array: NDArray[Any] = value
        return array.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
