"""The plan of a call: what it sends and how its answers are read, without waiting for a network.

The plans themselves are in the `plan` of each concept; sync and async clients carry out the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from isthmus.client.config import ClientConfig
from isthmus.client.convert import MODALITIES
from isthmus.client.inputs import AnyModality, Truncation
from isthmus.client.revisions import Revisions
from isthmus.v1 import common_pb2

__all__ = ["Plan", "Planner", "modality_number", "truncation_number"]

Result = TypeVar("Result")

_TRUNCATIONS: Final = {"flag": common_pb2.TRUNCATION_FLAG, "refuse": common_pb2.TRUNCATION_REFUSE}


@dataclass(frozen=True, slots=True)
class Plan(Generic[Result]):
    """One call of the API.

    Attributes:
        method: Name of the method of GatewayService.
        requests: The messages, made one by one as they are sent.
        decode: Makes the result of the answers, in order.
        timeout_s: Deadline of each message when the caller names none.
        reads_files: True when making a message may read files or compress an image.
    """

    method: str
    requests: Iterable[Message]
    decode: Callable[[Sequence[Any]], Result]
    timeout_s: float
    reads_files: bool = False


class Planner:
    """What all plans of one client share.

    Args:
        config: Its configuration.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self.revisions = Revisions()

    def plan(self, method: str, requests: Iterable[Message], read: Callable[[Sequence[Any]], Result]) -> Plan[Result]:
        """Return the plan of a call with the deadline that most calls have."""
        return Plan(method=method, requests=requests, decode=read, timeout_s=self.config.timeouts.call_s)


def truncation_number(truncation: Truncation) -> common_pb2.Truncation.ValueType:
    """Return the wire's number for what to do with a long text.

    Raises:
        ValueError: it is neither flag nor refuse.
    """
    if truncation not in _TRUNCATIONS:
        msg = "truncation must be flag or refuse"
        raise ValueError(msg)
    return _TRUNCATIONS[truncation]


def modality_number(modality: AnyModality) -> common_pb2.Modality.ValueType:
    """Return the wire's number for what a search answers with.

    Raises:
        ValueError: it is neither image, text nor any.
    """
    if modality == "any":
        return common_pb2.MODALITY_UNSPECIFIED
    if modality not in MODALITIES:
        msg = "modality must be image, text or any"
        raise ValueError(msg)
    return MODALITIES[modality]
