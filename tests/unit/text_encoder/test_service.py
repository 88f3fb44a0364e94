"""The text encoder over the wire: one `EncoderService`, errors by item, one process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2

from isthmus.runtime.rpc import codec
from isthmus.runtime.rpc.server import RpcServer
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.service import build
from isthmus.v1 import common_pb2, encoder_service_pb2, encoder_service_pb2_grpc, errors_pb2

Request = encoder_service_pb2.EncodeRequest


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[encoder_service_pb2_grpc.EncoderServiceAsyncStub]:
    """A stub of the embedded text encoder, served on a unix socket."""
    server = RpcServer(build(TextEncoderConfig()), f"unix:{tmp_path}/text.sock")
    await server.start()
    await server.warm()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield encoder_service_pb2_grpc.EncoderServiceStub(channel)
    await server.drain()


def _text(text: str) -> common_pb2.Input:
    return common_pb2.Input(text=text)


class TestEncode:
    """A row or an error for each input."""

    async def test_each_input_has_a_row_or_an_error(
        self, stub: encoder_service_pb2_grpc.EncoderServiceAsyncStub
    ) -> None:
        """Texts are encoded; an empty one, an image and nothing at all are each refused for its reason."""
        inputs = [_text("a dog"), _text(""), common_pb2.Input(image=b"..."), common_pb2.Input(), _text("a harbour")]
        answer = await stub.Encode(Request(inputs=inputs))
        assert list(answer.embeddings.input_indexes) == [0, 4]
        assert [(error.index, errors_pb2.ErrorReason.Name(error.reason)) for error in answer.errors] == [
            (1, "ERROR_REASON_EMPTY_TEXT"),
            (2, "ERROR_REASON_MODALITY_UNSUPPORTED"),
            (3, "ERROR_REASON_EMPTY_INPUT"),
        ]
        assert {error.code for error in answer.errors} == {code_pb2.INVALID_ARGUMENT}
        assert answer.timings.total_micros >= answer.timings.encode_micros > 0
        assert answer.timings.cache_misses == 2

    async def test_rows_travel_as_exact_float16(self, stub: encoder_service_pb2_grpc.EncoderServiceAsyncStub) -> None:
        """Half the bytes, and not a bit lost: canonical embeddings are float16 values."""
        answer = await stub.Encode(Request(inputs=[_text("a dog")]))
        vectors = answer.embeddings.vectors
        assert (vectors.type, vectors.dimension) == (common_pb2.VECTOR_TYPE_FLOAT16, 384)
        rows = codec.decode_vectors(vectors, field="vectors", max_rows=1)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)

    async def test_nothing_but_errors_is_an_answer(
        self, stub: encoder_service_pb2_grpc.EncoderServiceAsyncStub
    ) -> None:
        """A batch in which every input fails succeeds as a call, and holds no rows."""
        answer = await stub.Encode(Request(inputs=[_text(" ")]))
        assert not answer.embeddings.input_indexes
        assert len(answer.errors) == 1

    @pytest.mark.parametrize(
        ("truncation", "flagged", "refused"),
        [
            (common_pb2.TRUNCATION_UNSPECIFIED, [1], []),
            (common_pb2.TRUNCATION_FLAG, [1], []),
            (common_pb2.TRUNCATION_REFUSE, [], [1]),
        ],
    )
    async def test_a_long_text_is_flagged_or_refused(
        self,
        stub: encoder_service_pb2_grpc.EncoderServiceAsyncStub,
        truncation: common_pb2.Truncation.ValueType,
        flagged: list[int],
        refused: list[int],
    ) -> None:
        """Never cut silently."""
        answer = await stub.Encode(Request(inputs=[_text("a"), _text("dog " * 400)], truncation=truncation))
        assert list(answer.truncated_indexes) == flagged
        assert [error.index for error in answer.errors] == refused

    @pytest.mark.parametrize(
        ("request_message", "code"),
        [
            (Request(), grpc.StatusCode.INVALID_ARGUMENT),
            (Request(inputs=[_text("a")] * 257), grpc.StatusCode.RESOURCE_EXHAUSTED),
            (Request(inputs=[_text("a")], truncation=99), grpc.StatusCode.INVALID_ARGUMENT),  # type: ignore[arg-type]
        ],
        ids=["no inputs", "257 inputs", "an unknown truncation"],
    )
    async def test_a_call_that_is_wrong_as_a_whole_is_refused(
        self,
        stub: encoder_service_pb2_grpc.EncoderServiceAsyncStub,
        request_message: encoder_service_pb2.EncodeRequest,
        code: grpc.StatusCode,
    ) -> None:
        """With its canonical code."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Encode(request_message)
        assert caught.value.code() is code

    async def test_256_inputs_are_allowed(self, stub: encoder_service_pb2_grpc.EncoderServiceAsyncStub) -> None:
        """The limit itself."""
        answer = await stub.Encode(Request(inputs=[_text(f"dog {number}") for number in range(256)]))
        assert list(answer.embeddings.input_indexes) == list(range(256))


class TestGetEncoder:
    """Who it is, and how often it worked."""

    async def test_it_says_who_it_is_and_counts(self, stub: encoder_service_pb2_grpc.EncoderServiceAsyncStub) -> None:
        """Space, modality, shape and device; its counters move with every encoded input, not with the warming."""
        before = await stub.GetEncoder(encoder_service_pb2.GetEncoderRequest())
        assert before.space.startswith("all-minilm-l6-v2@")
        assert (before.modality, before.dimension, before.context_tokens) == (common_pb2.MODALITY_TEXT, 384, 256)
        assert (before.encoded_items, before.forward_calls) == (0, 0)
        await stub.Encode(Request(inputs=[_text("a dog"), _text("a cat"), _text("")]))
        after = await stub.GetEncoder(encoder_service_pb2.GetEncoderRequest())
        assert (after.encoded_items, after.forward_calls) == (2, 1)


class TestProcess:
    """`python -m isthmus.text_encoder`."""

    def test_it_says_when_it_is_ready_and_ends_cleanly(self, tmp_path: Path) -> None:
        """One line on stdout when warm; SIGTERM drains and exits 0."""
        environment = {
            **os.environ,
            "PYTHONPATH": ":".join(sys.path),
            "ISTHMUS_TEXT_ENCODER_LISTEN": f"unix:{tmp_path}/text.sock",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "isthmus.text_encoder"], env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"isthmus text_encoder ready unix:{tmp_path}/text.sock\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0

    def test_a_misspelt_setting_stops_it(self) -> None:
        """An unknown variable of this service is an error at start, not a limit that is silently not set."""
        environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "ISTHMUS_TEXT_ENCODER_MAX_BATCH": "4"}
        run = subprocess.run(
            [sys.executable, "-m", "isthmus.text_encoder"], env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode != 0
        assert "ISTHMUS_TEXT_ENCODER_MAX_BATCH" in run.stderr

    def test_a_model_that_is_not_there_is_said_in_one_line(self) -> None:
        """The command that fetches it is named, without a traceback."""
        environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "ISTHMUS_TEXT_ENCODER_ENCODER": "nobody/nothing"}
        run = subprocess.run(
            [sys.executable, "-m", "isthmus.text_encoder"], env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 1
        assert "isthmus models pull nobody/nothing" in run.stderr
        assert "Traceback" not in run.stderr
