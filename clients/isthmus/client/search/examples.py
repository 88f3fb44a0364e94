"""What answers of a search should be like, or unlike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.client.checks import check_one
from isthmus.client.convert import image_bytes, spaced_vector_message
from isthmus.client.inputs import ImageLike, SpacedVector
from isthmus.v1 import gateway_service_pb2

__all__ = ["Example", "examples_message"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One example.

    Raises:
        ValueError: not exactly one of text, image, vector and item_id is given.
    """

    text: str | None = None
    """A text."""
    image: ImageLike | None = None
    """An image."""
    vector: SpacedVector | None = None
    """A vector in the collection's raw space for its modality."""
    item_id: str | None = None
    """An item of the collection; it is left out of the answers."""
    weight: float = 1.0
    """How much it counts, -100 to 100 and not 0; negative where answers should be unlike it."""

    def __post_init__(self) -> None:
        """Check that there is one content."""
        check_one("an Example", text=self.text, image=self.image, vector=self.vector, item_id=self.item_id)


def examples_message(examples: Sequence[Example]) -> gateway_service_pb2.Examples:
    """Pack examples; images are read.

    Raises:
        OSError: an image cannot be read.
        TypeError: an image is nothing known.
        ValueError: an image or a vector has another shape than it should have.
    """
    return gateway_service_pb2.Examples(examples=[_message(example) for example in examples])


def _message(example: Example) -> gateway_service_pb2.Example:
    message = gateway_service_pb2.Example(weight=example.weight)
    if example.text is not None:
        message.text = example.text
    elif example.image is not None:
        message.image = image_bytes(example.image)
    elif example.vector is not None:
        message.vector.CopyFrom(spaced_vector_message(example.vector))
    elif example.item_id is not None:
        message.item_id = example.item_id
    return message
