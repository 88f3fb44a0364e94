"""Write what Kubernetes needs of the Serve config: a kustomize component a variant, and the variables of Ray's pods.

    python -m tools.render_serve_config           rewrite k8s/serve/<variant>/ and k8s/base/ray/ray.env
    python -m tools.render_serve_config --check   exit 1 when they are not what they should be

The settings are the layers in k8s/serve/layers, put together as k8s/serve/variants.yaml says; the config is the one
that `isthmus.deploy.serve_config` builds of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from isthmus.deploy.serve_config import build_serve_config, ray_environment
from isthmus.deploy.serve_settings import ServeSettings

__all__ = ["outputs", "settings_of", "variants"]

K8S = Path(__file__).resolve().parent.parent / "k8s"
NOTICE = "# Written by `python -m tools.render_serve_config`; edit k8s/serve/layers instead.\n"
COMPONENT = """apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
  - path: rayservice.yaml
"""


def variants() -> dict[str, list[str]]:
    """Return the layers of every variant."""
    layers: dict[str, list[str]] = yaml.safe_load((K8S / "serve" / "variants.yaml").read_text())
    return layers


def settings_of(variant: str) -> ServeSettings:
    """Return the settings that a variant's layers add up to."""
    merged: dict[str, Any] = {}
    for layer in variants()[variant]:
        merged = _merged(merged, yaml.safe_load((K8S / "serve" / "layers" / f"{layer}.yaml").read_text()))
    return ServeSettings.load(**merged)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(under)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = _merged(both[key], value) if nested else value
    return both


def outputs() -> dict[Path, str]:
    """Return every file this tool writes, with its text."""
    files: dict[Path, str] = {}
    for variant in variants():
        folder = K8S / "serve" / variant
        files[folder / "kustomization.yaml"] = NOTICE + COMPONENT
        files[folder / "rayservice.yaml"] = NOTICE + _patch(settings_of(variant))
    # The same for all variants: layers may not differ in what every node must know before Ray starts.
    environment = ray_environment(settings_of("base"))
    files[K8S / "base" / "ray" / "ray.env"] = NOTICE + "".join(f"{k}={v}\n" for k, v in sorted(environment.items()))
    return files


def _patch(settings: ServeSettings) -> str:
    config = yaml.safe_dump(build_serve_config(settings), sort_keys=False, width=1000)
    indented = "".join(f"    {line}\n" for line in config.splitlines())
    return "apiVersion: ray.io/v1\nkind: RayService\nmetadata:\n  name: isthmus\nspec:\n  serveConfigV2: |\n" + indented


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Write the Serve config of every variant.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is not current")
    check = parser.parse_args().check
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(path.relative_to(K8S.parent))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(outputs()[path])
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
