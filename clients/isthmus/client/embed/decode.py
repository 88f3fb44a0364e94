"""Answers to calls for embedding without storing, from the wire."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.client.chunking import Chunk
from isthmus.client.convert import vector_rows
from isthmus.client.decode import timings_sum
from isthmus.client.embed.results import Embeddings, EmbedResult
from isthmus.client.results import ItemError
from isthmus.client.status import from_item_error
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["embed_result"]


def _embeddings(batches: Sequence[tuple[common_pb2.EmbeddingBatch, NDArray[np.int64]]]) -> Embeddings:
    """Join the rows of several messages.

    Args:
        batches: Each with the positions of its message's inputs among all inputs of the call.

    Raises:
        ValueError: the messages came from different spaces (the mesh changed its encoder in between), or rows and
            indexes differ in number.
    """
    filled = [(batch, positions) for batch, positions in batches if batch.input_indexes]
    spaces = {batch.space for batch, _ in filled}
    if len(spaces) > 1:
        msg = f"the answer holds {len(spaces)} spaces; the mesh changed its encoder during the call: embed again"
        raise ValueError(msg)
    if not filled:
        return Embeddings(space="", vectors=np.empty((0, 0), np.float32), indexes=np.empty(0, np.int64))
    vectors = np.concatenate([vector_rows(batch.vectors) for batch, _ in filled])
    indexes = np.concatenate([positions[np.asarray(batch.input_indexes)] for batch, positions in filled])
    if len(vectors) != len(indexes):
        msg = f"the server answered with {len(vectors)} rows for {len(indexes)} inputs"
        raise ValueError(msg)
    return Embeddings(space=spaces.pop(), vectors=vectors, indexes=indexes)


def embed_result(
    answers: Sequence[tuple[Chunk[common_pb2.Input], gateway_service_pb2.EmbedResponse | None]],
) -> EmbedResult:
    """Join the answers to the messages of one embed, in order; a chunk that was not sent has none."""
    images, texts, timings = [], [], []
    errors: list[ItemError] = []
    truncated: list[int] = []
    for chunk, response in answers:
        errors.extend(chunk.refused)
        if response is None:
            continue
        positions = np.asarray(chunk.indexes, np.int64)
        images.append((response.image_embeddings, positions))
        texts.append((response.text_embeddings, positions))
        errors.extend(from_item_error(error, index=chunk.indexes[error.index]) for error in response.errors)
        truncated.extend(chunk.indexes[index] for index in response.truncated_indexes)
        timings.append(response.timings)
    return EmbedResult(
        images=_embeddings(images),
        texts=_embeddings(texts),
        errors=tuple(sorted(errors, key=lambda error: error.index)),
        truncated=tuple(truncated),
        timings=timings_sum(timings),
    )
