"""What a proposal of links sends, and how its stream is read."""

from __future__ import annotations

from typing import Final, Literal

from isthmus.client.errors import InternalError
from isthmus.client.linking.results import Link, LinkProposal
from isthmus.client.plan import Planner
from isthmus.v1 import gateway_service_pb2, linking_pb2

__all__ = ["LinkMode", "LinkReader", "link_request"]

LinkMode = Literal["one_to_one", "best_image", "best_text"]
"""Which links may stand beside one another: none that share an item; each text's best image; each image's best text."""

_MODES: Final = {
    "one_to_one": linking_pb2.LINK_MODE_ONE_TO_ONE,
    "best_image": linking_pb2.LINK_MODE_BEST_IMAGE,
    "best_text": linking_pb2.LINK_MODE_BEST_TEXT,
}


def link_request(
    planner: Planner,
    collection: str,
    *,
    mode: LinkMode,
    false_accept_rate: float | None,
    expected_share: float | None,
    max_count: int,
    aligner: str,
    min_revision: int | None,
) -> gateway_service_pb2.ProposeLinksRequest:
    """Return the request of a proposal.

    Raises:
        ValueError: the mode is none, or `max_count` is negative.
    """
    if mode not in _MODES:
        msg = f"mode must be {', '.join(_MODES)}"
        raise ValueError(msg)
    if max_count < 0:
        msg = f"max_count is {max_count}; the least is 0, which means all"
        raise ValueError(msg)
    return gateway_service_pb2.ProposeLinksRequest(
        collection=collection,
        min_revision=planner.revisions.least(collection, min_revision),
        aligner=aligner,
        terms=linking_pb2.LinkTerms(
            mode=_MODES[mode],
            false_accept_rate=false_accept_rate,
            expected_share=expected_share,
            max_count=max_count,
        ),
    )


class LinkReader:
    """Takes the messages of one proposal."""

    def __init__(self) -> None:
        self._summary: linking_pb2.LinkSummary | None = None
        self._links: list[Link] = []

    def read(self, message: gateway_service_pb2.ProposeLinksResponse) -> None:
        """Take one message."""
        if message.HasField("summary"):
            self._summary = message.summary
        self._links += [
            Link(image_id=link.image_id, text_id=link.text_id, probability=link.probability, score=link.score)
            for link in message.links
        ]

    def result(self) -> LinkProposal:
        """Return the proposal.

        Raises:
            InternalError: the stream ended early.
        """
        summary = self._summary
        if summary is None or len(self._links) != summary.count:
            msg = "the stream of links ended before all had come"
            raise InternalError(msg, code="INTERNAL")
        return LinkProposal(
            links=tuple(self._links),
            image_count=summary.image_count,
            text_count=summary.text_count,
            accept_above=summary.accept_above if summary.HasField("accept_above") else None,
            aligner=summary.aligner,
            revision=summary.revision,
        )
