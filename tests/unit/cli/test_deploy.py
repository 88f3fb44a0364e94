"""`isthmus deploy` prints what a cluster is told."""

from __future__ import annotations

from pathlib import Path

import yaml

from isthmus.deploy.serve_config import build_serve_config
from isthmus.deploy.serve_settings import ServeSettings
from tests.unit.cli.conftest import Isthmus


def test_the_serve_config_is_printed_as_yaml(isthmus: Isthmus, tmp_path: Path) -> None:
    """Stdout holds the document that `isthmus.deploy` builds from the same settings, and nothing else."""
    path = tmp_path / "mesh.yaml"
    path.write_text("grpc_port: 9100\n")
    done = isthmus("deploy", "serve-config", "--settings", str(path))
    assert done.status == 0
    assert yaml.safe_load(done.stdout) == build_serve_config(ServeSettings.load(grpc_port=9100))


def test_the_variables_of_ray_are_printed(isthmus: Isthmus) -> None:
    """One NAME=VALUE a line, as an environment file takes them."""
    done = isthmus("deploy", "ray-environment")
    assert done.status == 0
    assert "RAY_AUTH_MODE=token" in done.stdout.splitlines()


def test_a_bad_file_is_one_line(isthmus: Isthmus, tmp_path: Path) -> None:
    """A value out of bounds names its field; a file that is not there is said to be so."""
    path = tmp_path / "mesh.yaml"
    path.write_text("text_encoder: {num_cpus: 0}\n")
    done = isthmus("deploy", "serve-config", "--settings", str(path))
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith("error: text_encoder.num_cpus: ")
    done = isthmus("deploy", "serve-config", "--settings", str(tmp_path / "missing.yaml"))
    assert (done.status, done.stdout) == (1, "")
    assert "UNREADABLE_FILE" in done.stderr
