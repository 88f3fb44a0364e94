"""The Serve config in the RayService is the one `isthmus.deploy` builds, and the pods offer what it asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.deploy.serve_config import build_serve_config, ray_environment
from tests.k8s.rendered import ALL, Document, PodSpec, Rendered, render
from tools.render_serve_config import outputs, settings_of, variants

ADDRESS = re.compile(r"serve://(isthmus-ray-\w+):9000/(\w+)")

everything = pytest.mark.parametrize("folder", ALL, ids=lambda folder: folder.name)


def _variant(folder: Path) -> str:
    components = yaml.safe_load((folder / "kustomization.yaml").read_text())["components"]
    (variant,) = (component.rpartition("/")[2] for component in components if "/serve/" in component)
    assert components[-1].endswith(f"/serve/{variant}"), "a variant must come last, or another component overrides it"
    return str(variant)


@everything
def test_the_rayservice_holds_the_config_that_deploy_builds(folder: Path) -> None:
    """Equal, value by value, to `build_serve_config` of the variant's settings."""
    assert render(folder).serve_config == build_serve_config(settings_of(_variant(folder)))


def test_what_the_tool_writes_is_current() -> None:
    """Every generated file is byte for byte what the tool would write now."""
    assert [str(path) for path, text in outputs().items() if path.read_text() != text] == []


@pytest.mark.parametrize("variant", variants())
def test_every_node_starts_ray_with_what_the_config_needs(variant: str) -> None:
    """The variables on Ray's pods are those of the variant's settings; HAProxy and token authentication are on."""
    rendered = render(next(folder for folder in ALL if _variant(folder) == variant))
    wanted = ray_environment(settings_of(variant))
    assert wanted["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert wanted["RAY_AUTH_MODE"] == "token"
    for pod in _ray(rendered):
        secrets = {"isthmus-ray-auth": {"auth_token": "t"}}
        environment = rendered.environment(pod.spec["containers"][0], secrets)
        assert wanted.items() <= environment.items()


@everything
def test_the_applications_fit_on_the_pods(folder: Path) -> None:
    """For every group: all replicas at their most, and the new one of a rolling update, within what the pods offer."""
    rendered = render(folder)
    offers = {pod.name.partition("/")[2]: _offer(pod) for pod in _ray(rendered)}
    assert offers["head"]["CPU"] == 0
    asked: dict[str, list[tuple[Document, int]]] = {}
    for application in rendered.serve_config["applications"]:
        (deployment,) = application["deployments"]
        (resource,) = deployment["ray_actor_options"]["resources"]
        group = next(name for name, offer in offers.items() if resource in offer)
        most = deployment.get("autoscaling_config", {}).get("max_replicas") or deployment["num_replicas"]
        asked.setdefault(group, []).append((deployment, most))
        surge = 1 if deployment["max_surge_percent"] else 0
        slots = offers[group]["pods"] * deployment.get("max_replicas_per_node", most + surge)
        assert slots >= most + surge, f"{deployment['name']}: a rolling update finds no node for a new replica"
    for group, deployments in asked.items():
        for kind, option in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
            needs = [(deployment["ray_actor_options"][option], most) for deployment, most in deployments]
            total = sum(need * most for need, most in needs) + max(need for need, _ in needs)
            assert total <= offers[group]["pods"] * offers[group][kind], f"{group} offers too little {kind}"


@everything
def test_every_node_behind_a_name_holds_what_is_dialed_there(folder: Path) -> None:
    """The gateway's five addresses, and alignment's of the searchers: no call enters a ready node that must pass it on.

    A node without replicas is not ready, so a group of one application is right by itself, and so is a group of one
    node. In any other, so many replicas must run that the other nodes cannot hold them all.
    """
    rendered = render(folder)
    offers = {pod.name.partition("/")[2]: _offer(pod) for pod in _ray(rendered)}
    applications = {application["name"]: application for application in rendered.serve_config["applications"]}
    gateway = rendered.one("Deployment", "isthmus-gateway")["spec"]["template"]["spec"]["containers"][0]
    secrets = {"isthmus-cache": {"password": "", "mac-key": ""}}
    dialed = [value for value in rendered.environment(gateway, secrets).values() if value.startswith("serve://")]
    assert len(dialed) == len(applications) == 5
    together: dict[str, set[str]] = {}
    for address in (*dialed, applications["alignment"]["args"]["index_search_address"]):
        parts = ADDRESS.fullmatch(address)
        assert parts is not None, address
        group = rendered.one("Service", parts[1])["spec"]["selector"]["isthmus/ray-group"]
        (resource,) = applications[parts[2]]["deployments"][0]["ray_actor_options"]["resources"]
        assert [name for name, offer in offers.items() if resource in offer] == [group], address
        together.setdefault(group, set()).add(parts[2])
    assert {name for names in together.values() for name in names} == set(applications)
    for group, names in together.items():
        if len(names) == 1:
            continue
        others = offers[group]["pods"] - 1
        for name in names:
            (deployment,) = applications[name]["deployments"]
            least = deployment.get("autoscaling_config", {}).get("min_replicas") or deployment["num_replicas"]
            most_elsewhere = others * deployment.get("max_replicas_per_node", least)
            assert least > most_elsewhere, f"{name}: a node of {group} may be left without one"


@everything
def test_there_is_one_pod_for_the_writer(folder: Path) -> None:
    """Whatever the overlay replicates: one node of its group, one replica, and never a second beside it."""
    rendered = render(folder)
    group = next(one for one in rendered.ray["rayClusterConfig"]["workerGroupSpecs"] if one["groupName"] == "writer")
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (1, 1, 1)
    writer = next(one for one in rendered.serve_config["applications"] if one["name"] == "index_writer")
    (deployment,) = writer["deployments"]
    assert (deployment["num_replicas"], deployment["max_surge_percent"]) == (1, 0)


def test_on_gpus_both_encoders_ask_for_a_share_and_nothing_else_does() -> None:
    """Encoders: a quarter of a GPU, CUDA, bf16. Pods: a whole GPU, on GPU nodes only. Index and head: none."""
    for name in ("gpu-on-a-volume", "gpu-high-availability", "production"):
        rendered = render(next(folder for folder in ALL if folder.name == name))
        for application in rendered.serve_config["applications"]:
            (deployment,) = application["deployments"]
            encodes = application["name"].endswith("_encoder")
            assert deployment["ray_actor_options"]["num_gpus"] == (0.25 if encodes else 0.0)
            if encodes:
                assert (application["args"]["device"], application["args"]["precision"]) == ("cuda", "bf16")
                assert deployment["ray_actor_options"]["resources"] == {"isthmus_encoder": 0.1}
        for pod in _ray(rendered):
            limits = pod.spec["containers"][0]["resources"]["limits"]
            if pod.name == "RayService/encoders":
                assert limits["nvidia.com/gpu"] == 1
                assert pod.spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
                assert pod.spec["tolerations"][0]["key"] == "nvidia.com/gpu"
                assert pod.spec["containers"][0]["image"].endswith("-gpu")
            else:
                assert "nvidia.com/gpu" not in limits


@everything
def test_the_store_is_where_the_pods_can_reach_it(folder: Path) -> None:
    """A folder is on the claim, which index and writer mount on one machine; an object store has none."""
    rendered = render(folder)
    pods = [pod for pod in _ray(rendered) if pod.name in {"RayService/index", "RayService/writer"}]
    assert len(pods) == 2
    arguments = {application["name"]: application["args"] for application in rendered.serve_config["applications"]}
    stores = {arguments[name]["store_dir"] for name in ("index_writer", "index_search")}
    (store,) = stores
    aligners = arguments["alignment"]["aligners_dir"]
    if rendered.of("PersistentVolumeClaim"):
        assert all(path.startswith("/data/") for path in (store, aligners))
        for pod in pods:
            assert "/data" in [mount["mountPath"] for mount in pod.spec["containers"][0]["volumeMounts"]]
            assert pod.group is not None
            assert pod.group["maxReplicas"] == 1
            (beside,) = pod.spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert beside["topologyKey"] == "kubernetes.io/hostname"
            # Itself among them: else the first of the two would wait for the other for ever.
            (term,) = beside["labelSelector"]["matchExpressions"]
            assert term == {"key": "isthmus/ray-group", "operator": "In", "values": ["index", "writer"]}
    else:
        assert all(path.startswith("s3://") for path in (store, aligners))
        reached = rendered.one("NetworkPolicy", "isthmus-index-to-object-store")["spec"]["podSelector"]
        assert reached["matchExpressions"][0]["values"] == ["index", "writer"]
        for pod in pods:
            sources = [source.get("secretRef", {}).get("name") for source in pod.spec["containers"][0]["envFrom"]]
            assert "isthmus-store" in sources


def _ray(rendered: Rendered) -> list[PodSpec]:
    return [pod for pod in rendered.pods() if pod.group is not None]


def _offer(pod: PodSpec) -> dict[str, Any]:
    """Return what KubeRay tells Ray that a pod has: its limits, unless start parameters say otherwise."""
    assert pod.group is not None
    parameters = pod.group["rayStartParams"]
    limits = pod.spec["containers"][0]["resources"]["limits"]
    custom = json.loads(json.loads(parameters["resources"])) if "resources" in parameters else {}
    return {
        "CPU": float(parameters.get("num-cpus", limits["cpu"])),
        "GPU": float(limits.get("nvidia.com/gpu", 0)),
        "pods": pod.group.get("minReplicas", 1),
        **custom,
    }
