"""The Serve config: valid for Ray, bounded everywhere, and told by settings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from isthmus.deploy.serve_config import build_serve_config, ray_environment
from isthmus.deploy.serve_settings import AutoscalingSettings, EncoderSettings, ServeSettings, WriterSettings

NAMES = {"image_encoder", "text_encoder", "alignment", "index_writer", "index_search"}


def _deployments(settings: ServeSettings) -> dict[str, dict[str, Any]]:
    applications = build_serve_config(settings)["applications"]
    return {application["name"]: application["deployments"][0] for application in applications}


def test_the_config_is_one_that_ray_takes() -> None:
    """Ray's own schema accepts it, with five applications on routes of their own."""
    config = build_serve_config(ServeSettings.load())
    parsed = ServeDeploySchema.model_validate(config)
    assert {application.name for application in parsed.applications} == NAMES
    assert len({application.route_prefix for application in parsed.applications}) == 5
    assert yaml.safe_load(yaml.safe_dump(config)) == config


def test_every_queue_is_bounded() -> None:
    """Ray's default is a queue without end; every deployment states a bound, and none of them can be switched off."""
    for deployment in _deployments(ServeSettings.load()).values():
        assert 1 <= deployment["max_queued_requests"] <= 4096
        assert 1 <= deployment["max_ongoing_requests"] <= 4096
    with pytest.raises(ValidationError):
        EncoderSettings(max_queued_requests=-1)


def test_there_is_one_writer_even_during_an_update() -> None:
    """The writer has one replica, no autoscaling, and its replacement waits; every other application overlaps."""
    deployments = _deployments(ServeSettings.load())
    writer = deployments.pop("index_writer")
    assert (writer["num_replicas"], writer["max_surge_percent"]) == (1, 0)
    assert "autoscaling_config" not in writer
    assert all(deployment["max_surge_percent"] == 100 for deployment in deployments.values())
    (application,) = (
        one for one in build_serve_config(ServeSettings.load())["applications"] if one["name"] == "index_writer"
    )
    assert application["args"]["claim"] == "first_call", "another cluster's writer may be the active one"
    variables = application["runtime_env"]["env_vars"]
    assert variables["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] == "1", "its successor waits as long"
    with pytest.raises(ValidationError):
        WriterSettings(replicas=2)  # type: ignore[arg-type]


def test_placement_and_precision_are_settings() -> None:
    """Fractions of a GPU, custom resources, the limit a node, autoscaling and precision arrive where Ray reads them."""
    settings = ServeSettings.load(
        image_encoder=EncoderSettings(
            num_gpus=0.25,
            resources={"encoder_node": 0.5},
            max_replicas_per_node=4,
            precision="fp16",
            autoscaling=AutoscalingSettings(min_replicas=2, max_replicas=8, target_ongoing_requests=12),
        )
    )
    config = build_serve_config(settings)
    ServeDeploySchema.model_validate(config)
    deployment = _deployments(settings)["image_encoder"]
    assert deployment["ray_actor_options"] == {"num_cpus": 1.0, "num_gpus": 0.25, "resources": {"encoder_node": 0.5}}
    assert deployment["max_replicas_per_node"] == 4
    assert deployment["autoscaling_config"]["target_ongoing_requests"] == 12
    assert "num_replicas" not in deployment
    (image,) = (one for one in config["applications"] if one["name"] == "image_encoder")
    assert image["args"]["precision"] == "fp16"


def test_one_setting_chooses_the_ingress() -> None:
    """`haproxy` sets HAProxy, throughput mode, windows, frames and buffers together; `classic` sets none of them."""
    tuned, classic = ray_environment(ServeSettings.load()), ray_environment(ServeSettings.load(ingress="classic"))
    assert tuned["RAY_SERVE_ENABLE_HA_PROXY"] == tuned["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    assert tuned["RAY_SERVE_HAPROXY_H2_FE_INITIAL_WINDOW_SIZE"] == str(4 * 1024 * 1024)
    assert tuned["RAY_SERVE_HAPROXY_TUNE_BUFSIZE"] == tuned["RAY_SERVE_HAPROXY_H2_MAX_FRAME_SIZE"] == str(128 * 1024)
    assert not [name for name in classic if "HAPROXY" in name or "HA_PROXY" in name or "THROUGHPUT" in name]
    for variables in (tuned, classic):
        assert variables["RAY_AUTH_MODE"] == "token"
        assert variables["RAY_worker_niceness"] == "0"
        assert variables["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"] == str(16 * 1024 * 1024)


def test_a_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file says holds unless a variable says otherwise, field by field."""
    path = tmp_path / "mesh.yaml"
    path.write_text("grpc_port: 9100\ntext_encoder: {num_gpus: 0.5, replicas: 2}\n")
    monkeypatch.setenv("ISTHMUS_DEPLOY_TEXT_ENCODER__NUM_GPUS", "0.25")
    settings = ServeSettings.from_file(path)
    assert (settings.grpc_port, settings.text_encoder.num_gpus, settings.text_encoder.replicas) == (9100, 0.25, 2)


@pytest.mark.parametrize("name", ["ISTHMUS_DEPLOY_GRPC_PROT", "ISTHMUS_DEPLOY_TEXT_ENCODER__NUM_GPU"])
def test_a_misspelt_variable_stops_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the top and inside an application."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValueError, match=r"GRPC_PROT|num_gpu"):
        ServeSettings.load()


@pytest.mark.parametrize("text", ["- a list", "a: [", "store: 3", "text_encoder: {num_cpus: 0}", "drain_s: 90"])
def test_a_file_that_makes_no_sense_is_refused(text: str, tmp_path: Path) -> None:
    """No mapping, no YAML, a wrong type, a value out of bounds, a drain longer than the shutdown may take."""
    path = tmp_path / "mesh.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        ServeSettings.from_file(path)
