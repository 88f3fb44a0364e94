"""Answers to calls for collections, from the wire."""

from __future__ import annotations

from isthmus.client.collections.results import Collection
from isthmus.client.inputs import GuardLimits
from isthmus.v1 import common_pb2

__all__ = ["collection"]


def collection(message: common_pb2.Collection) -> Collection:
    """Return a collection."""
    return Collection(
        name=message.name,
        image_space=message.image_space,
        text_space=message.text_space,
        image_dimension=message.image_dimension,
        text_dimension=message.text_dimension,
        aligner=message.aligner,
        store_thumbnails=message.store_thumbnails,
        revision=message.revision,
        image_count=message.image_count,
        text_count=message.text_count,
        guard=GuardLimits(**{field.name: value for field, value in message.guard.ListFields()}),
        shadow_aligner=message.shadow_aligner,
    )
