"""The call that proposes links, for asyncio."""

from __future__ import annotations

import grpc

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.channel import new_request_id
from isthmus.client.linking.plan import LinkMode, LinkReader, link_request
from isthmus.client.linking.results import LinkProposal
from isthmus.client.status import from_rpc_error

__all__ = ["AsyncLinkCalls"]


class AsyncLinkCalls(AsyncCalls):
    """The call of `AsyncClient` that proposes links."""

    async def propose_links(
        self,
        collection: str,
        *,
        mode: LinkMode = "one_to_one",
        false_accept_rate: float | None = None,
        expected_share: float | None = None,
        max_count: int = 0,
        aligner: str = "",
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> LinkProposal:
        """Propose links between items that have no pair key. As `Client.propose_links`."""
        request = link_request(
            self._planner,
            collection,
            mode=mode,
            false_accept_rate=false_accept_rate,
            expected_share=expected_share,
            max_count=max_count,
            aligner=aligner,
            min_revision=min_revision,
        )
        reader, call_id = LinkReader(), new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            async for message in self._stub.ProposeLinks(
                request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)
            ):
                reader.read(message)
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        return reader.result()
