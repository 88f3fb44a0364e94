"""An encoder with a known answer: a vector drawn by the content's own digest, so mixing two up is always seen."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import Any

import grpc
import numpy as np

from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.runtime.base.errors import InternalError, InvalidArgumentError, IsthmusError
from isthmus.runtime.rpc.server import Hosted, Registration
from isthmus.runtime.rpc.status import item_error
from isthmus.v1 import common_pb2, encoder_service_pb2
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceServicer, add_EncoderServiceServicer_to_server

__all__ = ["DummyEncoder", "expected_row"]

_KINDS = {Modality.IMAGE: common_pb2.MODALITY_IMAGE, Modality.TEXT: common_pb2.MODALITY_TEXT}


def expected_row(space: str, content: bytes, dimension: int) -> bytes:
    """Return the row that the dummy of `space` makes of `content`: canonical little-endian float16."""
    seed = int.from_bytes(hashlib.sha256(space.encode() + b"\0" + content).digest()[:8], "little")
    values = np.random.default_rng(seed).standard_normal((1, dimension))
    return canonical(values).astype("<f2").tobytes()


class DummyEncoder(EncoderServiceServicer):
    """`EncoderService` without a model.

    Args:
        modality: What it encodes.
        dimension: Of its embeddings.
        space: Its raw space; may be changed while it serves.
        context_words: Texts of more words are cut and flagged.
    """

    def __init__(self, modality: Modality, *, dimension: int = 16, space: str = "", context_words: int = 8) -> None:
        self.modality = modality
        self.dimension = dimension
        self.space = space or f"dummy-{modality.value}@{'0' * 15}1"
        self.context_words = context_words
        self.delay_s = 0.0
        self.failures: list[IsthmusError] = []
        """Raised by the next calls, one each."""
        self.half = True
        self.broken_rows = False
        self.calls = 0
        self.cancelled = 0
        self.batch_sizes: list[int] = []
        self.seen: Counter[bytes] = Counter()

    @property
    def encoded(self) -> int:
        """Items encoded since it started."""
        return self.seen.total()

    async def GetEncoder(
        self,
        _request: encoder_service_pb2.GetEncoderRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> encoder_service_pb2.GetEncoderResponse:
        """Say which encoder this is."""
        return encoder_service_pb2.GetEncoderResponse(
            space=self.space,
            modality=_KINDS[self.modality],
            dimension=self.dimension,
            context_tokens=self.context_words,
            compute_type="float32",
            device="cpu",
            encoded_items=self.encoded,
            forward_calls=self.calls,
        )

    async def Encode(
        self,
        request: encoder_service_pb2.EncodeRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> encoder_service_pb2.EncodeResponse:
        """Encode a batch; content with `POISON` in it fails."""
        self.calls += 1
        self.batch_sizes.append(len(request.inputs))
        if self.failures:
            raise self.failures.pop(0)
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        rows: list[bytes] = []
        indexes: list[int] = []
        errors: list[common_pb2.ItemError] = []
        cut: list[int] = []
        for index, entry in enumerate(request.inputs):
            if entry.WhichOneof("content") != self.modality.value:
                msg = "an input of the wrong modality"
                raise InternalError(msg)
            content = entry.image if self.modality is Modality.IMAGE else entry.text.encode()
            if b"POISON" in content:
                msg = "the encoder fails on this item"
                errors.append(item_error(index, InvalidArgumentError(msg, reason="ENCODE_FAILED")))
                continue
            self.seen[content] += 1
            rows.append(expected_row(self.space, content, self.dimension))
            indexes.append(index)
            if self.modality is Modality.TEXT and len(content.split()) > self.context_words:
                cut.append(index)
        return encoder_service_pb2.EncodeResponse(
            embeddings=common_pb2.EmbeddingBatch(space=self.space, vectors=self._vectors(rows), input_indexes=indexes),
            errors=errors,
            truncated_indexes=cut,
            timings=common_pb2.Timings(queue_micros=11, encode_micros=222),
        )

    def _vectors(self, rows: list[bytes]) -> common_pb2.Vectors:
        data = b"".join(rows)
        if self.broken_rows:
            data = bytes(len(data))
        if self.half:
            return common_pb2.Vectors(data=data, dimension=self.dimension, type=common_pb2.VECTOR_TYPE_FLOAT16)
        wide = np.frombuffer(data, dtype="<f2").astype("<f4").tobytes()
        return common_pb2.Vectors(data=wide, dimension=self.dimension, type=common_pb2.VECTOR_TYPE_FLOAT32)

    def hosted(self) -> Hosted:
        """Return it as a service that can be hosted."""

        async def _nothing() -> None:
            return

        def register(server: grpc.aio.Server) -> None:
            add_EncoderServiceServicer_to_server(self, server)

        name = f"{self.modality.value}_encoder"
        return Hosted(
            name=name,
            registrations=[Registration("isthmus.v1.EncoderService", register)],
            warm=_nothing,
            close=_nothing,
        )
