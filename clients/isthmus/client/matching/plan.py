"""What calls about pairs send, and how their answers are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from google.protobuf.message import Message

from isthmus.client.chunking import Chunk, chunks
from isthmus.client.convert import image_bytes, spaced_vector_message
from isthmus.client.inputs import Truncation
from isthmus.client.matching import decode
from isthmus.client.matching.inputs import MatchTerms, Pair
from isthmus.client.matching.results import MatchResult
from isthmus.client.plan import Plan, Planner, truncation_number
from isthmus.v1 import gateway_service_pb2, matching_pb2

__all__ = ["audit_request", "match_pairs"]

_IMPOSTORS: Final = {
    "random": matching_pb2.PAIR_IMPOSTOR_RANDOM,
    "best": matching_pb2.PAIR_IMPOSTOR_BEST,
}


def match_pairs(
    planner: Planner,
    collection: str,
    pairs: Iterable[Pair],
    *,
    terms: MatchTerms,
    truncation: Truncation,
    min_revision: int | None,
) -> Plan[MatchResult]:
    """Plan a match; raise ValueError when `truncation` is unknown."""
    number, revision = truncation_number(truncation), planner.revisions.least(collection, min_revision)
    sent: list[Chunk[gateway_service_pb2.PairToMatch]] = []

    def requests() -> Iterator[Message]:
        for chunk in chunks(map(_message, pairs), limits=planner.config.limits):
            # Only positions and refusals are kept: the bytes of a sent message are free to go.
            sent.append(replace(chunk, entries=()))
            if chunk.entries:
                yield gateway_service_pb2.MatchPairsRequest(
                    collection=collection,
                    pairs=chunk.entries,
                    terms=_terms(terms),
                    min_revision=revision,
                    truncation=number,
                )

    return Plan(
        method="MatchPairs",
        requests=requests(),
        decode=lambda answers: decode.match_result(list(itertools.zip_longest(sent, answers))),
        timeout_s=planner.config.timeouts.embed_s,
        reads_files=True,
    )


def audit_request(
    planner: Planner,
    collection: str,
    *,
    top: int,
    terms: MatchTerms | None,
    seed: int,
    min_revision: int | None,
) -> gateway_service_pb2.AuditPairsRequest:
    """Return the request of an audit; raise ValueError when `top` is below 0."""
    if top < 0:
        msg = f"top is {top}; the least is 0"
        raise ValueError(msg)
    return gateway_service_pb2.AuditPairsRequest(
        collection=collection,
        top_count=top,
        terms=None if terms is None else _terms(terms),
        seed=seed,
        min_revision=planner.revisions.least(collection, min_revision),
    )


def _terms(terms: MatchTerms) -> matching_pb2.MatchTerms:
    return matching_pb2.MatchTerms(
        false_accept_rate=terms.false_accept_rate, impostor=_IMPOSTORS[terms.impostor], prior=terms.prior
    )


def _message(pair: Pair) -> gateway_service_pb2.PairToMatch:
    message = gateway_service_pb2.PairToMatch()
    if pair.image is not None:
        message.image = image_bytes(pair.image)
    elif pair.image_vector is not None:
        message.image_vector.CopyFrom(spaced_vector_message(pair.image_vector))
    else:
        message.image_id = pair.image_id or ""
    if pair.text is not None:
        message.text = pair.text
    elif pair.text_vector is not None:
        message.text_vector.CopyFrom(spaced_vector_message(pair.text_vector))
    else:
        message.text_id = pair.text_id or ""
    return message
