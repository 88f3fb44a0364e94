"""The state of one upsert: what is on its way, what is acknowledged, and what is sent again after a failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from isthmus.client.channel import new_request_id
from isthmus.client.chunking import Chunk
from isthmus.client.errors import InternalError, IsthmusError, UnavailableError
from isthmus.client.inputs import Truncation
from isthmus.client.items import decode
from isthmus.client.items.results import UpsertAck
from isthmus.client.plan import Planner, truncation_number
from isthmus.v1 import gateway_service_pb2

__all__ = ["REQUEST_ID_BASE_MAX_COUNT", "StreamBrokenError", "UpsertSession", "ended_early"]

REQUEST_ID_BASE_MAX_COUNT: Final = 48
"""Characters of an upsert's request id: the number of each message is added to it, and 64 is the limit of both."""
_GONE: Final = frozenset({"UNAVAILABLE", "CANCELLED"})
"""How a stream ends when the mesh goes away: at once, or at the end of its drain."""

_Request = gateway_service_pb2.UpsertItemsRequest
_ItemChunk = Chunk[gateway_service_pb2.UpsertItem]


class StreamBrokenError(Exception):
    """A stream ended before everything on it was acknowledged; raised by the streams, never shown to a caller."""

    def __init__(self, error: IsthmusError) -> None:
        super().__init__(error.message)
        self.error = error


def ended_early() -> StreamBrokenError:
    """Return the error for a mesh that closed a stream in good order and left messages unanswered."""
    return StreamBrokenError(UnavailableError("the mesh ended the upsert early", code="UNAVAILABLE"))


class UpsertSession:
    """One upsert over as many streams as it takes.

    Messages are numbered, and each carries a request id made of the upsert's and its number. The mesh applies an id
    once, so whatever was not acknowledged when a stream broke is sent again, whether or not it had been applied.

    Args:
        planner: Of the client.
        collection: Where the items go.
        truncation: What to do with long texts.
        request_id: Names the upsert; made fresh when None.

    Raises:
        ValueError: the request id is too long, or `truncation` unknown.
    """

    def __init__(self, planner: Planner, collection: str, *, truncation: Truncation, request_id: str | None) -> None:
        if request_id is not None and not 1 <= len(request_id) <= REQUEST_ID_BASE_MAX_COUNT:
            msg = f"request_id must have 1 to {REQUEST_ID_BASE_MAX_COUNT} characters; it has {len(request_id)}"
            raise ValueError(msg)
        self._planner = planner
        self._collection = collection
        self._truncation = truncation_number(truncation)
        self._base = request_id or new_request_id()
        self._number = 0
        self._failures = 0
        # Oldest first; the first `_sent` of them are on the current stream.
        self._pending: deque[tuple[_ItemChunk, _Request]] = deque()
        self._sent = 0
        self._complete = False
        self._unsent: _ItemChunk | None = None

    @property
    def may_send(self) -> bool:
        """True when there may be something to send, and it may go before another acknowledgement comes."""
        # After a failure the first message goes alone: its answer says whether the mesh is back, and nothing that is
        # sent at the same moment can drown it.
        window = 1 if self._failures else self._planner.config.limits.window_max_count
        return self._sent < window and (self._sent < len(self._pending) or not self._complete)

    @property
    def all_sent(self) -> bool:
        """True when nothing is left to send on this stream."""
        return self._complete and self._sent == len(self._pending)

    @property
    def awaits(self) -> bool:
        """True when an acknowledgement is due on this stream."""
        return self._sent > 0

    @property
    def done(self) -> bool:
        """True when everything was sent and acknowledged."""
        return self._complete and not self._pending

    def begin(self) -> None:
        """Start with a new stream: nothing is on it yet."""
        self._sent = 0

    def again(self) -> _Request | None:
        """Return the oldest message that was sent on an earlier stream only; None when there is none."""
        if self._sent == len(self._pending):
            return None
        self._sent += 1
        return self._pending[self._sent - 1][1]

    def offer(self, chunk: _ItemChunk | None) -> _Request | None:
        """Take the next chunk, None for "that was all"; return the message to send for it, if there is one.

        From now on the message waits for its acknowledgement.
        """
        if chunk is None:
            self._complete = True
            return None
        if not chunk.entries:
            self._unsent = chunk
            return None
        request = _Request(
            collection=self._collection,
            items=chunk.entries,
            request_id=f"{self._base}-{self._number}",
            truncation=self._truncation,
        )
        self._number += 1
        self._pending.append((chunk, request))
        self._sent += 1
        return request

    def acknowledge(self, response: gateway_service_pb2.UpsertItemsResponse) -> UpsertAck:
        """Return the acknowledgement of the oldest message on its way.

        Raises:
            InternalError: it is for another message; the protocol promises them in order.
        """
        chunk, request = self._pending[0]
        if response.request_id != request.request_id:
            msg = "the mesh acknowledged another message than the oldest one on its way"
            raise InternalError(msg, code="INTERNAL", request_id=request.request_id)
        self._pending.popleft()
        self._sent -= 1
        self._failures = 0
        self._planner.revisions.wrote(self._collection, response.revision)
        return decode.upsert_ack(chunk, response)

    def leftover(self) -> Iterator[UpsertAck]:
        """Yield the acknowledgement of the refusals that came after the last message, if there are any."""
        if self._unsent is not None:
            yield decode.upsert_ack(self._unsent, gateway_service_pb2.UpsertItemsResponse())

    def pause_s(self, broken: StreamBrokenError) -> float:
        """Return how long to wait before a new stream after the last one broke.

        Raises:
            IsthmusError: the reason it broke, when trying again cannot help or was tried often enough.
        """
        error = broken.error
        self._failures += 1
        resume = self._planner.config.resume
        if not _may_pass(error) or self._failures >= resume.max_attempts:
            raise error from broken.__cause__
        return max(resume.backoff_s(self._failures), error.retry_after_s or 0.0)


def _may_pass(error: IsthmusError) -> bool:
    """Tell whether a new stream may fare better than the one that `error` broke."""
    shed = error.code == "RESOURCE_EXHAUSTED" and error.retry_after_s is not None
    # The mesh gives a reason with its own INTERNAL. Without one it comes from gRPC: a message that was on its way when
    # the stream ended takes the place of the status that ended it.
    lost = error.code in {"INTERNAL", "UNKNOWN"} and not error.reason
    return error.code in _GONE or shed or lost
