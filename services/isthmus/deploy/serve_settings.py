"""Settings of the mesh on Ray Serve: from a file, then `ISTHMUS_DEPLOY_…` variables, which win.

A nested field is written with two underscores: `ISTHMUS_DEPLOY_TEXT_ENCODER__NUM_GPUS=0.25`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from isthmus.encoders.spec import EMBEDDED, Device, Precision
from isthmus.runtime.base.config import ProcessConfig
from isthmus.runtime.base.limits import INTERNAL_RECEIVE_MAX_BYTES

__all__ = [
    "ApplicationSettings",
    "AutoscalingSettings",
    "EncoderSettings",
    "ScalableSettings",
    "ServeSettings",
    "WriterSettings",
]

_Scalar: TypeAlias = str | int | float | bool

_BATCH_FRAME_BYTES: Final = 128 * 1024


class AutoscalingSettings(BaseModel):
    """When an application gets more replicas, and when fewer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_replicas: int = Field(default=1, ge=1)
    """Replicas at rest. Never none: an encoder takes seconds to load."""
    max_replicas: int = Field(default=4, ge=1)
    """Replicas at most."""
    target_ongoing_requests: float = Field(default=8.0, gt=0)
    """Calls in work or waiting that one replica should have on average."""
    upscale_delay_s: float = Field(default=10.0, ge=0)
    """How long the load must ask for more before there is more."""
    downscale_delay_s: float = Field(default=300.0, ge=0)
    """How long the load must ask for less before there is less."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            msg = "max_replicas is below min_replicas"
            raise ValueError(msg)
        return self


class ApplicationSettings(BaseModel):
    """What every application has: its share of a node, its bounds, its health."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs a replica asks Ray for; fractions share one."""
    num_gpus: float = Field(default=0.0, ge=0)
    """GPUs a replica asks Ray for; fractions share one."""
    memory_bytes: int | None = Field(default=None, ge=1)
    """Memory a replica asks Ray for; unset asks for none."""
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Custom resources a replica asks Ray for, to pin it to nodes that offer them."""
    max_replicas_per_node: int | None = Field(default=None, ge=1, le=100)
    """Replicas on one node at most; unset means any number."""
    max_ongoing_requests: int = Field(default=256, ge=1)
    """Calls a replica works on at once; further ones wait. High, because a replica batches across calls itself."""
    max_queued_requests: int = Field(default=256, ge=1)
    """Calls that may wait for a replica; further ones are refused with RESOURCE_EXHAUSTED."""
    health_check_period_s: float = Field(default=10.0, gt=0)
    """How often a replica proves that it works, by a dummy item."""
    health_check_timeout_s: float = Field(default=30.0, gt=0)
    """How long that may take before the replica is replaced."""
    graceful_shutdown_timeout_s: float = Field(default=60.0, gt=0)
    """How long a replica may take to finish its calls; must leave room for `drain_s`."""
    graceful_shutdown_wait_loop_s: float = Field(default=0.5, gt=0)
    """How often a leaving replica looks whether it has finished."""
    service: dict[str, _Scalar] = {}
    """Further settings of the service itself, by the names its own configuration gives them."""
    environment: dict[str, str] = {}
    """Variables of a replica's process."""


class ScalableSettings(ApplicationSettings):
    """An application of any number of replicas."""

    replicas: int = Field(default=1, ge=1)
    """Replicas, unless `autoscaling` says otherwise."""
    autoscaling: AutoscalingSettings | None = None
    """Let the load decide how many."""
    max_surge_percent: int = Field(default=100, ge=1, le=100)
    """Replicas that a rolling update adds before it takes old ones away, in percent: at least one, so that no call
    finds nobody."""


class EncoderSettings(ScalableSettings):
    """An encoder."""

    encoder: str = EMBEDDED
    """`embedded`, a folder, or a hub id."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16."""
    device: Device = "auto"
    """auto, cpu or cuda."""


class WriterSettings(ApplicationSettings):
    """The index writer: one replica, and a new one only once the old one has let go of the store."""

    replicas: Literal[1] = 1
    """There is exactly one writer."""
    max_surge_percent: Literal[0] = 0
    """Never two at once."""
    handover_s: float = Field(default=1.0, ge=0)
    """How long a leaving writer goes on serving, in place of `drain_s`: its successor waits for the store, and writes
    wait for the successor."""


class ServeSettings(ProcessConfig):
    """The whole mesh behind the gateway, on Ray Serve."""

    model_config = SettingsConfigDict(
        env_prefix="ISTHMUS_DEPLOY_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
    )

    ingress: Literal["haproxy", "classic"] = "haproxy"
    """What stands before the replicas: HAProxy with Ray's throughput-optimised mode, or Ray's own proxy, whose calls
    take about five times as long."""
    grpc_port: int = Field(default=9000, ge=1, le=65_535)
    """Port of Ray Serve's gRPC ingress on every node. It has no TLS and no keys: never publish it."""
    http_port: int = Field(default=8000, ge=1, le=65_535)
    """Port of its HTTP ingress, which nothing here uses but Ray's own health checks."""
    host: str = "0.0.0.0"  # noqa: S104 - inside a cluster HAProxy reaches replicas of other nodes; a policy bounds it
    """Interface of both ingresses."""
    every_node: bool = True
    """Have an ingress on every node that holds replicas, not on the head alone."""
    message_max_bytes: int = Field(default=INTERNAL_RECEIVE_MAX_BYTES, ge=1024 * 1024)
    """Largest message between gateway and replicas."""
    http2_window_bytes: int = Field(default=4 * 1024 * 1024, ge=65_535, le=64 * 1024 * 1024)
    """How far a sender may run ahead: HTTP/2's windows of HAProxy, and with it frames and buffers of 128 KiB. The
    defaults of 64 and 16 KiB make a batch of images wait for acknowledgements."""
    concurrent_streams_count: int = Field(default=1024, ge=1, le=65_535)
    """Calls at once on one connection through HAProxy."""
    request_timeout_s: float = Field(default=3600.0, gt=0)
    """How long any call may take, a fit's stream included; shorter deadlines travel with the call."""
    drain_s: float = Field(default=30.0, ge=1)
    """How long a leaving replica goes on serving, for every HAProxy to notice."""
    auth: Literal["token", "disabled"] = "token"
    """Ray's own authentication between its processes and of its clients (`RAY_AUTH_MODE`); `token` needs
    RAY_AUTH_TOKEN or a token file on every node."""
    access_log: bool = False
    """Have Ray write a line a call."""
    ray_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    """Least severe level that Ray Serve logs."""

    store: str = "isthmus-data/store"
    """Where collections lie, for the writer and all searchers."""
    import_dir: str | None = None
    """Where the writer takes files of rows from: a folder, or a place in the object store; unset imports nothing."""
    aligners_dir: str = "isthmus-data/aligners"
    """Where aligners lie."""
    cache_dir: str | None = None
    """Where encoders keep converted weights; unset means `~/.cache/isthmus`."""
    allow_download: bool = False
    """Let encoders fetch hub ids."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that the services log."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables of every replica's process."""

    image_encoder: EncoderSettings = EncoderSettings(max_ongoing_requests=64)
    """The image encoder."""
    text_encoder: EncoderSettings = EncoderSettings()
    """The text encoder."""
    alignment: ScalableSettings = ScalableSettings(max_ongoing_requests=64, max_queued_requests=64)
    """The alignment service."""
    index_writer: WriterSettings = WriterSettings()
    """The index writer."""
    index_search: ScalableSettings = ScalableSettings()
    """The searchers."""

    @model_validator(mode="after")
    def _check_drain(self) -> Self:
        short = [
            name
            for name, application in self.applications().items()
            if application.graceful_shutdown_timeout_s <= self.drain_s
        ]
        if short:
            msg = f"graceful_shutdown_timeout_s must be above drain_s: {', '.join(short)}"
            raise ValueError(msg)
        return self

    def applications(self) -> dict[str, ApplicationSettings]:
        """Return the five applications by name, in the order they are deployed."""
        return {
            "index_writer": self.index_writer,
            "index_search": self.index_search,
            "alignment": self.alignment,
            "text_encoder": self.text_encoder,
            "image_encoder": self.image_encoder,
        }

    @property
    def frame_bytes(self) -> int:
        """Bytes of HAProxy's HTTP/2 frames and buffers."""
        return _BATCH_FRAME_BYTES

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read YAML or JSON.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no mapping, or a value is out of bounds.
        """
        try:
            document = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            msg = "the settings file is neither YAML nor JSON"
            raise ValueError(msg) from error
        if not isinstance(document, dict):
            msg = "the settings file holds no mapping"
            raise ValueError(msg)  # noqa: TRY004 - the caller's input, not a type of ours
        return cls.load(**document)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which is what `load` is given."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with other values, checked."""
        return type(self).model_validate({**self.model_dump(), **changes})
