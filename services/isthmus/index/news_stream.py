"""The stream of commits, over gRPC: what the writer's servicer sends, and what a searcher reads."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from isthmus.index.config import IndexConfig
from isthmus.index.news import CollectionNews, News
from isthmus.runtime.rpc.channel import open_channel, stream
from isthmus.runtime.rpc.tls_channel import ChannelTls
from isthmus.v1 import index_writer_service_pb2
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub

__all__ = ["WriterNews", "news_message"]


def news_message(news: News) -> index_writer_service_pb2.WatchRevisionsResponse:
    """Return news for the wire."""
    return index_writer_service_pb2.WatchRevisionsResponse(
        origin=news.origin,
        sequence=news.sequence,
        catalogs=news.catalogs,
        holds_store=news.holds_store,
        next_within_millis=round(news.next_within_s * 1000),
        collections=[
            index_writer_service_pb2.CommittedRevision(
                tenant=one.tenant, name=one.name, uid=one.uid, revision=one.revision
            )
            for one in news.collections
        ],
    )


class WriterNews:
    """Hears the writer that a configuration names; answers `NewsSource`.

    Args:
        config: Of a searcher, with a `writer_address`.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._address = config.writer_address
        files = config.backend_tls()
        self._tls = None if files is None else ChannelTls(files)

    async def stream(self, *, origin: str, after: int) -> AsyncGenerator[News, None]:
        """Yield what the writer announces; each stream connects anew, and finds a writer that has moved.

        Raises:
            IsthmusError: the writer cannot be reached, or refuses.
        """
        request = index_writer_service_pb2.WatchRevisionsRequest(origin=origin, after_sequence=after)
        async with open_channel(self._address, tls=self._tls) as channel:
            messages = stream(IndexWriterServiceStub(channel).WatchRevisions, request, backend="index_writer")
            async with contextlib.aclosing(messages):
                async for message in messages:
                    yield News(
                        origin=message.origin,
                        sequence=message.sequence,
                        catalogs=message.catalogs,
                        holds_store=message.holds_store,
                        next_within_s=message.next_within_millis / 1000,
                        collections=tuple(
                            CollectionNews(one.tenant, one.name, one.uid, one.revision) for one in message.collections
                        ),
                    )
