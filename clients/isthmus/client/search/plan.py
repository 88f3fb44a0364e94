"""What calls for searching send, and how their answers are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message

from isthmus.client.checks import check_one
from isthmus.client.convert import image_bytes, spaced_vector_message
from isthmus.client.inputs import AnyModality, GroupBy, ImageLike, SpacedVector
from isthmus.client.plan import Plan, Planner, modality_number
from isthmus.client.search import decode
from isthmus.client.search.examples import Example, examples_message
from isthmus.client.search.results import SearchResult
from isthmus.client.search.where import Filter
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["search"]


def search(
    planner: Planner,
    collection: str,
    *,
    text: str | None,
    image: ImageLike | None,
    vector: SpacedVector | None,
    item_id: str | None,
    examples: Sequence[Example] | None,
    modality: AnyModality,
    where: Filter | None,
    group_by: GroupBy | None,
    collapse_above: float | None,
    mmr_lambda: float | None,
    top_k: int,
    page_token: str | None,
    min_revision: int | None,
) -> Plan[SearchResult]:
    """Plan a search; raise ValueError when there is not exactly one query, or `group_by` is unknown."""
    check_one("a search", text=text, image=image, vector=vector, item_id=item_id, examples=examples)
    if group_by not in (None, "pair_key"):
        msg = f"group_by is {group_by!r}; it may be 'pair_key' or None"
        raise ValueError(msg)
    if top_k < 1:
        msg = f"top_k is {top_k}; the least is 1"
        raise ValueError(msg)
    number, revision = modality_number(modality), planner.revisions.least(collection, min_revision)

    def requests() -> Iterator[Message]:
        request = gateway_service_pb2.SearchItemsRequest(
            collection=collection,
            top_k=top_k,
            modality=number,
            min_revision=revision,
            filter=None if where is None else where.message,
            group_by=common_pb2.GROUP_BY_UNSPECIFIED if group_by is None else common_pb2.GROUP_BY_PAIR_KEY,
            collapse_above=collapse_above,
            mmr_lambda=mmr_lambda,
            page_token=page_token or "",
        )
        if text is not None:
            request.text = text
        elif image is not None:
            request.image = image_bytes(image)
        elif vector is not None:
            request.vector.CopyFrom(spaced_vector_message(vector))
        elif item_id is not None:
            request.item_id = item_id
        elif examples is not None:
            request.examples.CopyFrom(examples_message(examples))
        yield request

    return Plan(
        method="SearchItems",
        requests=requests(),
        decode=lambda answers: decode.search_result(answers[0]),
        timeout_s=planner.config.timeouts.call_s,
        reads_files=image is not None or any(example.image is not None for example in examples or ()),
    )
