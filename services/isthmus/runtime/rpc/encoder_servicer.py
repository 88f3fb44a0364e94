"""The wire side of every encoder: one `EncoderService` over one engine, whatever it encodes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import grpc

from isthmus.core.modality import Modality
from isthmus.encoders.engine import EncoderEngine, EncodeResult
from isthmus.encoders.probe import EncoderProbe
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError
from isthmus.runtime.base.limits import EMBED_MAX_COUNT
from isthmus.runtime.base.names import check_count
from isthmus.runtime.rpc import codec, status
from isthmus.runtime.rpc.server import Hosted, Registration
from isthmus.v1 import common_pb2, encoder_service_pb2, encoder_service_pb2_grpc

__all__ = ["EncoderServicer", "hosted_encoder"]

ContentT = TypeVar("ContentT", bound=bytes | str)

_MODALITIES = {Modality.IMAGE: common_pb2.MODALITY_IMAGE, Modality.TEXT: common_pb2.MODALITY_TEXT}
_TRUNCATIONS = frozenset(common_pb2.Truncation.values())


class EncoderServicer(encoder_service_pb2_grpc.EncoderServiceServicer, Generic[ContentT]):
    """`EncoderService` over an engine.

    Args:
        engine: Encodes one modality.
    """

    def __init__(self, engine: EncoderEngine[ContentT, Any]) -> None:
        self._engine = engine

    async def Encode(
        self, request: encoder_service_pb2.EncodeRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> encoder_service_pb2.EncodeResponse:
        """Encode a batch.

        Raises:
            IsthmusError: The call as a whole is refused; the interceptor turns it into a status.
        """
        started = time.monotonic()
        check_count(request.inputs, field="inputs", limit=EMBED_MAX_COUNT)
        if request.truncation not in _TRUNCATIONS:
            field = "truncation"
            raise codec.unknown_enum(field)
        contents, indexes, errors = self._contents(request.inputs)
        result = await self._engine.encode(
            contents,
            refuse_truncation=request.truncation == common_pb2.TRUNCATION_REFUSE,
            deadline_s=context.current().deadline_s,
        )
        errors |= {indexes[position]: error for position, error in result.errors.items()}
        return _response(result, indexes, errors, total_s=time.monotonic() - started)

    async def GetEncoder(
        self, _request: encoder_service_pb2.GetEncoderRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> encoder_service_pb2.GetEncoderResponse:
        """Say which encoder this is.

        Raises:
            UnavailableError: It is not warm yet.
        """
        info = self._engine.info
        return encoder_service_pb2.GetEncoderResponse(
            space=info.space,
            modality=_MODALITIES[info.modality],
            dimension=info.dimension,
            context_tokens=info.context_tokens,
            compute_type=info.compute_type,
            device=info.device,
            encoded_items=self._engine.forward_items,
            forward_calls=self._engine.forward_calls,
        )

    def _contents(
        self, inputs: Sequence[common_pb2.Input]
    ) -> tuple[list[ContentT], list[int], dict[int, IsthmusError]]:
        """Return the contents of this modality, the input each came from, and errors of the others."""
        wanted = self._engine.modality.value  # the names of the oneof's fields
        contents: list[ContentT] = []
        indexes: list[int] = []
        errors: dict[int, IsthmusError] = {}
        for index, item in enumerate(inputs):
            kind = item.WhichOneof("content")
            if kind == wanted:
                contents.append(getattr(item, wanted))
                indexes.append(index)
            else:
                errors[index] = _no_content() if kind is None else _wrong_modality(kind, wanted)
        return contents, indexes, errors


def hosted_encoder(name: str, engine: EncoderEngine[ContentT, Any], *, dummy: ContentT) -> Hosted:
    """Make a service out of an engine.

    Args:
        name: Short name of the service, for logs.
        engine: Not started yet.
        dummy: Something it can encode, to see whether it still works.
    """
    servicer: EncoderServicer[Any] = EncoderServicer(engine)
    registration = Registration(
        service="isthmus.v1.EncoderService",
        register=lambda server: encoder_service_pb2_grpc.add_EncoderServiceServicer_to_server(servicer, server),
    )
    return Hosted(
        name=name,
        registrations=(registration,),
        warm=engine.start,
        close=engine.close,
        probe=EncoderProbe(engine, dummy),
    )


def _response(
    result: EncodeResult, indexes: Sequence[int], errors: dict[int, IsthmusError], *, total_s: float
) -> encoder_service_pb2.EncodeResponse:
    return encoder_service_pb2.EncodeResponse(
        embeddings=common_pb2.EmbeddingBatch(
            space=result.space,
            vectors=codec.encode_vectors(result.embeddings, half=True),
            input_indexes=[indexes[position] for position in result.indexes],
        ),
        errors=[status.item_error(index, errors[index]) for index in sorted(errors)],
        truncated_indexes=[indexes[position] for position in result.truncated],
        timings=common_pb2.Timings(
            total_micros=_micros(total_s),
            queue_micros=_micros(result.queue_s),
            encode_micros=_micros(result.encode_s),
            cache_misses=len(result.indexes),
        ),
    )


def _micros(seconds: float) -> int:
    return max(0, round(seconds * 1e6))


def _no_content() -> InvalidArgumentError:
    msg = "inputs: an entry holds no content"
    return InvalidArgumentError(msg, reason="EMPTY_INPUT", metadata={"field": "inputs"})


def _wrong_modality(kind: str, wanted: str) -> InvalidArgumentError:
    msg = f"inputs: an entry holds content of modality {kind}; this encoder takes {wanted}"
    return InvalidArgumentError(msg, reason="MODALITY_UNSUPPORTED", metadata={"field": "inputs", "modality": kind})
