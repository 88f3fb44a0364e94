"""Pairs at the small gateway: an image matches a text of the same bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from isthmus.runtime.base.errors import NotFoundError
from isthmus.runtime.rpc.status import item_error
from isthmus.v1 import common_pb2, gateway_service_pb2, matching_pb2
from tests.unit.client.gateway.content import ALIGNER, refusal
from tests.unit.client.gateway.script import Script

AUDITED_COUNT = 1_200
"""Pairs that an audit has found."""


class Matching(Script):
    """Answers about pairs."""

    async def MatchPairs(self, request: gateway_service_pb2.MatchPairsRequest, _context: Any) -> Any:
        """Judge by equality; ids stand for their own bytes, and the id `nobody` for nothing."""
        await self._enter("MatchPairs", request)
        collection = self._collection(request.collection)
        matches, errors = [], []
        for index, pair in enumerate(request.pairs):
            image = pair.image or pair.image_id.encode()
            wrong = refusal(is_image=True, content=image)
            if pair.image_id == "nobody":
                wrong = NotFoundError("image_id names no item of the collection", reason="ITEM_NOT_FOUND")
            if wrong is not None:
                errors.append(item_error(index, wrong))
                continue
            text = pair.text or pair.text_id
            same = image == text.encode()
            matches.append(
                matching_pb2.PairMatch(
                    index=index,
                    score=2.0 if same else -2.0,
                    probability=0.875 if same else 0.125,
                    decision=matching_pb2.MATCH_DECISION_MATCH if same else matching_pb2.MATCH_DECISION_NO_MATCH,
                )
            )
        return gateway_service_pb2.MatchPairsResponse(
            matches=matches,
            errors=errors,
            accept_above=1.0,
            refuse_below=-1.0,
            aligner=ALIGNER,
            calibration=common_pb2.CALIBRATION_SOURCE_FITTED,
            space=ALIGNER,
            revision=collection.revision,
            truncated_indexes=[index for index, pair in enumerate(request.pairs) if pair.text == "long"],
            timings=common_pb2.Timings(total_micros=10),
        )

    async def AuditPairs(
        self, request: gateway_service_pb2.AuditPairsRequest, _context: Any
    ) -> AsyncIterator[gateway_service_pb2.AuditPairsResponse]:
        """Sum 1,200 pairs up, then list as many as were asked for, 1,000 a message."""
        await self._enter("AuditPairs", request)
        collection = self._collection(request.collection)
        yield gateway_service_pb2.AuditPairsResponse(
            summary=matching_pb2.AuditSummary(
                pair_count=AUDITED_COUNT,
                image_count=240,
                text_count=AUDITED_COUNT,
                wrong_share=0.125,
                decided=True,
                match_count=1_000,
                undecided_count=150,
                no_match_count=50,
                aligner=ALIGNER,
                revision=collection.revision,
            )
        )
        count = min(request.top_count, AUDITED_COUNT)
        for start in range(0, count, 1_000):
            yield gateway_service_pb2.AuditPairsResponse(
                pairs=[_audited(place) for place in range(start, min(start + 1_000, count))]
            )


def _audited(place: int) -> matching_pb2.AuditedPair:
    pair = matching_pb2.AuditedPair(
        image_id=f"i{place}",
        text_id=f"t{place}",
        pair_key=f"p{place}",
        probability=place / AUDITED_COUNT,
        log_odds=place - 10.0,
        cosine=0.25,
        nearest_image_id=f"i{place + 1}",
        nearest_text_id="" if place == 0 else f"t{place + 1}",
    )
    if place:
        pair.decision = matching_pb2.MATCH_DECISION_UNDECIDED
        pair.match_probability = 0.5
    return pair
