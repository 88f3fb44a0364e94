"""Links on the wire: what was asked for, and what was found, in messages of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from isthmus.alignment.linking import CollectionLinks
from isthmus.core.linking import LinkMode, LinkTerms
from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.runtime.base.limits import LINKS_MESSAGE_MAX_COUNT
from isthmus.v1 import alignment_service_pb2, linking_pb2

__all__ = ["link_messages", "link_terms"]

_MODES: Final = {
    linking_pb2.LINK_MODE_UNSPECIFIED: LinkMode.ONE_TO_ONE,
    linking_pb2.LINK_MODE_ONE_TO_ONE: LinkMode.ONE_TO_ONE,
    linking_pb2.LINK_MODE_BEST_IMAGE: LinkMode.BEST_IMAGE,
    linking_pb2.LINK_MODE_BEST_TEXT: LinkMode.BEST_TEXT,
}


def link_terms(message: linking_pb2.LinkTerms) -> LinkTerms:
    """Return what the caller chooses.

    Raises:
        InvalidArgumentError: UNKNOWN_ENUM_VALUE or INVALID_FIELD.
    """
    if message.mode not in _MODES:
        msg = "terms.mode has a value this server does not know"
        raise InvalidArgumentError(msg, reason="UNKNOWN_ENUM_VALUE", metadata={"field": "terms.mode"})
    shares = {
        name: getattr(message, name) for name in ("false_accept_rate", "expected_share") if message.HasField(name)
    }
    for name, share in shares.items():
        if not 0.0 < share < 1.0:
            msg = f"terms.{name} must be above 0 and below 1"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": f"terms.{name}"})
    return LinkTerms(mode=_MODES[message.mode], **shares)


def link_messages(
    links: CollectionLinks, *, max_count: int
) -> Iterator[alignment_service_pb2.AlignmentServiceProposeLinksResponse]:
    """Yield the summary, then links in messages of at most 1,000.

    Args:
        links: What was found.
        max_count: How many links, the most probable ones; 0 means all.
    """
    found = links.found
    count = min(len(links.image_ids), max_count or len(links.image_ids))
    yield alignment_service_pb2.AlignmentServiceProposeLinksResponse(
        summary=linking_pb2.LinkSummary(
            image_count=links.image_count,
            text_count=links.text_count,
            count=count,
            accept_above=found.accept_above,
            aligner=links.aligner,
            revision=links.revision,
        )
    )
    for start in range(0, count, LINKS_MESSAGE_MAX_COUNT):
        yield alignment_service_pb2.AlignmentServiceProposeLinksResponse(
            links=[
                linking_pb2.ProposedLink(
                    image_id=links.image_ids[row],
                    text_id=links.text_ids[row],
                    probability=found.probabilities[row],
                    score=found.scores[row],
                )
                for row in range(start, min(start + LINKS_MESSAGE_MAX_COUNT, count))
            ]
        )
