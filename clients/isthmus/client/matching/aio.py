"""Calls that ask whether a picture belongs to a text, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import grpc

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.channel import new_request_id
from isthmus.client.inputs import Truncation
from isthmus.client.matching import decode, plan
from isthmus.client.matching.inputs import MatchTerms, Pair
from isthmus.client.matching.results import AuditedPair, AuditSummary, MatchResult
from isthmus.client.status import from_rpc_error

__all__ = ["AsyncMatchingCalls"]


class AsyncMatchingCalls(AsyncCalls):
    """Calls of `AsyncClient` about pairs of an image and a text."""

    async def match_pairs(
        self,
        collection: str,
        pairs: Iterable[Pair],
        *,
        terms: MatchTerms | None = None,
        truncation: Truncation = "flag",
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> MatchResult:
        """Judge pairs. As `Client.match_pairs`."""
        return await self._run(
            plan.match_pairs(
                self._planner,
                collection,
                pairs,
                terms=terms or MatchTerms(),
                truncation=truncation,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    async def audit_pairs(
        self,
        collection: str,
        *,
        top: int = 100,
        terms: MatchTerms | None = None,
        seed: int = 0,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[AuditSummary | AuditedPair]:
        """Yield the summary of all pairs, then the worst. As `Client.audit_pairs`."""
        request = plan.audit_request(
            self._planner, collection, top=top, terms=terms, seed=seed, min_revision=min_revision
        )
        call_id = new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        messages = self._stub.AuditPairs(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id))
        try:
            async for message in messages:
                for part in decode.audit_part(message):
                    yield part
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        finally:
            messages.cancel()
