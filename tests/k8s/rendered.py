"""What kustomize makes of an overlay or a combination, taken apart."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ALL", "COMBINATIONS", "K8S", "OVERLAYS", "ROOT", "Document", "PodSpec", "Rendered", "render"]

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.parent for path in K8S.glob("overlays/*/kustomization.yaml"))
COMBINATIONS = sorted(path.parent for path in Path(__file__).parent.glob("combinations/*/kustomization.yaml"))
ALL = [*OVERLAYS, *COMBINATIONS]

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod template, wherever it stands.

    Attributes:
        name: `Kind/name`, and the Ray group.
        labels: Labels of its pods.
        spec: The pod's spec.
        group: The head or worker group it belongs to; None outside a RayService.
    """

    name: str
    labels: dict[str, str]
    spec: Document
    group: Document | None = None

    @property
    def containers(self) -> list[Document]:
        """All of them, those that run first included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One rendered kustomization."""

    documents: list[Document] = field(repr=False)

    def of(self, kind: str) -> list[Document]:
        """Return the documents of a kind."""
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str, name: str) -> Document:
        """Return the document of that kind and name."""
        (found,) = (document for document in self.of(kind) if document["metadata"]["name"] == name)
        return found

    @property
    def ray(self) -> Document:
        """The RayService's spec."""
        spec: Document = self.one("RayService", "isthmus")["spec"]
        return spec

    @property
    def serve_config(self) -> Document:
        """The Serve config in the RayService."""
        config: Document = yaml.safe_load(self.ray["serveConfigV2"])
        return config

    def pods(self) -> Iterator[PodSpec]:
        """Yield every pod template, those inside the RayService included."""
        for document in self.documents:
            name = f"{document['kind']}/{document['metadata']['name']}"
            if document["kind"] in {"Deployment", "StatefulSet"}:
                template = document["spec"]["template"]
                yield PodSpec(name, template["metadata"]["labels"], template["spec"])
        cluster = self.ray["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            template = group["template"]
            label = f"RayService/{group.get('groupName', 'head')}"
            yield PodSpec(label, template["metadata"]["labels"], template["spec"], group)

    def environment(self, container: Document, secrets: dict[str, dict[str, str]]) -> dict[str, str]:
        """Return a container's variables as kubelet would make them: ConfigMaps, Secrets, then `$(NAME)` expanded."""
        variables: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                variables |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for entry in container.get("env", []):
            if "valueFrom" in entry:
                reference = entry["valueFrom"]["secretKeyRef"]
                variables[entry["name"]] = secrets[reference["name"]][reference["key"]]
            else:
                variables[entry["name"]] = expand(str(entry["value"]), variables)
        return variables


def expand(text: str, variables: dict[str, str]) -> str:
    """Replace `$(NAME)` as Kubernetes does."""
    for name, value in variables.items():
        text = text.replace(f"$({name})", value)
    return text


@functools.cache
def render(folder: Path) -> Rendered:
    """Render a kustomization, offline.

    Raises:
        RuntimeError: kustomize refuses it; the message is what it says.
    """
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Rendered(list(yaml.safe_load_all(done.stdout)))
