"""What an answer is made of, to its fields of a message and back. What comes from the wire is checked here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import EXAMPLES_MAX_COUNT, KEYWORDS_MAX_BYTES, PAGE_DEPTH_MAX_COUNT
from isthmus.runtime.rpc.codec import unknown_enum
from isthmus.v1 import common_pb2, gateway_service_pb2, index_search_service_pb2

__all__ = ["answer_terms_of", "asked_terms_of", "is_basic", "set_answer_terms"]

_Asked: TypeAlias = gateway_service_pb2.SearchItemsRequest | gateway_service_pb2.BatchSearchItemsRequest
_Request: TypeAlias = index_search_service_pb2.SearchRequest | _Asked

_VIEWS: Final[Mapping[int, bool]] = {
    common_pb2.NEIGHBOR_VIEW_UNSPECIFIED: False,
    common_pb2.NEIGHBOR_VIEW_FULL: False,
    common_pb2.NEIGHBOR_VIEW_BASIC: True,
}


def is_basic(view: int) -> bool:
    """Return whether only id, modality and pair key are told of answers' items.

    Raises:
        InvalidArgumentError: UNKNOWN_ENUM_VALUE.
    """
    basic = _VIEWS.get(view)
    if basic is None:
        field = "view"
        raise unknown_enum(field)
    return basic


def _is_grouped(value: int) -> bool:
    if value not in (common_pb2.GROUP_BY_UNSPECIFIED, common_pb2.GROUP_BY_PAIR_KEY):
        field = "group_by"
        raise unknown_enum(field)
    return value == common_pb2.GROUP_BY_PAIR_KEY


def answer_terms_of(request: index_search_service_pb2.SearchRequest) -> AnswerTerms:
    """Return what the answers to a searcher's request are to be made of.

    Raises:
        InvalidArgumentError: UNKNOWN_ENUM_VALUE, INVALID_FIELD.
        ResourceExhaustedError: LIMIT_EXCEEDED; too many ids are excluded.
    """
    size = len(request.exclude_ids)
    if size > EXAMPLES_MAX_COUNT:
        msg = f"exclude_ids holds {size} ids; the limit is {EXAMPLES_MAX_COUNT}"
        metadata = {"field": "exclude_ids", "limit": str(EXAMPLES_MAX_COUNT), "size": str(size)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
    return AnswerTerms(
        exclude_ids=tuple(request.exclude_ids),
        one_per_pair_key=_is_grouped(request.group_by),
        collapse_above=_collapse_above(request),
        mmr_lambda=_mmr_lambda(request),
        offset=_offset(request),
        expected_order=request.expected_order,
        exact=request.exact,
        keywords=_keywords(request.keywords),
        allow_partial=request.allow_partial,
    )


def asked_terms_of(request: _Asked) -> AnswerTerms:
    """Return what the answers to a caller's request are to be made of.

    Raises:
        InvalidArgumentError: UNKNOWN_ENUM_VALUE, INVALID_FIELD.
    """
    return AnswerTerms(
        one_per_pair_key=_is_grouped(request.group_by),
        collapse_above=_collapse_above(request),
        mmr_lambda=_mmr_lambda(request),
        exact=request.exact,
        keywords=_keywords(request.keywords) if isinstance(request, gateway_service_pb2.SearchItemsRequest) else "",
        allow_partial=request.allow_partial,
    )


def set_answer_terms(request: index_search_service_pb2.SearchRequest, terms: AnswerTerms) -> None:
    """Write what answers are to be made of into a searcher's request."""
    request.exclude_ids.extend(terms.exclude_ids)
    if terms.one_per_pair_key:
        request.group_by = common_pb2.GROUP_BY_PAIR_KEY
    if terms.collapse_above is not None:
        request.collapse_above = terms.collapse_above
    if terms.mmr_lambda is not None:
        request.mmr_lambda = terms.mmr_lambda
    request.offset, request.expected_order = terms.offset, terms.expected_order
    request.exact = terms.exact
    request.keywords = terms.keywords
    request.allow_partial = terms.allow_partial


def _keywords(words: str) -> str:
    size = len(words.encode())
    if size > KEYWORDS_MAX_BYTES:
        msg = f"keywords has {size} bytes; the limit is {KEYWORDS_MAX_BYTES}"
        metadata = {"field": "keywords", "limit": str(KEYWORDS_MAX_BYTES), "size": str(size)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
    return words


def _offset(request: index_search_service_pb2.SearchRequest) -> int:
    if request.offset > PAGE_DEPTH_MAX_COUNT:
        msg = f"offset is {request.offset}; the limit is {PAGE_DEPTH_MAX_COUNT}"
        metadata = {"field": "offset", "limit": str(PAGE_DEPTH_MAX_COUNT)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
    return request.offset


def _collapse_above(request: _Request) -> float | None:
    if not request.HasField("collapse_above"):
        return None
    # Not a number is not in any range.
    if not 0.0 < request.collapse_above <= 1.0:
        msg = "collapse_above must be above 0 and at most 1"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "collapse_above"})
    return request.collapse_above


def _mmr_lambda(request: _Request) -> float | None:
    if not request.HasField("mmr_lambda"):
        return None
    if not 0.0 <= request.mmr_lambda <= 1.0:
        msg = "mmr_lambda must be 0 to 1"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "mmr_lambda"})
    return request.mmr_lambda
