"""Answers to calls about pairs, from the wire."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from isthmus.client.chunking import Chunk
from isthmus.client.decode import calibration, timings_sum
from isthmus.client.matching.results import AuditedPair, AuditSummary, Decision, MatchResult, PairMatch
from isthmus.client.results import ItemError
from isthmus.client.status import from_item_error
from isthmus.v1 import gateway_service_pb2, matching_pb2

__all__ = ["audit_part", "match_result"]

_DECISIONS: Final[Mapping[int, Decision]] = {
    matching_pb2.MATCH_DECISION_MATCH: "match",
    matching_pb2.MATCH_DECISION_UNDECIDED: "undecided",
    matching_pb2.MATCH_DECISION_NO_MATCH: "no_match",
}


def match_result(
    answers: Sequence[tuple[Chunk[gateway_service_pb2.PairToMatch], gateway_service_pb2.MatchPairsResponse | None]],
) -> MatchResult:
    """Join the answers to the messages of one match, in order; a chunk that was not sent has none."""
    matches: list[PairMatch] = []
    errors: list[ItemError] = []
    truncated: list[int] = []
    received = [response for _, response in answers if response is not None]
    for chunk, response in answers:
        errors.extend(chunk.refused)
        if response is None:
            continue
        # A decision that this client does not know is one that it cannot act on.
        matches.extend(
            PairMatch(
                index=chunk.indexes[found.index],
                score=found.score,
                probability=found.probability,
                decision=_DECISIONS.get(found.decision, "undecided"),
            )
            for found in response.matches
        )
        errors.extend(from_item_error(error, index=chunk.indexes[error.index]) for error in response.errors)
        truncated.extend(chunk.indexes[index] for index in response.truncated_indexes)
    last = received[-1] if received else None
    return MatchResult(
        matches=tuple(matches),
        errors=tuple(sorted(errors, key=lambda error: error.index)),
        accept_above=math.nan if last is None else last.accept_above,
        refuse_below=math.nan if last is None else last.refuse_below,
        truncated=tuple(truncated),
        aligner="" if last is None else last.aligner,
        calibration="none" if last is None else calibration(last.calibration),
        space="" if last is None else last.space,
        revision=0 if last is None else last.revision,
        timings=timings_sum(response.timings for response in received),
    )


def audit_part(message: gateway_service_pb2.AuditPairsResponse) -> Iterator[AuditSummary | AuditedPair]:
    """Yield what one message of an audit holds."""
    if message.HasField("summary"):
        yield _summary(message.summary)
    for pair in message.pairs:
        yield AuditedPair(
            image_id=pair.image_id,
            text_id=pair.text_id,
            pair_key=pair.pair_key,
            probability=pair.probability,
            log_odds=pair.log_odds,
            cosine=pair.cosine,
            nearest_image_id=pair.nearest_image_id,
            nearest_text_id=pair.nearest_text_id,
            decision=_DECISIONS.get(pair.decision),
            match_probability=pair.match_probability if pair.HasField("match_probability") else None,
        )


def _summary(message: matching_pb2.AuditSummary) -> AuditSummary:
    return AuditSummary(
        pairs=message.pair_count,
        image_count=message.image_count,
        text_count=message.text_count,
        wrong_share=message.wrong_share,
        decided=message.decided,
        match_count=message.match_count,
        undecided_count=message.undecided_count,
        no_match_count=message.no_match_count,
        aligner=message.aligner,
        revision=message.revision,
    )
