"""What an answer is made of, to its fields of a message and back. What comes from the wire is checked here."""

from __future__ import annotations

from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import ResourceExhaustedError
from isthmus.runtime.base.limits import EXAMPLES_MAX_COUNT
from isthmus.runtime.rpc.codec import unknown_enum
from isthmus.v1 import common_pb2, index_search_service_pb2

__all__ = ["answer_terms_of", "is_grouped", "set_answer_terms"]


def is_grouped(value: int) -> bool:
    """Return whether a `GroupBy` asks for one answer a pair key.

    Raises:
        InvalidArgumentError: UNKNOWN_ENUM_VALUE.
    """
    if value not in (common_pb2.GROUP_BY_UNSPECIFIED, common_pb2.GROUP_BY_PAIR_KEY):
        field = "group_by"
        raise unknown_enum(field)
    return value == common_pb2.GROUP_BY_PAIR_KEY


def answer_terms_of(request: index_search_service_pb2.SearchRequest) -> AnswerTerms:
    """Return what the answers to a searcher's request are to be made of.

    Raises:
        InvalidArgumentError: UNKNOWN_ENUM_VALUE.
        ResourceExhaustedError: LIMIT_EXCEEDED; too many ids are excluded.
    """
    size = len(request.exclude_ids)
    if size > EXAMPLES_MAX_COUNT:
        msg = f"exclude_ids holds {size} ids; the limit is {EXAMPLES_MAX_COUNT}"
        metadata = {"field": "exclude_ids", "limit": str(EXAMPLES_MAX_COUNT), "size": str(size)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
    return AnswerTerms(exclude_ids=tuple(request.exclude_ids), one_per_pair_key=is_grouped(request.group_by))


def set_answer_terms(request: index_search_service_pb2.SearchRequest, terms: AnswerTerms) -> None:
    """Write what answers are to be made of into a searcher's request."""
    request.exclude_ids.extend(terms.exclude_ids)
    if terms.one_per_pair_key:
        request.group_by = common_pb2.GROUP_BY_PAIR_KEY
