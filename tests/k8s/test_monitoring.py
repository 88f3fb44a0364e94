"""Alerts and dashboard ask for metrics that exist, by labels they have, and every alert says what to do."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import prometheus_client
import pytest
import ray
from prometheus_client.metrics import MetricWrapperBase

from isthmus.v1 import gateway_service_pb2
from tests.k8s.rendered import ROOT, Document, Rendered, render

_METRIC = re.compile(r"\b((?:isthmus|ray)_[a-z0-9_]+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_SUFFIX = re.compile(r"_(bucket|count|sum|total)$")
_MODULES = ("isthmus.gateway.metrics", "isthmus.index.metrics", "isthmus.runtime.base.metrics")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()


@pytest.fixture(scope="module")
def monitored() -> Rendered:
    """The production overlay."""
    return render(ROOT / "k8s" / "overlays" / "production")


def _alerts(rendered: Rendered) -> list[Document]:
    groups = rendered.one("PrometheusRule", "isthmus")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _expressions(rendered: Rendered) -> list[str]:
    dashboard = json.loads(rendered.one("ConfigMap", "isthmus-dashboard")["data"]["isthmus.json"])
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [alert["expr"] for alert in _alerts(rendered)] + targets


def _registered() -> dict[str, set[str]]:
    """Return the labels of every metric that gateway and index register, by its name without a suffix."""
    for module in _MODULES:
        importlib.import_module(module)
    collectors = list(prometheus_client.REGISTRY._collector_to_names)
    return {one._name: set(one._labelnames) for one in collectors if isinstance(one, MetricWrapperBase)}


def test_every_metric_that_is_asked_for_exists(monitored: Rendered) -> None:
    """Ours in the registry, with the labels that are asked for; Ray's in Ray's own source."""
    registered = _registered()
    serve = "\n".join(path.read_text() for path in (Path(ray.__path__[0]) / "serve" / "_private").glob("*.py"))
    asked = {match.groups() for text in _expressions(monitored) for match in _METRIC.finditer(text)}
    assert len(asked) >= 10
    for name, matchers in asked:
        if name.startswith("ray_"):
            assert f'"{name.removeprefix("ray_")}"' in serve, name
            continue
        family = name if name in registered else _SUFFIX.sub("", name)
        assert family in registered, name
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers or ""))
        assert labels <= registered[family], name


def test_the_labels_have_the_values_that_are_asked_for() -> None:
    """Calls are counted under the service's short name, `isthmus_serving` under the process's."""
    interceptor = (ROOT / "services/isthmus/runtime/rpc/interceptor.py").read_text()
    assert 'self._service = service.rpartition(".")[2]' in interceptor
    assert 'name="gateway"' in (ROOT / "services/isthmus/gateway/service.py").read_text()


def test_the_methods_that_are_asked_for_are_methods_of_the_service(monitored: Rendered) -> None:
    """An alert on a method that nobody serves would stay silent for ever."""
    services = gateway_service_pb2.DESCRIPTOR.services_by_name
    asked = [
        dict(_LABEL.findall(match[2] or "")) for text in _expressions(monitored) for match in _METRIC.finditer(text)
    ]
    named = [
        (matchers["service"], matchers["method"]) for matchers in asked if {"service", "method"} <= matchers.keys()
    ]
    assert named
    for service, method in named:
        assert method in services[service].methods_by_name


def test_every_alert_has_a_section_in_the_runbook_and_no_section_an_alert_that_is_gone(monitored: Rendered) -> None:
    """Headings and alerts are the same; every alert has a severity and says in words what happens."""
    alerts = _alerts(monitored)
    assert {alert["alert"] for alert in alerts} == set(re.findall(r"^### (Isthmus\w+)$", RUNBOOK, flags=re.MULTILINE))
    for alert in alerts:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["annotations"]["summary"]


def test_objectives_name_alerts_that_exist(monitored: Rendered) -> None:
    """docs/slo.md speaks of no alert that is gone."""
    named = set(re.findall(r"`(Isthmus\w+)`", (ROOT / "docs" / "slo.md").read_text()))
    assert named
    assert named <= {alert["alert"] for alert in _alerts(monitored)}


def test_what_is_scraped_has_the_port_that_is_named(monitored: Rendered) -> None:
    """Both monitors select what exists, and name a port that it has."""
    (monitor,) = monitored.of("ServiceMonitor")
    service = monitored.one("Service", "isthmus-gateway")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    (monitor,) = monitored.of("PodMonitor")
    for pod in monitored.pods():
        if pod.group is not None:
            assert monitor["spec"]["selector"]["matchLabels"].items() <= pod.labels.items()
            assert "metrics" in {port["name"] for port in pod.spec["containers"][0]["ports"]}
