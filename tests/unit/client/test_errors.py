"""Every failure has one class, and keeps what the mesh said about it."""

from __future__ import annotations

import inspect
from typing import Any

import grpc
import pytest

from isthmus.client import Client, IsthmusError, UnavailableError, errors
from isthmus.client.errors import error_class
from isthmus.client.status import from_item_error, from_rpc_error
from isthmus.runtime.base import errors as served
from isthmus.v1 import common_pb2
from tests.unit.client.small_gateway import Running, SmallGateway

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
CLASSES: list[type[IsthmusError]] = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, IsthmusError) and value is not IsthmusError
]


SERVED: list[type[served.IsthmusError]] = [
    value
    for value in vars(served).values()
    if inspect.isclass(value) and issubclass(value, served.IsthmusError) and value is not served.IsthmusError
]


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_every_status_code_has_a_class(code: grpc.StatusCode) -> None:
    """Each code of gRPC, found by reflection, is listed by exactly one class."""
    assert [cls for cls in CLASSES if code.name in cls.codes] == [error_class(code.name)]


def test_every_class_stands_for_a_code() -> None:
    """No class of the tree is left that nothing raises."""
    known = {code.name for code in CODES}
    assert all(cls.codes and set(cls.codes) <= known for cls in CLASSES)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The module's docstring draws each class, and the first line of each explains it."""
    assert errors.__doc__ is not None
    drawn: list[type[IsthmusError]] = [IsthmusError, *CLASSES]
    for cls in drawn:
        assert f" {cls.__name__} " in errors.__doc__.replace("──", " "), cls.__name__


@pytest.mark.parametrize("raised", SERVED, ids=[cls.__name__ for cls in SERVED])
def test_every_domain_error_arrives_as_the_class_of_its_code(
    raised: type[served.IsthmusError], client: Client, gateway: SmallGateway
) -> None:
    """Whatever class of `runtime.base.errors` a service raises, the client raises the one with the same code."""
    failure: served.IsthmusError = served.InternalError("a value nobody may see")
    if raised is not served.InternalError:
        failure = raised("the thing is wrong", reason="INVALID_FIELD", metadata={"field": "thing"})
    gateway.failures["ListAligners"].extend([failure] * 3)  # UNAVAILABLE is retried
    with pytest.raises(error_class(raised.code)) as caught:
        client.list_aligners()
    assert caught.value.code == raised.code
    if raised is served.InternalError:
        assert (caught.value.reason, caught.value.message) == ("INTERNAL", "internal error")
    else:
        assert (caught.value.reason, caught.value.message) == ("INVALID_FIELD", "the thing is wrong")
        assert caught.value.metadata == {"field": "thing"}


def test_an_error_keeps_the_request_id_and_when_to_try_again(client: Client, gateway: SmallGateway) -> None:
    """The id that finds the call in the mesh's logs, and the pause the mesh asks for, travel with the exception."""
    gateway.failures["GetStatus"].append(
        served.ResourceExhaustedError("the queue is full", reason="QUEUE_FULL", retry_after_s=1.5)
    )
    with pytest.raises(errors.ResourceExhaustedError) as caught:
        client.status()
    assert caught.value.retry_after_s == 1.5
    assert len(caught.value.request_id) == 32
    assert str(caught.value) == "the queue is full (QUEUE_FULL)"


def test_a_deadline_has_a_request_id_although_nobody_answered(client: Client, gateway: SmallGateway) -> None:
    """The client makes the id, so a call that never came back can be looked up too."""
    gateway.delay_s["GetStatus"] = 5
    with pytest.raises(errors.DeadlineExceededError) as caught:
        client.status(timeout_s=0.05)
    assert caught.value.request_id
    assert caught.value.reason == "DEADLINE_EXCEEDED"


def test_a_closed_port_is_unavailable_without_a_reason(server: Running) -> None:
    """Nobody listens: UNAVAILABLE, an empty reason, and the address in the message."""
    server.stop()
    with Client(server.address) as client, pytest.raises(UnavailableError, match=server.address) as caught:
        client.status()
    assert caught.value.reason == ""


def test_a_message_over_the_limit_says_so(server: Running, gateway: SmallGateway) -> None:
    """What gRPC itself refuses for its size is RESOURCE_EXHAUSTED, reason MESSAGE_TOO_LARGE."""
    with Client(server.address) as client:
        client.create_collection("c")
        with pytest.raises(errors.ResourceExhaustedError) as caught:
            client.search("c", image=bytes(33 * 1024 * 1024))
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert gateway.calls["SearchItems"] == 0


class _DamagedCall(grpc.RpcError):
    """A failed call whose details are not what they should be."""

    def code(self) -> grpc.StatusCode:
        """Return a code."""
        return grpc.StatusCode.ABORTED

    def details(self) -> str:
        """Return no text."""
        return ""

    def trailing_metadata(self) -> Any:
        """Return bytes that are no status."""
        return (("grpc-status-details-bin", b"\xff\xff\xff"),)


def test_damaged_details_do_not_hide_the_code() -> None:
    """Details that cannot be read leave code and class as they are."""
    error = from_rpc_error(_DamagedCall(), address="127.0.0.1:1", request_id="r")
    assert isinstance(error, errors.AbortedError)
    assert (error.message, error.request_id) == ("the call failed without a message", "r")


def test_an_item_error_of_a_newer_server_is_still_readable() -> None:
    """Codes and reasons that this client does not know become UNKNOWN and UNSPECIFIED; the message stays."""
    message = common_pb2.ItemError(index=3, code=999, message="a new way to fail")
    message.MergeFromString(b"\x18\xe7\x07")  # reason = 999
    error = from_item_error(message, index=7, item_id="x")
    assert (error.index, error.id, error.code, error.reason) == (7, "x", "UNKNOWN", "UNSPECIFIED")
    assert isinstance(error.to_exception(), errors.InternalError)
