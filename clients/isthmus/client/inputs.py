"""What calls accept: images in any of the usual forms, texts, vectors with their space, items."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Literal, Protocol, TypeAlias

from numpy.typing import ArrayLike, NDArray

from isthmus.client.checks import check_one

__all__ = [
    "AnyModality",
    "AttributeValue",
    "FitOptions",
    "Gain",
    "GainOptions",
    "GroupBy",
    "GuardLimits",
    "ImageLike",
    "Input",
    "Item",
    "Modality",
    "PillowImage",
    "SliceOptions",
    "SpacedVector",
    "Truncation",
]

Modality = Literal["image", "text"]
"""What an item is made of."""
AnyModality = Literal["image", "text", "any"]
"""What a search may answer with."""
GroupBy = Literal["pair_key"]
"""What makes several items one answer."""
Truncation = Literal["flag", "refuse"]
"""What to do with a text longer than the model's context: cut it and say so, or refuse it."""
AttributeValue: TypeAlias = str | int | float | bool
"""A value of an attribute."""


class PillowImage(Protocol):
    """What is used of a `PIL.Image.Image`; Pillow itself is not imported."""

    @property
    def mode(self) -> str:
        """Its pixel format."""

    @property
    def info(self) -> dict[str | tuple[int, int], Any]:
        """What its file said beside the pixels."""

    def convert(self, mode: str) -> PillowImage:
        """Return a copy in another pixel format."""

    def save(self, fp: IO[bytes], format: str | None = None, **params: Any) -> None:  # noqa: A002 - Pillow's name
        """Write it as a file."""


ImageLike: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | NDArray[Any] | PillowImage
"""An image: the bytes of a JPEG, PNG or WEBP file, a path (also as `str`), a uint8 array of shape (h, w), (h, w, 3) or
(h, w, 4), or a Pillow image. Arrays and Pillow images are sent as PNG, without loss."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """One thing to embed: an image or a text.

    Raises:
        ValueError: not exactly one of the two is given.
    """

    image: ImageLike | None = None
    """An image."""
    text: str | None = None
    """A text."""

    def __post_init__(self) -> None:
        """Check that it is one thing."""
        check_one("Input", image=self.image, text=self.text)


@dataclass(frozen=True, slots=True, eq=False)
class SpacedVector:
    """A vector from an encoder of your own, with the raw space it was made in."""

    values: ArrayLike
    """(d,) or (1, d) numbers, finite and not all zero; the mesh scales them to unit norm."""
    modality: Modality = field(kw_only=True)
    """What it was made from."""
    space: str = field(kw_only=True)
    """Its raw space, `encoder_id@revision`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """One item to store.

    Raises:
        ValueError: not exactly one of image, text and vector is given.
    """

    id: str
    """Its id, 1 to 256 bytes of UTF-8 without control characters; the same id again replaces the item."""
    image: ImageLike | None = None
    """An image."""
    text: str | None = None
    """A text."""
    vector: SpacedVector | None = None
    """A vector, from a team that runs its own encoder."""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    """At most 64, together at most 16 KiB."""
    pair_key: str = ""
    """Items of different modality with the same key are a pair; at most 256 bytes."""
    thumbnail: bytes = b""
    """A small JPEG, PNG or WEBP of at most 64 KiB, where the collection stores them."""
    content_words: int = 0
    """Words of the text that a vector was made from; 0 leaves it unknown. Those of a text are counted by the mesh."""

    def __post_init__(self) -> None:
        """Check that it has one content."""
        check_one("Item", image=self.image, text=self.text, vector=self.vector)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """What an aligner may cost a collection, by the 95 % bound on held-out pairs."""

    epsilon: float = 0.02
    """How far a recall or nDCG@10 may fall."""
    structure_least: float = 0.5
    """Share of an item's ten nearest of its own modality that must stay among them."""
    hubness_growth: float = 0.02
    """How far the Gini coefficient of hubness may grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How a method is to fit. An option that the method does not have is refused."""

    strength: float | None = None
    """Share of the correction, in [0, 1]; None means 1. For shift, center, standardize, procrustes and transport."""
    dimension: int = 0
    """Components of an aligned vector; 0 lets the method choose. For cca and spectral."""
    by_sigma: bool = False
    """Let coordinates count by their singular value. For spectral."""
    lift: float | None = None
    """What is added to every similarity, at least 0; None adds only where it is needed. For spectral."""
    hubness: bool = False
    """Correct hubness on top, by one more component. For all methods."""
    on_top_of: str = ""
    """Aligner whose maps are kept; empty means the collection's active one. For recalibrate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceOptions:
    """Parts of the held-out queries that are also judged by themselves."""

    attribute: str = ""
    """An attribute whose values become slices, at most 32 of them; an item without a value takes the one that the items
    of its pair key agree on."""
    caption_length: bool = False
    """Slice by words of the caption: 1-5, 6-8, 9-12, 13-20, 21-40, 41 and more."""
    query_ids: Sequence[str] = ()
    """At most 10,000 ids of items that are one slice."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What one item is worth to one query.

    Attributes:
        query_id: Id of the item that is the query.
        item_id: Id of the item that is the answer.
        gain: A finite number; below zero it is a cost.
    """

    query_id: str
    item_id: str
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GainOptions:
    """What answers are worth, and how many are shown."""

    rows: Sequence[Gain]
    """1 to 20,000 rows; those of the same two ids add up."""
    top_k: int = 10
    """Answers that are shown to a query, 1 to 1,000."""
    modality: AnyModality = "any"
    """Modality of the answers."""
