"""What every aligner offers, and the arithmetic they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.artefact import Artefact
from isthmus.core.aligners.hubness import ItemOffsets, split_tensors
from isthmus.core.aligners.reference import FitReference, without_reference
from isthmus.core.calibration import Calibration
from isthmus.core.errors import ArtefactError, ShapeError, SpacesMismatchError
from isthmus.core.modality import Modality

__all__ = ["Aligner", "checked_rows", "require_one_space", "unit_rows"]

_NORM_MIN: Final = 1e-12


class Aligner(ABC):
    """A fitted map from raw spaces to one aligned space; pure, immutable, safe to use from any thread.

    A row's answer does not depend on its batch mates: exactly for methods without a matrix product (`identity`,
    `shift`, `center`, `standardize`); for the others, whose products may be summed in another order for another batch
    size, within 1e-6 in every component.

    With a hubness correction what an index holds for an item is not what it is asked with for a query, and scores are
    inner products of `query_rows` with `item_rows`; without one, both are `align`.
    """

    method: ClassVar[str]
    """Its name in a manifest."""

    def __init__(self, artefact: Artefact) -> None:
        if artefact.manifest.method != self.method:
            msg = f"manifest: method is not {self.method}"
            raise ArtefactError(msg)
        self._artefact = artefact
        self._tensors, hubness = split_tensors(without_reference(artefact.tensors))
        self._offsets = ItemOffsets.from_tensors(hubness, dimension=self.dimension) if hubness else None
        self._reference = FitReference.from_tensors(artefact.tensors)

    @classmethod
    def from_artefact(cls, artefact: Artefact) -> Self:
        """Return the aligner that `artefact` holds.

        Raises:
            ArtefactError: Its tensors are not what the method needs.
        """
        return cls(artefact)

    @property
    def artefact(self) -> Artefact:
        """What it was made from."""
        return self._artefact

    @property
    def space(self) -> str:
        """The aligned space, `aligner_id@revision`."""
        return self._artefact.space

    @property
    def image_space(self) -> str:
        """Raw space of the images it accepts."""
        return self._artefact.manifest.image_space

    @property
    def text_space(self) -> str:
        """Raw space of the texts it accepts."""
        return self._artefact.manifest.text_space

    @property
    def dimension(self) -> int:
        """Length of an aligned vector."""
        return self._artefact.manifest.dimension

    @property
    def calibration(self) -> Calibration | None:
        """Fitted score calibration, if it has one."""
        return self._artefact.manifest.calibration

    @property
    def reference(self) -> FitReference | None:
        """What it remembers of its fit, to judge drift by; None where it was made without."""
        return self._reference

    def raw_space(self, modality: Modality) -> str:
        """Return the raw space it accepts for `modality`."""
        return self.image_space if modality is Modality.IMAGE else self.text_space

    @abstractmethod
    def raw_dimension(self, modality: Modality) -> int:
        """Return the length of the raw vectors it accepts for `modality`."""

    @abstractmethod
    def align(self, x: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Map raw vectors to the aligned space.

        Args:
            x: (n, d) float32, rows canonical raw embeddings of `raw_space(modality)`; n may be 0.
            modality: Modality of the rows.

        Returns:
            (n, k) float32, rows unit-norm.

        Raises:
            ShapeError: `x` is not (n, d) with the dimension of that raw space.
        """

    @property
    def corrects_hubness(self) -> bool:
        """Whether items carry an offset, so that item rows and query rows differ."""
        return self._offsets is not None

    @property
    def index_dimension(self) -> int:
        """Length of an item row and of a query row."""
        return self.dimension + (self._offsets.extra_dimension if self._offsets is not None else 0)

    def item_rows(self, x: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Return what an inner-product index holds for items: (n, index_dimension) float32 for (n, d) raw rows.

        Raises:
            ShapeError: `x` is not (n, d) with the dimension of that raw space.
        """
        aligned = self.align(x, modality)
        return aligned if self._offsets is None else self._offsets.item_rows(aligned, modality)

    def query_rows(self, x: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Return what an inner-product index is asked with: (n, index_dimension) float32 for (n, d) raw rows.

        Raises:
            ShapeError: `x` is not (n, d) with the dimension of that raw space.
        """
        return self.asked_rows(self.align(x, modality), modality)

    def asked_rows(self, aligned: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Return what an inner-product index is asked with: (n, index_dimension) float32 for (n, k) aligned rows."""
        return aligned if self._offsets is None else self._offsets.query_rows(aligned, modality)


def checked_rows(x: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Return `x` as C-contiguous (n, dimension) float32.

    Raises:
        ShapeError: It has another shape.
    """
    if x.ndim != 2 or x.shape[1] != dimension:  # noqa: PLR2004
        got = x.shape[1] if x.ndim == 2 else f"{x.ndim} dimensions"  # noqa: PLR2004
        msg = f"vectors: dimension must be {dimension}, got {got}"
        raise ShapeError(msg)
    return np.ascontiguousarray(x, dtype=np.float32)


def unit_rows(y: NDArray[np.float32], *, fallback: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to unit length, row by row in float64.

    Args:
        y: (n, k) float32.
        fallback: (n, k) or (k,) float32 unit rows that stand in for rows of `y` without a direction.

    Returns:
        (n, k) float32.
    """
    wide = y.astype(np.float64)
    norm = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    lost = norm <= _NORM_MIN
    unit: NDArray[np.float32] = np.where(lost, fallback, wide / np.where(lost, 1.0, norm)).astype(np.float32)
    return unit


def require_one_space(image_space: str, text_space: str, *, method: str) -> None:
    """Refuse a method that compares raw vectors of both modalities when their spaces differ.

    Raises:
        SpacesMismatchError: The raw spaces are different.
    """
    if image_space != text_space:
        msg = f"{method}: needs images and texts of one raw space; got two, which ridge, cca or learned heads join"
        raise SpacesMismatchError(msg)
