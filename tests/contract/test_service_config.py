"""The service config that ships with the protos follows from what the protos say of each method."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor

from isthmus.v1 import gateway_service_pb2

ROOT = Path(__file__).resolve().parents[2]
SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
METHODS = list(SERVICE.methods)
_NO_SIDE_EFFECTS = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS


def _config() -> dict[str, Any]:
    text = (resources.files("isthmus.v1") / "grpc_service_config.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _entries() -> dict[str, dict[str, Any]]:
    """Return the method config of each method of the public API."""
    found: dict[str, dict[str, Any]] = {}
    for methods in _config()["methodConfig"]:
        for name in methods["name"]:
            assert name["service"] == SERVICE.full_name
            assert name["method"] not in found, f"{name['method']} is configured twice"
            found[name["method"]] = methods
    return found


def _is_read(method: MethodDescriptor) -> bool:
    return method.GetOptions().idempotency_level == _NO_SIDE_EFFECTS


def _has_request_id(method: MethodDescriptor) -> bool:
    return "request_id" in method.input_type.fields_by_name


def test_every_method_is_configured_and_nothing_else() -> None:
    """A new method without an entry fails here, and so does an entry for a method that is gone."""
    assert sorted(_entries()) == sorted(method.name for method in METHODS)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_has_a_timeout(method: MethodDescriptor) -> None:
    """No call of a client that takes the config can hang for ever."""
    assert re.fullmatch(r"[1-9]\d*(\.\d+)?s", _entries()[method.name]["timeout"])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_mutation_carries_a_request_id(method: MethodDescriptor) -> None:
    """A method either has no side effects, or can be told that this is the same mutation again."""
    assert _is_read(method) != _has_request_id(method)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_only_what_can_do_no_harm_twice_is_retried(method: MethodDescriptor) -> None:
    """Reads and mutations with a request id are retried; streams of requests never are, gRPC cannot replay them."""
    streams = method.client_streaming or method.server_streaming
    retried = "retryPolicy" in _entries()[method.name]
    assert retried == ((_is_read(method) or _has_request_id(method)) and not streams)


def test_retries_are_few_and_only_after_unavailable() -> None:
    """At most three attempts, on UNAVAILABLE alone, with a pause that grows."""
    policies = [entry["retryPolicy"] for entry in _entries().values() if "retryPolicy" in entry]
    assert policies
    for policy in policies:
        assert policy["maxAttempts"] <= 3
        assert policy["retryableStatusCodes"] == ["UNAVAILABLE"]
        assert policy["backoffMultiplier"] > 1


def test_an_outage_is_not_amplified() -> None:
    """Retries are throttled: without this a total outage is multiplied by the number of attempts."""
    assert _config()["retryThrottling"] == {"maxTokens": 10, "tokenRatio": 0.1}


def test_the_shipped_copy_is_the_source() -> None:
    """The file beside the generated code is the one beside the protos."""
    source = ROOT / "protos" / "isthmus" / "v1" / "grpc_service_config.json"
    assert json.loads(source.read_text()) == _config()


def test_grpc_accepts_the_config() -> None:
    """A channel with it fails only because nobody listens; with a config gRPC cannot read it is INVALID_ARGUMENT."""
    with grpc.insecure_channel("127.0.0.1:9", options=[("grpc.service_config", json.dumps(_config()))]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE.full_name}/GetStatus")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
