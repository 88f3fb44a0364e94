"""Queries of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.client.checks import check_one
from isthmus.client.convert import image_bytes, spaced_vector_message
from isthmus.client.inputs import ImageLike, SpacedVector
from isthmus.v1 import gateway_service_pb2

__all__ = ["Query", "query_message"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """One query.

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
    """An item of the collection; it is left out of its own answers."""

    def __post_init__(self) -> None:
        """Check that there is one content."""
        check_one("a Query", text=self.text, image=self.image, vector=self.vector, item_id=self.item_id)


def query_message(query: Query | str) -> gateway_service_pb2.SearchQuery:
    """Pack a query; an image is read. A plain text is a query by text.

    Raises:
        OSError: an image cannot be read.
        TypeError: an image is nothing known.
        ValueError: an image or a vector has another shape than it should have.
    """
    if isinstance(query, str):
        return gateway_service_pb2.SearchQuery(text=query)
    message = gateway_service_pb2.SearchQuery()
    if query.text is not None:
        message.text = query.text
    elif query.image is not None:
        message.image = image_bytes(query.image)
    elif query.vector is not None:
        message.vector.CopyFrom(spaced_vector_message(query.vector))
    elif query.item_id is not None:
        message.item_id = query.item_id
    return message
