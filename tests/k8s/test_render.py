"""Every overlay and combination renders, and the API server would take it."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.k8s.rendered import ALL, K8S, OVERLAYS, ROOT, render

KUBERNETES = "1.34"
CRDS = {"ray.io/v1", "monitoring.coreos.com/v1"}
# The fields of KubeRay 1.6 that we use, from its API reference: a misspelt one would be dropped by the API server.
RAY_SERVICE = {
    "excludeHeadPodFromServeSvc",
    "rayClusterConfig",
    "rayClusterDeletionDelaySeconds",
    "serveConfigV2",
    "upgradeStrategy",
}
RAY_CLUSTER = {
    "authOptions",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "rayVersion",
    "workerGroupSpecs",
}
HEAD = {"enableIngress", "rayStartParams", "serviceType", "template"}
WORKERS = {"groupName", "maxReplicas", "minReplicas", "rayStartParams", "replicas", "template"}

everything = pytest.mark.parametrize("folder", ALL, ids=lambda folder: folder.name)


@everything
def test_core_kinds_are_valid(folder: Path) -> None:
    """Every document of a built-in kind validates strictly against the schemas of Kubernetes."""
    checked = 0
    for document in render(folder).documents:
        if document["apiVersion"] not in CRDS:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            checked += 1
    assert checked >= 20


@everything
def test_pods_in_the_rayservice_are_valid(folder: Path) -> None:
    """The pod templates that only KubeRay will make pods of validate as pods."""
    pods = [pod for pod in render(folder).pods() if pod.group is not None]
    assert [pod.name for pod in pods] == [f"RayService/{name}" for name in ("head", "encoders", "index", "writer")]
    for pod in pods:
        document = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "x", "labels": pod.labels},
            "spec": pod.spec,
        }
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@everything
def test_the_rayservice_holds_fields_of_kuberay_only(folder: Path) -> None:
    """No field is misspelt, start parameters are strings, and the head has the port that KubeRay looks for."""
    spec = render(folder).ray
    cluster = spec["rayClusterConfig"]
    assert set(spec) == RAY_SERVICE
    assert set(cluster) == RAY_CLUSTER
    assert set(cluster["headGroupSpec"]) == HEAD
    assert all(set(group) == WORKERS for group in cluster["workerGroupSpecs"])
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert "serve" in {port["name"] for port in cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]}


@everything
def test_names_that_are_referred_to_exist(folder: Path) -> None:
    """Every ConfigMap, ServiceAccount and claim that a pod names is rendered too, digest and all."""
    rendered = render(folder)
    names = {
        kind: {document["metadata"]["name"] for document in rendered.of(kind)}
        for kind in ("ConfigMap", "ServiceAccount", "PersistentVolumeClaim")
    }
    for pod in rendered.pods():
        assert pod.spec["serviceAccountName"] in names["ServiceAccount"]
        for volume in pod.spec["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in names["ConfigMap"]
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in names["PersistentVolumeClaim"]
        for container in pod.containers:
            for source in container.get("envFrom", []):
                assert source.get("configMapRef", {}).get("name", "") in names["ConfigMap"] | {""}


def test_no_secret_is_rendered() -> None:
    """Values of Secrets are in no overlay: docs/runbook.md says how they are made."""
    assert [secret for folder in ALL for secret in render(folder).of("Secret")] == []


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)
def test_an_overlay_only_chooses(folder: Path) -> None:
    """At most 12 lines, no patches, no resources but the base."""
    text = (folder / "kustomization.yaml").read_text()
    document = yaml.safe_load(text)
    assert len(text.splitlines()) <= 12
    assert set(document) == {"apiVersion", "kind", "resources", "components"}
    assert document["resources"] == ["../../base"]


def test_every_component_and_variant_is_in_a_combination() -> None:
    """Nothing under k8s/components or k8s/serve goes unrendered."""
    used = {
        (folder / component).resolve()
        for folder in ALL
        for component in yaml.safe_load((folder / "kustomization.yaml").read_text())["components"]
    }
    there = {path.parent for pattern in ("components", "serve") for path in K8S.glob(f"{pattern}/*/kustomization.yaml")}
    assert there == used, {str(path.relative_to(ROOT)) for path in there ^ used}
