"""Answers to calls for aligners, from the wire."""

from __future__ import annotations

from isthmus.client.aligners.results import Aligner
from isthmus.v1 import common_pb2

__all__ = ["aligner"]


def aligner(message: common_pb2.Aligner) -> Aligner:
    """Return an aligner."""
    return Aligner(
        aligner=message.aligner,
        method=message.method,
        image_space=message.image_space,
        text_space=message.text_space,
        dimension=message.dimension,
        manifest_json=message.manifest_json,
        notice=message.notice,
    )
