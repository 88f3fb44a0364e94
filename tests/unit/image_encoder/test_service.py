"""The image encoder over the wire."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from PIL import Image

from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.service import build
from isthmus.runtime.rpc.server import RpcServer
from isthmus.v1 import common_pb2, encoder_service_pb2, encoder_service_pb2_grpc, errors_pb2


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[encoder_service_pb2_grpc.EncoderServiceAsyncStub]:
    """A stub of the embedded image encoder, served on a unix socket."""
    server = RpcServer(build(ImageEncoderConfig(cache_dir=tmp_path / "cache")), f"unix:{tmp_path}/image.sock")
    await server.start()
    await server.warm()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield encoder_service_pb2_grpc.EncoderServiceStub(channel)
    await server.drain()


class TestEncode:
    """A row or an error for each input."""

    async def test_each_input_has_a_row_or_an_error(
        self, stub: encoder_service_pb2_grpc.EncoderServiceAsyncStub
    ) -> None:
        """A picture is encoded; rubbish and a text are each refused for its reason."""
        buffer = io.BytesIO()
        Image.linear_gradient("L").save(buffer, "PNG")
        inputs = [
            common_pb2.Input(image=b"rubbish"),
            common_pb2.Input(image=buffer.getvalue()),
            common_pb2.Input(text="a"),
        ]
        answer = await stub.Encode(encoder_service_pb2.EncodeRequest(inputs=inputs))
        assert list(answer.embeddings.input_indexes) == [1]
        assert answer.embeddings.vectors.dimension == 1280
        assert answer.embeddings.space.startswith("efficientnet-lite0@")
        assert [(error.index, errors_pb2.ErrorReason.Name(error.reason)) for error in answer.errors] == [
            (0, "ERROR_REASON_IMAGE_FORMAT_UNSUPPORTED"),
            (2, "ERROR_REASON_MODALITY_UNSUPPORTED"),
        ]
