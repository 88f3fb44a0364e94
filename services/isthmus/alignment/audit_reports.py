"""What an audit found, as messages: a summary, then the pairs, worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.alignment.auditing import CollectionAudit
from isthmus.core.matching import Decision
from isthmus.core.modality import Modality
from isthmus.runtime.base.limits import UPSERT_MAX_COUNT
from isthmus.runtime.rpc.matching import decision_message
from isthmus.v1 import alignment_service_pb2, matching_pb2

__all__ = ["audit_messages"]


def audit_messages(
    found: CollectionAudit, *, top_count: int
) -> Iterator[alignment_service_pb2.AlignmentServiceAuditPairsResponse]:
    """Yield the summary, then up to `top_count` pairs in messages of at most 1,000."""
    yield alignment_service_pb2.AlignmentServiceAuditPairsResponse(summary=_summary(found))
    count = min(top_count, len(found.pairs.log_odds))
    for start in range(0, count, UPSERT_MAX_COUNT):
        places = range(start, min(start + UPSERT_MAX_COUNT, count))
        yield alignment_service_pb2.AlignmentServiceAuditPairsResponse(pairs=_pairs(found, places))


def _summary(found: CollectionAudit) -> matching_pb2.AuditSummary:
    head, items, decided = found.loaded.head, found.loaded.items, found.decided
    counts = {} if decided is None else {decision: decided.count(decision) for decision in Decision}
    return matching_pb2.AuditSummary(
        pair_count=len(found.pairs.log_odds),
        image_count=len(items[Modality.IMAGE].ids),
        text_count=len(items[Modality.TEXT].ids),
        wrong_share=found.pairs.wrong_share,
        decided=decided is not None,
        match_count=counts.get(Decision.MATCH, 0),
        undecided_count=counts.get(Decision.UNDECIDED, 0),
        no_match_count=counts.get(Decision.NO_MATCH, 0),
        aligner="" if head.aligner is None else head.aligner.space,
        revision=head.revision,
    )


def _pairs(found: CollectionAudit, places: range) -> list[matching_pb2.AuditedPair]:
    images, texts = found.loaded.items[Modality.IMAGE], found.loaded.items[Modality.TEXT]
    pairs, decided = found.pairs, found.decided
    probabilities = pairs.probabilities
    messages = []
    for place in places:
        image, text = int(pairs.image_rows[place]), int(pairs.text_rows[place])
        message = matching_pb2.AuditedPair(
            image_id=images.ids[image],
            text_id=texts.ids[text],
            pair_key=images.pair_keys[image] or "",
            probability=float(probabilities[place]),
            log_odds=float(pairs.log_odds[place]),
            cosine=float(pairs.cosines[place]),
            nearest_image_id=_id(images.ids, int(pairs.nearest_images[place])),
            nearest_text_id=_id(texts.ids, int(pairs.nearest_texts[place])),
        )
        if decided is not None:
            message.decision = decision_message(decided.decisions[place])
            message.match_probability = float(decided.probabilities[place])
        messages.append(message)
    return messages


def _id(ids: Sequence[str], row: int) -> str:
    return "" if row < 0 else ids[row]
