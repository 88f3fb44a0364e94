"""Calls for storing, reading and deleting items, for threads and scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from isthmus.client.calls import Calls
from isthmus.client.chunking import Chunk, chunks
from isthmus.client.convert import item_message
from isthmus.client.inputs import Item, Truncation
from isthmus.client.items import decode, plan
from isthmus.client.items.results import DeleteResult, EraseResult, GetResult, UpsertAck, UpsertSummary
from isthmus.client.items.streams import UpsertStream
from isthmus.client.items.upsert import StreamBrokenError, UpsertSession
from isthmus.v1 import gateway_service_pb2

__all__ = ["ItemCalls"]


class ItemCalls(Calls):
    """Calls of `Client` for storing, reading and deleting items."""

    def upsert(
        self,
        collection: str,
        items: Iterable[Item],
        *,
        truncation: Truncation = "flag",
        request_id: str | None = None,
        progress: Callable[[UpsertAck], None] | None = None,
        timeout_s: float | None = None,
    ) -> UpsertSummary:
        """Store items, as many as `items` yields; return when all are durable.

        Args:
            collection: Where they go.
            items: The items; read as they are sent, never all at once.
            truncation: Cut a text longer than the model's context and say so, or refuse it.
            request_id: 1 to 48 characters that name this upsert; the same items under the same id are applied once.
            progress: Called with each acknowledgement.
            timeout_s: Deadline of each stream it takes.

        Raises:
            IsthmusError: as `upsert_acks`.
        """
        acks = []
        for ack in self.upsert_acks(
            collection, items, truncation=truncation, request_id=request_id, timeout_s=timeout_s
        ):
            acks.append(ack)
            if progress is not None:
                progress(ack)
        return decode.upsert_summary(acks)

    def upsert_acks(
        self,
        collection: str,
        items: Iterable[Item],
        *,
        truncation: Truncation = "flag",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[UpsertAck]:
        """Store items; yield an acknowledgement for each message once it is durable.

        When the mesh goes away in between, the messages without an acknowledgement are sent again under the same
        request ids, which the mesh applies once. Arguments are those of `upsert`.

        Raises:
            IsthmusError: the mesh refused a message as a whole, or stayed away (`ClientConfig.resume`).
            OSError: a path cannot be read.
            ValueError: an array is no image, or `request_id` is too long.
        """
        session = UpsertSession(self._planner, collection, truncation=truncation, request_id=request_id)
        source = chunks(map(item_message, items), limits=self._planner.config.limits)
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        while not session.done:
            try:
                with UpsertStream(self._stub, endpoint=self._endpoint, timeout_s=limit_s) as stream:
                    yield from _pump(session, stream, source)
            except StreamBrokenError as broken:
                time.sleep(session.pause_s(broken))
        yield from session.leftover()

    def delete(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> DeleteResult:
        """Delete items; ids that are not there are passed over.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(plan.delete(self._planner, collection, ids, request_id=request_id), timeout_s)

    def erase(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> EraseResult:
        """Delete items and remove every copy of them that the mesh keeps; return when they are gone.

        Rows, thumbnails, older versions of the items and of the store, cached embeddings, cache files. Every file of
        the collection that held them is written again, which takes its time.

        Args:
            collection: Where they are.
            ids: Their ids; items that were deleted before are erased too.
            request_id: 1 to 48 characters that name this erasure; the same id again deletes no more.
            timeout_s: Deadline of each message.

        Returns:
            When the last copy went, and where copies may still lie: backups always.

        Raises:
            IsthmusError: the call failed; the items may be deleted and not erased, so repeat it.
        """
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        return self._run(plan.erase(self._planner, collection, ids, request_id=request_id), limit_s)

    def get_items(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        include_embeddings: bool = False,
        include_thumbnails: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> GetResult:
        """Get items by id; one that is not there is left out.

        Args:
            collection: Where to look.
            ids: Their ids.
            include_embeddings: Return raw embeddings.
            include_thumbnails: Return thumbnails.
            min_revision: Answer from at least this revision; None means the newest this client wrote.
            timeout_s: Deadline of each message.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(
            plan.get_items(
                self._planner,
                collection,
                ids,
                include_embeddings=include_embeddings,
                include_thumbnails=include_thumbnails,
                min_revision=min_revision,
            ),
            timeout_s,
        )


def _pump(
    session: UpsertSession, stream: UpsertStream, source: Iterator[Chunk[gateway_service_pb2.UpsertItem]]
) -> Iterator[UpsertAck]:
    """Send what is not acknowledged yet, then what `source` yields, never more than the window allows."""
    session.begin()
    while not session.done:
        while session.may_send:
            request = session.again() or session.offer(next(source, None))
            if request is not None:
                stream.send(request)
        if session.all_sent:
            stream.end()
        if session.awaits:
            yield session.acknowledge(stream.receive())
