"""Whether an encoder still works."""

from __future__ import annotations

from typing import Generic, TypeVar

from isthmus.encoders.engine import EncoderEngine
from isthmus.runtime.base.errors import ResourceExhaustedError

__all__ = ["EncoderProbe"]

ContentT = TypeVar("ContentT", bound=bytes | str)
ItemT = TypeVar("ItemT")


class EncoderProbe(Generic[ContentT, ItemT]):
    """Sends a dummy through an engine, by the same queue as everybody.

    Args:
        engine: The engine.
        dummy: Something it can encode.
    """

    def __init__(self, engine: EncoderEngine[ContentT, ItemT], dummy: ContentT) -> None:
        self._engine = engine
        self._dummy = dummy
        self._seen_calls = -1

    async def __call__(self) -> None:
        """Encode the dummy.

        A full queue is no proof that the engine is broken: it is only when no forward pass was made since the last
        look.

        Raises:
            IsthmusError: It cannot be encoded, or the queue is full and does not move.
        """
        seen_calls, self._seen_calls = self._seen_calls, self._engine.forward_calls
        try:
            result = await self._engine.encode([self._dummy])
        except ResourceExhaustedError:
            if self._engine.forward_calls == seen_calls:
                raise
            return
        for error in result.errors.values():
            raise error
