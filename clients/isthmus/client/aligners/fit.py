"""Read the stream of a fit: progress, and at its end the aligner."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.client.aligners import decode
from isthmus.client.aligners.results import Aligner, FitProgress
from isthmus.client.errors import InternalError
from isthmus.v1 import gateway_service_pb2

__all__ = ["FitReader"]


class FitReader:
    """Takes the messages of one fit.

    Args:
        progress: Called with each step.
    """

    def __init__(self, progress: Callable[[FitProgress], None] | None) -> None:
        self._progress = progress
        self._aligner: Aligner | None = None

    def read(self, message: gateway_service_pb2.FitAlignerResponse) -> None:
        """Take one message."""
        if message.HasField("aligner"):
            self._aligner = decode.aligner(message.aligner)
        if self._progress is not None:
            self._progress(FitProgress(progress=message.progress, stage=message.stage))

    def result(self) -> Aligner:
        """Return the aligner.

        Raises:
            InternalError: the stream ended without one.
        """
        if self._aligner is None:
            msg = "the fit ended without an aligner"
            raise InternalError(msg, code="INTERNAL")
        return self._aligner
