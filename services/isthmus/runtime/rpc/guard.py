"""The limits of a collection's guard to their message and back."""

from __future__ import annotations

from isthmus.runtime.base.guard import GuardTerms
from isthmus.v1 import common_pb2

__all__ = ["guard_message", "guard_terms"]


def guard_terms(message: common_pb2.GuardLimits) -> GuardTerms:
    """Return the limits; one that is unset has its default.

    Raises:
        InvalidArgumentError: INVALID_FIELD; a limit is not in [0, 1].
    """
    return GuardTerms(**{field.name: value for field, value in message.ListFields()})


def guard_message(terms: GuardTerms) -> common_pb2.GuardLimits:
    """Return the message, every limit set."""
    return common_pb2.GuardLimits(
        epsilon=terms.epsilon, structure_least=terms.structure_least, hubness_growth=terms.hubness_growth
    )
