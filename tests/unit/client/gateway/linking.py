"""Links of the small gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from isthmus.runtime.base.errors import FailedPreconditionError
from isthmus.v1 import gateway_service_pb2, linking_pb2
from tests.unit.client.gateway.content import ALIGNER
from tests.unit.client.gateway.script import Script

LINKS = 30


class Linking(Script):
    """Answers with links that a test can tell apart."""

    async def ProposeLinks(
        self, request: gateway_service_pb2.ProposeLinksRequest, _context: Any
    ) -> AsyncIterator[gateway_service_pb2.ProposeLinksResponse]:
        """Propose 30 links in two messages, the first held back from `cut`; refuse a collection named `paired`."""
        await self._enter("ProposeLinks", request)
        collection = self._collection(request.collection)
        if request.collection == "paired":
            msg = "collection: 0 images and 4 texts without a pair key; links need at least one of each"
            metadata = {"image_count": "0", "text_count": "4"}
            raise FailedPreconditionError(msg, reason="NOTHING_TO_LINK", metadata=metadata)
        terms = request.terms
        count = terms.max_count or LINKS
        yield gateway_service_pb2.ProposeLinksResponse(
            summary=linking_pb2.LinkSummary(
                image_count=40,
                text_count=50,
                count=count,
                accept_above=0.5 if terms.HasField("false_accept_rate") else None,
                aligner=request.aligner or ALIGNER,
                revision=collection.revision,
            )
        )
        links = [
            linking_pb2.ProposedLink(image_id=f"i{n}", text_id=f"t{n}", probability=1 - n / LINKS, score=-n)
            for n in range(count)
        ]
        if request.collection != "cut":
            yield gateway_service_pb2.ProposeLinksResponse(links=links[: count // 2])
        yield gateway_service_pb2.ProposeLinksResponse(links=links[count // 2 :])
