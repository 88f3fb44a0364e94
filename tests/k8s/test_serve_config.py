"""The Serve config in the RayService is the one `isthmus.deploy` builds, and the pods offer what it asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.deploy.serve_config import build_serve_config, ray_environment
from tests.k8s.rendered import ALL, Document, PodSpec, Rendered, render
from tools.render_serve_config import outputs, settings_of, variants

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
    """A folder is on the claim's mount; an object store has no claim, and every index application names the same."""
    rendered = render(folder)
    index = next(pod for pod in _ray(rendered) if pod.name == "RayService/index")
    mounts = [mount["mountPath"] for mount in index.spec["containers"][0]["volumeMounts"]]
    arguments = {application["name"]: application["args"] for application in rendered.serve_config["applications"]}
    stores = {arguments[name]["store_dir"] for name in ("index_writer", "index_search")}
    (store,) = stores
    aligners = arguments["alignment"]["aligners_dir"]
    if rendered.of("PersistentVolumeClaim"):
        assert "/data" in mounts
        assert all(path.startswith("/data/") for path in (store, aligners))
        assert index.group is not None
        assert index.group["maxReplicas"] == 1
    else:
        assert all(path.startswith("s3://") for path in (store, aligners))


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
