"""S15 over the rendered YAML: every pod is hardened, every service says who may call it, nothing of Ray is exposed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.k8s.rendered import ALL, OVERLAYS, Document, PodSpec, Rendered, render

PINNED = re.compile(r"^[a-z0-9./-]+:\d+\.\d+\.\d+(-[a-z0-9.]+)?(@sha256:[0-9a-f]{64})?$")
SERVICE = "isthmus.v1.GatewayService"

everything = pytest.mark.parametrize("folder", ALL, ids=lambda folder: folder.name)
overlays = pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)


def _containers(folder: Path) -> list[tuple[str, PodSpec, Document]]:
    return [
        (f"{pod.name}/{container['name']}", pod, container)
        for pod in render(folder).pods()
        for container in pod.containers
    ]


@everything
def test_every_container_is_locked_down(folder: Path) -> None:
    """Non-root, read-only root with a bounded /tmp, no capability, no escalation, the runtime's seccomp profile."""
    for name, pod, container in _containers(folder):
        context, inside = pod.spec["securityContext"], container["securityContext"]
        assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, 1000, 1000), name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert inside == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec), name
        for volume in pod.spec["volumes"]:
            assert "hostPath" not in volume, name
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], name


@everything
def test_no_pod_gets_a_token_of_the_api_server(folder: Path) -> None:
    """Neither the pods nor their accounts mount one, and every workload has an account of its own."""
    rendered = render(folder)
    for pod in rendered.pods():
        assert pod.spec["automountServiceAccountToken"] is False, pod.name
        assert rendered.one("ServiceAccount", pod.spec["serviceAccountName"])["automountServiceAccountToken"] is False
    assert {pod.spec["serviceAccountName"] for pod in rendered.pods()} == {
        "isthmus-cache",
        "isthmus-gateway",
        "isthmus-gcs",
        "isthmus-ray",
    }


@everything
def test_every_container_is_bounded(folder: Path) -> None:
    """Requests and limits for CPU and memory, memory's equal; OpenMP has as many threads as the limit has CPUs."""
    for name, _, container in _containers(folder):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(requests) & set(limits), name
        assert requests["memory"] == limits["memory"], name
        threads = {entry["name"]: entry.get("value") for entry in container["env"]}["OMP_NUM_THREADS"]
        assert threads == limits["cpu"], name


@everything
def test_every_image_is_pinned(folder: Path) -> None:
    """By version, never `latest`."""
    for name, _, container in _containers(folder):
        assert PINNED.match(container["image"]), name


@everything
def test_every_container_is_probed(folder: Path) -> None:
    """Ready and alive apart; the gateway's probes name the service, for the empty name would admit calls too early."""
    for name, _, container in _containers(folder):
        assert container["readinessProbe"] != container["livenessProbe"], name
        if container["name"] == "gateway":
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container[probe]["grpc"] == {"port": ports["health"], "service": SERVICE}
            startup = container["startupProbe"]
            assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
            variables = render(folder).environment(container, {"isthmus-cache": {"password": "", "mac-key": ""}})
            assert variables["ISTHMUS_GATEWAY_HEALTH_LISTEN"].endswith(f":{ports['health']}")
        if container["name"].startswith("ray-"):
            assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 60


@everything
def test_the_gateway_drains_before_it_is_killed(folder: Path) -> None:
    """5 s before SIGTERM, 2 s NOT_SERVING, 8 s for running calls: within the 30 s it is given."""
    (gateway,) = (pod for pod in render(folder).pods() if pod.name == "Deployment/isthmus-gateway")
    (container,) = gateway.containers
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    variables = render(folder).environment(container, {"isthmus-cache": {"password": "", "mac-key": ""}})
    assert (
        5 + float(variables["ISTHMUS_GATEWAY_DRAIN_WAIT_S"]) + 8 < gateway.spec["terminationGracePeriodSeconds"] == 30
    )
    assert float(variables["ISTHMUS_GATEWAY_MAX_CONNECTION_AGE_S"]) == 300


@everything
def test_every_workload_has_a_budget_and_is_spread(folder: Path) -> None:
    """One PodDisruptionBudget matches each workload's pods, and they are spread over nodes."""
    rendered = render(folder)
    for pod in rendered.pods():
        budgets = [budget for budget in rendered.of("PodDisruptionBudget") if _selects(budget["spec"]["selector"], pod)]
        assert len(budgets) == 1, pod.name
        (spread,) = pod.spec["topologySpreadConstraints"]
        assert spread["topologyKey"] == "kubernetes.io/hostname"
        assert _selects(spread["labelSelector"], pod), pod.name
    for group in rendered.ray["rayClusterConfig"]["workerGroupSpecs"]:
        budget = rendered.one("PodDisruptionBudget", f"isthmus-ray-{group['groupName']}")["spec"]
        if group["groupName"] == "encoders" or group["replicas"] > 1:
            assert (budget.get("maxUnavailable"), budget.get("minAvailable")) == (None, 1)
        else:
            assert budget["maxUnavailable"] == 0, "a store's only reader, or its writer, is moved by hand only"


@everything
def test_services_are_headless(folder: Path) -> None:
    """A client's one connection would stay with one pod behind a cluster address."""
    assert [service["metadata"]["name"] for service in render(folder).of("Service")] == [
        "isthmus-cache",
        "isthmus-gateway",
        "isthmus-gcs",
        "isthmus-ray-encoders",
        "isthmus-ray-index",
        "isthmus-ray-writer",
    ]
    assert {service["spec"]["clusterIP"] for service in render(folder).of("Service")} == {"None"}


@overlays
def test_what_no_policy_allows_is_denied(folder: Path) -> None:
    """One policy denies all, both ways; each workload has one that names peers and ports, both ways."""
    rendered = render(folder)
    deny = rendered.one("NetworkPolicy", "isthmus-deny-all")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for pod in rendered.pods():
        policies = [
            policy["spec"]
            for policy in rendered.of("NetworkPolicy")
            if policy["spec"]["podSelector"] and _selects(policy["spec"]["podSelector"], pod)
        ]
        assert any(set(policy["policyTypes"]) == {"Ingress", "Egress"} for policy in policies), pod.name
        for policy in policies:
            for way, peer in (("ingress", "from"), ("egress", "to")):
                for rule in policy.get(way, []):
                    assert rule[peer], f"{pod.name}: a rule without peers lets everybody in or out"
                    within = rule[peer] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "ray"}}}]
                    assert rule.get("ports") or (within and pod.group), f"{pod.name}: a rule names its ports"


@overlays
def test_who_may_call_whom(folder: Path) -> None:
    """The whole table of calls inside the namespace; anything else is a change that somebody must mean."""
    calls: set[tuple[str, str, int]] = set()
    rendered = render(folder)
    pods = list(rendered.pods())
    for policy in rendered.of("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            for peer in rule["from"]:
                if "namespaceSelector" in peer:
                    continue
                for caller in pods:
                    for called in pods:
                        if _selects(peer["podSelector"], caller) and _selects(policy["spec"]["podSelector"], called):
                            calls |= {(caller.name, called.name, port["port"]) for port in rule.get("ports", [])}
    assert calls == {
        ("Deployment/isthmus-gateway", "Deployment/isthmus-cache", 6379),
        ("Deployment/isthmus-gateway", "RayService/encoders", 9000),
        ("Deployment/isthmus-gateway", "RayService/head", 9000),
        ("Deployment/isthmus-gateway", "RayService/index", 9000),
        ("Deployment/isthmus-gateway", "RayService/writer", 9000),
        ("RayService/head", "StatefulSet/isthmus-gcs", 6379),
    }


@everything
def test_the_dashboard_is_not_exposed(folder: Path) -> None:
    """It listens on loopback, no ingress leads to it, and the guard passes on the applications and health only."""
    rendered = render(folder)
    head = rendered.ray["rayClusterConfig"]["headGroupSpec"]
    assert head["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    assert head["enableIngress"] is False
    assert head["serviceType"] == "ClusterIP"
    assert not rendered.of("Ingress")
    guard = _guard(rendered)
    assert "http-request deny deny_status 403 unless { method GET PUT } applications or { method GET } health" in guard
    assert f"127.0.0.1:{head['rayStartParams']['dashboard-port']}" in guard


@everything
def test_ray_asks_for_a_token_and_reflection_is_off(folder: Path) -> None:
    """Every Ray container, by a Secret; Serve's gRPC describes itself to nobody."""
    rendered = render(folder)
    assert rendered.ray["rayClusterConfig"]["authOptions"] == {"mode": "token", "secretName": "isthmus-ray-auth"}
    assert rendered.serve_config["grpc_options"]["enable_reflection"] is False
    for pod in rendered.pods():
        if pod.group is None:
            continue
        entries = {entry["name"]: entry for entry in pod.spec["containers"][0]["env"]}
        assert entries["RAY_AUTH_MODE"]["value"] == "token"
        secret = entries["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": "isthmus-ray-auth", "key": "auth_token"}


@everything
def test_rays_redis_is_not_the_cache(folder: Path) -> None:
    """Two servers with two Secrets: the cache evicts and forgets, Ray's keeps everything on disk."""
    rendered = render(folder)
    options = rendered.ray["rayClusterConfig"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "isthmus-gcs:6379"
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] == "isthmus-gcs"
    cache, gcs = (_redis(rendered, name) for name in ("isthmus-cache", "isthmus-gcs"))
    assert ("maxmemory-policy allkeys-lfu" in cache, 'save ""' in cache, "appendonly no" in cache) == (True,) * 3
    assert "user default off" in cache
    assert ("maxmemory-policy noeviction" in gcs, "appendonly yes" in gcs) == (True, True)
    (claim,) = rendered.one("StatefulSet", "isthmus-gcs")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


@everything
def test_the_caches_user_may_do_what_the_gateway_does_and_no_more(folder: Path) -> None:
    """Nothing is allowed but by name: no keys, no scan, no flush, no scripts, no configuration."""
    (container,) = render(folder).one("Deployment", "isthmus-cache")["spec"]["template"]["spec"]["containers"]
    rules = container["args"]
    assert "-@all" in rules
    assert set(rules[rules.index("-@all") + 1 :]) == {
        "+auth",
        "+del",
        "+get",
        "+hello",
        "+mget",
        "+ping",
        "+select",
        "+set",
    }


def _selects(selector: Document, pod: PodSpec) -> bool:
    matches = all(pod.labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return matches and all(
        (pod.labels.get(term["key"]) in term["values"]) == (term["operator"] == "In")
        for term in selector.get("matchExpressions", [])
    )


def _config(rendered: Rendered, pod: PodSpec, volume: str) -> dict[str, str]:
    (name,) = (entry["configMap"]["name"] for entry in pod.spec["volumes"] if entry["name"] == volume)
    data: dict[str, str] = rendered.one("ConfigMap", name)["data"]
    return data


def _guard(rendered: Rendered) -> str:
    (head,) = (pod for pod in rendered.pods() if pod.name == "RayService/head")
    return _config(rendered, head, "guard")["haproxy.cfg"]


def _redis(rendered: Rendered, name: str) -> str:
    (pod,) = (pod for pod in rendered.pods() if pod.name.endswith(f"/{name}"))
    return _config(rendered, pod, "config")["redis.conf"]
