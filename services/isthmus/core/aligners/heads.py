"""Learned two-tower heads: one small network a modality, so that two unrelated encoders meet in one space.

A tower maps a raw vector x to the unit vector of

    y = A x + a + B gelu(C x + c)

a linear map plus, where the tensors hold one, a one-layer perceptron beside it; gelu is the exact one, with erf. (The
two-tower metric of Xu and Leiva 2025, arXiv:2506.08774, in the form of docs/methods.md: a reconstruction. The linear
path is ours.) Any affine preprocessing of a trainer is folded into A, a, C and c, so nothing else is needed here.

Tensors, for each modality `image` and `text` with raw dimension d, hidden width h and aligned dimension k:
`{modality}.linear.weight` (k, d), `{modality}.linear.bias` (k,), and all or none of `{modality}.hidden.weight` (h, d),
`{modality}.hidden.bias` (h,), `{modality}.output.weight` (k, h).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from isthmus.core.aligners.artefact import Artefact, Tensors
from isthmus.core.aligners.base import Aligner, checked_rows, unit_rows
from isthmus.core.aligners.manifest import Manifest
from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import ArtefactError
from isthmus.core.modality import Modality

__all__ = ["Head", "HeadsAligner"]

_BLOCK_ROWS: Final = 1_024
"""Rows at a time: bounds the hidden activations of a whole collection."""
_LINEAR: Final = frozenset({"linear.weight", "linear.bias"})
_PERCEPTRON: Final = frozenset({"hidden.weight", "hidden.bias", "output.weight"})


@dataclass(frozen=True, kw_only=True)
class Head:
    """One tower's numbers, float32."""

    weight: NDArray[np.float32]
    """A, (k, d)."""
    bias: NDArray[np.float32]
    """a, (k,)."""
    hidden_weight: NDArray[np.float32]
    """C, (h, d); h is 0 when there is no perceptron."""
    hidden_bias: NDArray[np.float32]
    """c, (h,)."""
    output_weight: NDArray[np.float32]
    """B, (k, h)."""

    def __post_init__(self) -> None:
        """Check that the shapes fit together.

        Raises:
            ArtefactError: They do not.
        """
        shapes = self.weight.ndim == self.hidden_weight.ndim == self.output_weight.ndim == 2  # noqa: PLR2004
        if not (
            shapes
            and self.bias.shape == (self.weight.shape[0],)
            and self.hidden_weight.shape[1] == self.weight.shape[1]
            and self.hidden_bias.shape == (self.hidden_weight.shape[0],)
            and self.output_weight.shape == (self.weight.shape[0], self.hidden_weight.shape[0])
        ):
            msg = "tensors: shapes of a head do not fit together"
            raise ArtefactError(msg)

    @classmethod
    def from_tensors(cls, tensors: Tensors, modality: Modality) -> Head:
        """Read one tower from an artefact's tensors.

        Raises:
            ArtefactError: A tensor is missing or has the wrong shape.
        """
        prefix = f"{modality}."
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if own.keys() not in (_LINEAR, _LINEAR | _PERCEPTRON):
            msg = (
                f"tensors: the {modality} head needs linear.weight and linear.bias, and all or none of the hidden layer"
            )
            raise ArtefactError(msg)
        numbers = {name: value.astype(np.float32) for name, value in own.items()}
        if own.keys() == _LINEAR:
            return cls.linear(numbers["linear.weight"], numbers["linear.bias"])
        return cls(
            weight=numbers["linear.weight"],
            bias=numbers["linear.bias"],
            hidden_weight=numbers["hidden.weight"],
            hidden_bias=numbers["hidden.bias"],
            output_weight=numbers["output.weight"],
        )

    @classmethod
    def linear(cls, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Head:
        """Return a head without perceptron.

        Args:
            weight: A, (k, d).
            bias: a, (k,).

        Raises:
            ArtefactError: The shapes do not fit together.
        """
        rows, columns = weight.shape if weight.ndim == 2 else (0, 0)  # noqa: PLR2004 - refused by the constructor
        return cls(
            weight=weight,
            bias=bias,
            hidden_weight=np.zeros((0, columns), np.float32),
            hidden_bias=np.zeros(0, np.float32),
            output_weight=np.zeros((rows, 0), np.float32),
        )

    def to_tensors(self, modality: Modality) -> dict[str, NDArray[np.float16]]:
        """Return the tower's tensors by name, rounded to float16: half the bytes, recall unchanged to three digits."""
        named = {"linear.weight": self.weight, "linear.bias": self.bias}
        if len(self.hidden_weight):
            named |= {
                "hidden.weight": self.hidden_weight,
                "hidden.bias": self.hidden_bias,
                "output.weight": self.output_weight,
            }
        with np.errstate(over="ignore"):  # what is beyond float16 becomes Inf, which sealing refuses
            return {f"{modality}.{name}": value.astype(np.float16) for name, value in named.items()}

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return y of the module's formula, not normalised, for (n, d) float32 rows."""
        y = x @ self.weight.T + self.bias
        if len(self.hidden_weight):
            y += _gelu(x @ self.hidden_weight.T + self.hidden_bias) @ self.output_weight.T
        return y


class HeadsAligner(Aligner):
    """Map each modality through its own head, then to unit length.

    A row that a head maps to zero gets the direction (1, …, 1): it has none of its own, and must not poison an index.
    """

    method: ClassVar[str] = "heads"

    def __init__(self, artefact: Artefact) -> None:
        super().__init__(artefact)
        if {name.partition(".")[0] for name in self._tensors} - {modality.value for modality in Modality}:
            msg = "tensors: heads holds a tensor of neither modality"
            raise ArtefactError(msg)
        self._heads = {modality: Head.from_tensors(self._tensors, modality) for modality in Modality}
        if any(len(head.weight) != self.dimension for head in self._heads.values()):
            msg = f"tensors: both heads must end in dimension {self.dimension}"
            raise ArtefactError(msg)
        self._fallback = np.full(self.dimension, self.dimension**-0.5, dtype=np.float32)

    @classmethod
    def pack(cls, manifest: Manifest, *, image: Head, text: Head) -> Artefact:
        """Seal two trained heads into an artefact.

        Args:
            manifest: What they are; its method must be `heads`.
            image: The image tower.
            text: The text tower.

        Raises:
            ArtefactError: The manifest and the heads do not fit together, or a number is beyond float16.
        """
        artefact = Artefact.create(manifest, image.to_tensors(Modality.IMAGE) | text.to_tensors(Modality.TEXT))
        return cls(artefact).artefact

    def raw_dimension(self, modality: Modality) -> int:
        """Return the length of the raw vectors that the head of `modality` accepts."""
        return int(self._heads[modality].weight.shape[1])

    def align(self, x: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Map (n, d) float32 rows through the head of `modality` and scale them to unit length.

        Raises:
            ShapeError: `x` is not (n, d) with the dimension of that raw space.
        """
        head = self._heads[modality]
        rows = checked_rows(x, head.weight.shape[1])
        aligned = np.empty((len(rows), self.dimension), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            checkpoint()
            block = rows[start : start + _BLOCK_ROWS]
            aligned[start : start + len(block)] = unit_rows(head.apply(block), fallback=self._fallback)
        return aligned


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x Phi(x), the exact GELU (Hendrycks and Gimpel 2016), in float32."""
    value: NDArray[np.float32] = 0.5 * x * (1.0 + erf(x * np.float32(2**-0.5)))
    return value
