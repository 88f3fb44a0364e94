"""Terms and findings of matching to their messages and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from isthmus.core.calibration import Impostor
from isthmus.core.matching import Decision, MatchTerms
from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.runtime.rpc.codec import unknown_enum
from isthmus.v1 import matching_pb2

__all__ = ["decision_message", "match_terms", "terms_message"]

_IMPOSTORS: Final[Mapping[int, Impostor]] = {
    matching_pb2.PAIR_IMPOSTOR_UNSPECIFIED: MatchTerms.impostor,
    matching_pb2.PAIR_IMPOSTOR_RANDOM: Impostor.SINGLE,
    matching_pb2.PAIR_IMPOSTOR_BEST: Impostor.BEST,
}
_IMPOSTOR_NUMBERS: Final[Mapping[Impostor, matching_pb2.PairImpostor.ValueType]] = {
    Impostor.SINGLE: matching_pb2.PAIR_IMPOSTOR_RANDOM,
    Impostor.BEST: matching_pb2.PAIR_IMPOSTOR_BEST,
}
_DECISIONS: Final[Mapping[Decision, matching_pb2.MatchDecision.ValueType]] = {
    Decision.MATCH: matching_pb2.MATCH_DECISION_MATCH,
    Decision.UNDECIDED: matching_pb2.MATCH_DECISION_UNDECIDED,
    Decision.NO_MATCH: matching_pb2.MATCH_DECISION_NO_MATCH,
}


def match_terms(message: matching_pb2.MatchTerms) -> MatchTerms:
    """Return the terms; what is unset has its default.

    Raises:
        InvalidArgumentError: INVALID_FIELD or UNKNOWN_ENUM_VALUE.
    """
    impostor = _IMPOSTORS.get(message.impostor)
    if impostor is None:
        field = "terms.impostor"
        raise unknown_enum(field)
    shares: dict[str, Any] = {}
    for name in ("false_accept_rate", "prior"):
        if message.HasField(name):
            shares[name] = value = getattr(message, name)
            if not 0.0 < value < 1.0:
                field = f"terms.{name}"
                msg = f"{field} must be above 0 and below 1"
                raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": field})
    return MatchTerms(impostor=impostor, **shares)


def terms_message(terms: MatchTerms) -> matching_pb2.MatchTerms:
    """Return the message, every term set."""
    return matching_pb2.MatchTerms(
        false_accept_rate=terms.false_accept_rate, impostor=_IMPOSTOR_NUMBERS[terms.impostor], prior=terms.prior
    )


def decision_message(decision: Decision) -> matching_pb2.MatchDecision.ValueType:
    """Return the wire's name of a decision."""
    return _DECISIONS[decision]
