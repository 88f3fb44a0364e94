"""What the pure numerics refuse; the services turn these into domain errors.

    CoreError (ValueError)
    ├── InvalidVectorError    a row that is not finite, or has no direction
    ├── ShapeError            an array of the wrong rank, length or dimension
    ├── SpacesMismatchError   spaces that this method cannot join
    ├── NotEnoughItemsError   too few items or pairs to fit or to measure
    ├── OptionError           an option that is out of its bounds, or that the method does not have
    ├── DegreesError          items that resemble nothing of the other modality, so that a graph has no edges for them
    ├── LeakError             one photo on both sides of a split
    └── ArtefactError         an artefact that is damaged, unknown or over a limit

Messages name the field, the limit and the size, never a value or a path.
"""

from __future__ import annotations

__all__ = [
    "ArtefactError",
    "CoreError",
    "DegreesError",
    "InvalidVectorError",
    "LeakError",
    "NotEnoughItemsError",
    "OptionError",
    "ShapeError",
    "SpacesMismatchError",
]


class CoreError(ValueError):
    """Something that the numerics refuse."""


class InvalidVectorError(CoreError):
    """A row that cannot be given a direction.

    Args:
        row: Index of the first such row.
        problem: What is wrong with it, in words.
        field: Which array it is in.
    """

    def __init__(self, row: int, problem: str, *, field: str = "vectors") -> None:
        super().__init__(f"{field}: row {row} {problem}")
        self.row = row


class ShapeError(CoreError):
    """An array of the wrong rank, length or dimension."""


class SpacesMismatchError(CoreError):
    """Spaces that this method cannot join."""


class NotEnoughItemsError(CoreError):
    """Too few items or pairs to fit or to measure."""


class LeakError(CoreError):
    """One photo on both sides of a split."""


class OptionError(CoreError):
    """An option that is out of its bounds, or that the method does not have."""


class DegreesError(CoreError):
    """Items whose similarities to the other modality sum to nothing: a spectral method cannot weigh them."""


class ArtefactError(CoreError):
    """An artefact that is damaged, of an unknown method, or over a limit."""
