"""What both encoder services do: a tower behind a micro-batcher. Knows no gRPC and no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.encoders.metrics import EncoderEvents
from isthmus.encoders.spec import EncoderInfo
from isthmus.encoders.tower import Prepared, Tower
from isthmus.runtime.base.batching import BatchLimits, MicroBatcher, Outcome
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, UnavailableError

__all__ = ["EncodeResult", "EncoderEngine"]

ContentT = TypeVar("ContentT", bound=bytes | str)
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeResult:
    """What became of a batch of inputs; each index is in exactly one of `indexes` and `errors`."""

    space: str
    """The raw space of the embeddings."""
    embeddings: NDArray[np.float32]
    """(m, d), canonical: row k belongs to input `indexes[k]`."""
    indexes: list[int]
    """Inputs that were encoded, ascending."""
    errors: dict[int, IsthmusError]
    """Inputs that were not, and why."""
    truncated: list[int]
    """Inputs that were encoded after being cut to the context, ascending."""
    queue_s: float
    """Longest wait of an item."""
    encode_s: float
    """Longest preparation plus forward pass of an item."""


@dataclass(frozen=True, slots=True)
class _Job(Generic[ContentT]):
    """One input on its way in."""

    content: ContentT
    refuse_truncation: bool

    def __len__(self) -> int:
        """Size of the content, by which the inputs of a call may be sorted."""
        return len(self.content)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """One item after the forward pass."""

    row: NDArray[np.float32]
    truncated: bool


class EncoderEngine(Generic[ContentT, ItemT]):
    """Encodes inputs of one modality, batched across callers.

    Args:
        modality: What it encodes.
        load: Loads the tower; runs in a thread, once.
        decode: Turns content into what the tower prepares; raises `IsthmusError` for bad content. Runs in the
            preparing threads.
        limits: Sizes and times of its batches.
        torch_threads_count: Threads of one forward pass, for the whole process; None leaves it to torch.
        sort_by_size: Take the inputs of a call up from short to long, so that texts padded together are of like length.
    """

    def __init__(
        self,
        *,
        modality: Modality,
        load: Callable[[], Tower[ItemT]],
        decode: Callable[[ContentT], ItemT],
        limits: BatchLimits,
        torch_threads_count: int | None = None,
        sort_by_size: bool = False,
    ) -> None:
        self.modality = modality
        self._load = load
        self._decode = decode
        self._limits = limits
        self._torch_threads_count = torch_threads_count
        self._sort_by_size = sort_by_size
        self._events = EncoderEvents(modality)
        self._tower: Tower[ItemT] | None = None
        self._batcher: MicroBatcher[_Job[ContentT], Prepared, _Encoded] | None = None

    async def start(self) -> None:
        """Load the model and answer a dummy batch; it is warm when this returns.

        Raises:
            EncoderLoadError: The model cannot or may not be loaded.
        """
        tower = await asyncio.to_thread(self._load_warm)
        self._tower = tower
        self._batcher = MicroBatcher(
            prepare=lambda job: self._prepare(tower, job),
            forward=lambda batch: _forward(tower, batch),
            limits=self._limits,
            events=self._events,
            size_of=len if self._sort_by_size else None,
        )

    async def close(self) -> None:
        """Finish what is queued, refuse the rest, and end the threads."""
        if self._batcher is not None:
            await self._batcher.close()

    @property
    def info(self) -> EncoderInfo:
        """Identity and shape of the encoder.

        Raises:
            UnavailableError: It is not warm yet.
        """
        if self._tower is None:
            raise _not_ready()
        return self._tower.info

    @property
    def forward_items(self) -> int:
        """Items that went through the forward pass since the engine was made."""
        return self._events.forward_items

    @property
    def forward_calls(self) -> int:
        """Forward passes since the engine was made."""
        return self._events.forward_calls

    async def encode(
        self, contents: Sequence[ContentT], *, refuse_truncation: bool = False, deadline_s: float | None = None
    ) -> EncodeResult:
        """Encode inputs; a bad one never harms its neighbours.

        Args:
            contents: Image files or texts.
            refuse_truncation: Report TEXT_TOO_LONG for a text longer than the context, rather than cutting it.
            deadline_s: On the clock of `time.monotonic`; inputs taken up later are reported DEADLINE_EXCEEDED.

        Raises:
            ResourceExhaustedError: The queue is full.
            UnavailableError: The engine is not warm, or is closing.
        """
        if self._batcher is None:
            raise _not_ready()
        jobs = [_Job(content, refuse_truncation) for content in contents]
        return self._result(await self._batcher.submit_many(jobs, deadline_s=deadline_s))

    def _load_warm(self) -> Tower[ItemT]:
        if self._torch_threads_count is not None:
            torch.set_num_threads(self._torch_threads_count)
        tower = self._load()
        tower.warm()
        return tower

    def _prepare(self, tower: Tower[ItemT], job: _Job[ContentT]) -> Prepared:
        prepared = tower.prepare(self._decode(job.content))
        if prepared.truncated and job.refuse_truncation:
            raise _too_long(tower.info.context_tokens)
        return prepared

    def _result(self, outcomes: Sequence[Outcome[_Encoded]]) -> EncodeResult:
        rows: list[NDArray[np.float32]] = []
        indexes: list[int] = []
        truncated: list[int] = []
        errors: dict[int, IsthmusError] = {}
        for index, outcome in enumerate(outcomes):
            encoded = outcome.result
            if encoded is None:
                assert outcome.error is not None
                errors[index] = outcome.error
            else:
                rows.append(encoded.row)
                indexes.append(index)
                if encoded.truncated:
                    truncated.append(index)
        return EncodeResult(
            space=self.info.space,
            embeddings=np.stack(rows) if rows else np.empty((0, self.info.dimension), np.float32),
            indexes=indexes,
            errors=errors,
            truncated=truncated,
            queue_s=max((outcome.queue_s for outcome in outcomes), default=0.0),
            encode_s=max((outcome.encode_s for outcome in outcomes), default=0.0),
        )


def _too_long(limit: int) -> InvalidArgumentError:
    msg = f"text: does not fit the encoder's context of {limit} tokens, and truncation was refused"
    metadata = {"field": "text", "limit": str(limit), "unit": "tokens"}
    return InvalidArgumentError(msg, reason="TEXT_TOO_LONG", metadata=metadata)


def _forward(tower: Tower[ItemT], batch: Sequence[Prepared]) -> list[_Encoded]:
    rows = tower.forward(batch)
    return [_Encoded(row, item.truncated) for row, item in zip(rows, batch, strict=True)]


def _not_ready() -> UnavailableError:
    msg = "the encoder is not warm yet"
    return UnavailableError(msg, reason="NOT_READY", retry_after_s=1.0)
