"""What calls for embedding without storing send, and how their answers are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from google.protobuf.message import Message

from isthmus.client.chunking import Chunk, chunks
from isthmus.client.convert import image_bytes
from isthmus.client.embed import decode
from isthmus.client.embed.results import EmbedResult
from isthmus.client.inputs import ImageLike, Input, Truncation
from isthmus.client.plan import Plan, Planner, truncation_number
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["embed"]


def _input_message(given: Input) -> common_pb2.Input:
    if given.image is not None:
        return common_pb2.Input(image=image_bytes(given.image))
    return common_pb2.Input(text=given.text or "")


def embed(
    planner: Planner,
    *,
    images: Iterable[ImageLike],
    texts: Iterable[str],
    inputs: Iterable[Input],
    truncation: Truncation,
    aligner: str,
) -> Plan[EmbedResult]:
    """Plan an embed; raise ValueError when `truncation` is unknown or a str stands where a list of them belongs."""
    if isinstance(texts, str) or isinstance(images, (str, bytes)):
        msg = "images and texts take lists: embed(texts=[text])"
        raise ValueError(msg)  # noqa: TRY004 - every wrong argument of the client is a ValueError
    number = truncation_number(truncation)
    entries = itertools.chain(
        (common_pb2.Input(image=image_bytes(image)) for image in images),
        (common_pb2.Input(text=text) for text in texts),
        map(_input_message, inputs),
    )
    sent: list[Chunk[common_pb2.Input]] = []

    def requests() -> Iterator[Message]:
        for chunk in chunks(entries, limits=planner.config.limits):
            # Only positions and refusals are kept: the bytes of a sent message are free to go.
            sent.append(replace(chunk, entries=()))
            if chunk.entries:
                yield gateway_service_pb2.EmbedRequest(inputs=chunk.entries, truncation=number, aligner=aligner)

    return Plan(
        method="Embed",
        requests=requests(),
        decode=lambda answers: decode.embed_result(list(itertools.zip_longest(sent, answers))),
        timeout_s=planner.config.timeouts.embed_s,
        # Texts alone take no time to pack: a thread and back for each call would cost more than the call.
        reads_files=not (_is_empty(images) and _is_empty(inputs)),
    )


def _is_empty(given: Iterable[object]) -> bool:
    """Return whether there is certainly nothing in `given`; an iterator may hold something."""
    return isinstance(given, Sequence) and not given
