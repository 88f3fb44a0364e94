"""What calls for searching send, and how their answers are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from google.protobuf.message import Message

from isthmus.client.checks import check_one
from isthmus.client.chunking import Chunk, chunks
from isthmus.client.convert import image_bytes, spaced_vector_message
from isthmus.client.inputs import AnyModality, GroupBy, ImageLike, SpacedVector
from isthmus.client.plan import Plan, Planner, modality_number
from isthmus.client.search import decode
from isthmus.client.search.examples import Example, examples_message
from isthmus.client.search.queries import Query, query_message
from isthmus.client.search.results import BatchSearchResult, SearchResult
from isthmus.client.search.where import Filter
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["batch_search", "search"]

_BATCH_QUERIES: Final = 256
_BATCH_NEIGHBORS: Final = 25_600
"""What one message may ask for: queries, and queries x `top_k`."""


def search(
    planner: Planner,
    collection: str,
    *,
    text: str | None,
    image: ImageLike | None,
    vector: SpacedVector | None,
    item_id: str | None,
    examples: Sequence[Example] | None,
    keywords: str | None,
    modality: AnyModality,
    where: Filter | None,
    group_by: GroupBy | None,
    collapse_above: float | None,
    mmr_lambda: float | None,
    exact: bool,
    allow_partial: bool,
    top_k: int,
    page_token: str | None,
    min_revision: int | None,
) -> Plan[SearchResult]:
    """Plan a search; raise ValueError when there is not one query or keywords, or `group_by` is unknown."""
    given = {"text": text, "image": image, "vector": vector, "item_id": item_id, "examples": examples}
    if not keywords or any(value is not None for value in given.values()):
        check_one("a search", **given)
    grouping = _grouping(group_by)
    _check_top_k(top_k)
    number, revision = modality_number(modality), planner.revisions.least(collection, min_revision)

    def requests() -> Iterator[Message]:
        request = gateway_service_pb2.SearchItemsRequest(
            collection=collection,
            top_k=top_k,
            modality=number,
            min_revision=revision,
            filter=None if where is None else where.message,
            group_by=grouping,
            collapse_above=collapse_above,
            mmr_lambda=mmr_lambda,
            exact=exact,
            allow_partial=allow_partial,
            page_token=page_token or "",
            keywords=keywords or "",
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


def batch_search(
    planner: Planner,
    collection: str,
    queries: Iterable[Query | str],
    *,
    modality: AnyModality,
    where: Filter | None,
    group_by: GroupBy | None,
    collapse_above: float | None,
    mmr_lambda: float | None,
    exact: bool,
    allow_partial: bool,
    top_k: int,
    basic: bool,
    min_revision: int | None,
) -> Plan[BatchSearchResult]:
    """Plan a batch of searches; raise ValueError when `group_by`, `modality` or `top_k` is none that there is."""
    grouping, number = _grouping(group_by), modality_number(modality)
    _check_top_k(top_k)
    revision = planner.revisions.least(collection, min_revision)
    most = min(planner.config.limits.chunk_max_count, _BATCH_QUERIES, max(1, _BATCH_NEIGHBORS // top_k))
    sent: list[Chunk[gateway_service_pb2.SearchQuery]] = []

    def requests() -> Iterator[Message]:
        limits = replace(planner.config.limits, chunk_max_count=most)
        for chunk in chunks(map(query_message, queries), limits=limits):
            # Only positions and refusals are kept: the bytes of a sent message are free to go.
            sent.append(replace(chunk, entries=()))
            if chunk.entries:
                yield gateway_service_pb2.BatchSearchItemsRequest(
                    collection=collection,
                    queries=chunk.entries,
                    top_k=top_k,
                    modality=number,
                    min_revision=revision,
                    filter=None if where is None else where.message,
                    group_by=grouping,
                    collapse_above=collapse_above,
                    mmr_lambda=mmr_lambda,
                    exact=exact,
                    allow_partial=allow_partial,
                    view=common_pb2.NEIGHBOR_VIEW_BASIC if basic else common_pb2.NEIGHBOR_VIEW_FULL,
                )

    return Plan(
        method="BatchSearchItems",
        requests=requests(),
        decode=lambda answers: decode.batch_result(list(itertools.zip_longest(sent, answers))),
        timeout_s=planner.config.timeouts.embed_s,
        reads_files=True,
    )


def _grouping(group_by: GroupBy | None) -> common_pb2.GroupBy.ValueType:
    if group_by not in (None, "pair_key"):
        msg = f"group_by is {group_by!r}; it may be 'pair_key' or None"
        raise ValueError(msg)
    return common_pb2.GROUP_BY_UNSPECIFIED if group_by is None else common_pb2.GROUP_BY_PAIR_KEY


def _check_top_k(top_k: int) -> None:
    if top_k < 1:
        msg = f"top_k is {top_k}; the least is 1"
        raise ValueError(msg)
