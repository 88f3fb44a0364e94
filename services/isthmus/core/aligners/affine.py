"""One affine map a modality: what shift, center, standardize, procrustes, cca, ridge and spectral all come down to.

    y = (x - mean) * scale @ weight^T + bias,   then to unit length

Tensors, for each modality `image` and `text` with raw dimension d and aligned dimension k, those that a method uses:
`{modality}.mean` (d,), `{modality}.scale` (d,), `{modality}.weight` (k, d), `{modality}.bias` (k,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.core.aligners.artefact import Artefact, Tensors
from isthmus.core.aligners.base import Aligner, checked_rows, require_one_space, unit_rows
from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import ArtefactError
from isthmus.core.modality import Modality

__all__ = ["Affine", "AffineAligner", "affine_tensors"]

_BLOCK_ROWS: Final = 1_024
"""Rows at a time: what is not yet of unit length stays in the processor's cache."""
_NORM_MIN: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Affine:
    """The numbers of one modality, float32; None where a method does without."""

    mean: NDArray[np.float32] | None = None
    """(d,)."""
    scale: NDArray[np.float32] | None = None
    """(d,)."""
    weight: NDArray[np.float32] | None = None
    """(k, d)."""
    bias: NDArray[np.float32] | None = None
    """(k,)."""

    @classmethod
    def of(cls, **parts: NDArray[np.float64] | NDArray[np.float32]) -> Affine:
        """Return a map of these parts, rounded to float32."""
        return cls(**{name: np.ascontiguousarray(value, dtype=np.float32) for name, value in parts.items()})

    @classmethod
    def from_tensors(cls, tensors: Tensors, modality: Modality, *, parts: frozenset[str]) -> Affine:
        """Read one modality's map.

        Raises:
            ArtefactError: A part is missing, or their shapes do not fit together.
        """
        named = {part: tensors.get(f"{modality}.{part}") for part in parts}
        numbers = {part: value.astype(np.float32) for part, value in named.items() if value is not None}
        if numbers.keys() != parts:
            msg = f"tensors: needs {', '.join(f'{modality}.{part}' for part in sorted(parts))}"
            raise ArtefactError(msg)
        made = cls(**numbers)
        raw = made.raw_dimension
        shapes = {"mean": (raw,), "scale": (raw,), "weight": (made.dimension, raw), "bias": (made.dimension,)}
        if any(value.shape != shapes[part] for part, value in numbers.items()):
            msg = f"tensors: the shapes of the {modality} map do not fit together"
            raise ArtefactError(msg)
        return made

    @property
    def raw_dimension(self) -> int:
        """Length d of a raw vector."""
        for part, axis in ((self.weight, 1), (self.mean, 0), (self.scale, 0)):
            if part is not None and part.ndim > axis:
                return int(part.shape[axis])
        return 0

    @property
    def dimension(self) -> int:
        """Length k of an aligned vector."""
        return self.raw_dimension if self.weight is None else len(self.weight)

    def to_tensors(self, modality: Modality) -> dict[str, NDArray[np.float32]]:
        """Return the tensors by name."""
        named = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {f"{modality}.{name}": value for name, value in named.items() if value is not None}

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (n, k) float32 unit rows of (n, d) float32 rows.

        A row that is mapped to zero has no direction: it comes back as it came where the map keeps the dimension,
        else as (1, …, 1) scaled to unit length.
        """
        if self.weight is None:
            return unit_rows(self._prepared(x), fallback=x)
        weight, bias = self._folded()
        aligned = np.empty((len(x), self.dimension), dtype=np.float32)
        for start in range(0, len(x), _BLOCK_ROWS):
            checkpoint()
            block = aligned[start : start + _BLOCK_ROWS]
            np.matmul(x[start : start + _BLOCK_ROWS], weight.T, out=block)
            if bias is not None:
                block += bias
            norm = np.sqrt(np.einsum("ij,ij->i", block, block))
            lost = norm <= _NORM_MIN
            if lost.any():
                block[lost] = 1.0
                norm[lost] = self.dimension**0.5
            block *= (1.0 / norm)[:, None]
        return aligned

    def _folded(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return weight and bias with mean and scale folded in: one pass less over wide rows."""
        weight = self._wide(self.weight, 0.0)
        if self.scale is not None:
            weight = weight * self.scale
        if self.mean is None and (self.bias is None or not self.bias.any()):
            return weight.astype(np.float32), None
        bias = self._wide(self.bias, 0.0) - weight @ self._wide(self.mean, np.zeros(self.raw_dimension))
        return weight.astype(np.float32), bias.astype(np.float32)

    @staticmethod
    def _wide(part: NDArray[np.float32] | None, absent: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(absent if part is None else part, dtype=np.float64)

    def _prepared(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        y = x if self.mean is None else x - self.mean
        return y if self.scale is None else y * self.scale


def affine_tensors(sides: Mapping[Modality, Affine]) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of both modalities."""
    return sides[Modality.IMAGE].to_tensors(Modality.IMAGE) | sides[Modality.TEXT].to_tensors(Modality.TEXT)


class AffineAligner(Aligner):
    """Apply each modality's affine map."""

    parts: ClassVar[Mapping[Modality, frozenset[str]]]
    """Which numbers each modality has."""
    one_space: ClassVar[bool]
    """Whether both modalities must be of one raw space."""

    def __init__(self, artefact: Artefact) -> None:
        super().__init__(artefact)
        if self.one_space:
            require_one_space(self.image_space, self.text_space, method=self.method)
        wanted = {f"{modality}.{part}" for modality, parts in self.parts.items() for part in parts}
        if self._tensors.keys() != wanted:
            msg = f"tensors: {self.method} needs {', '.join(sorted(wanted))}"
            raise ArtefactError(msg)
        self._sides = {
            modality: Affine.from_tensors(self._tensors, modality, parts=self.parts[modality]) for modality in Modality
        }
        if any(side.dimension != self.dimension for side in self._sides.values()):
            msg = f"tensors: both maps of {self.method} must end in dimension {self.dimension}"
            raise ArtefactError(msg)

    def raw_dimension(self, modality: Modality) -> int:
        """Return the length of the raw vectors it accepts for `modality`."""
        return self._sides[modality].raw_dimension

    def align(self, x: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Map the rows of `x`, (n, d) float32, and scale them to unit length.

        Raises:
            ShapeError: `x` is not (n, d) with the dimension of that raw space.
        """
        side = self._sides[modality]
        return side.apply(checked_rows(x, side.raw_dimension))
