"""Configuration of the embedded mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from isthmus.runtime.base.config import ProcessConfig
from isthmus.runtime.base.transport import is_local

__all__ = ["EmbeddedConfig"]


class EmbeddedConfig(ProcessConfig):
    """What `isthmus up` takes, from its flags and from `ISTHMUS_UP_…`."""

    model_config = SettingsConfigDict(env_prefix="ISTHMUS_UP_", frozen=True, extra="forbid", env_ignore_empty=True)

    engine: Literal["embedded", "ray"] = "embedded"
    """What hosts the services behind the gateway: this process, or Ray Serve."""
    ray_address: str | None = None
    """A Ray cluster to join, `HOST:PORT` or `auto`; unset starts a local one. Its nodes see the same data directory."""
    data_dir: Path = Path("isthmus-data")
    """Where collections, aligners, converted weights and sockets lie; made when absent."""
    import_dir: Path | None = None
    """Where the writer takes files of rows from, and from nowhere else; unset means `import` in the data directory."""
    host: str = Field(default="127.0.0.1", pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)$")
    """Where the gateway listens: a name or an address, IPv6 in brackets. Beyond loopback it needs TLS and keys."""
    port: int = Field(default=7480, ge=0, le=65_535)
    """Public port; 0 picks a free one."""
    tls_cert_file: Path | None = None
    """PEM file of the gateway's certificate chain; a replaced one is used within five seconds."""
    tls_key_file: Path | None = None
    """PEM file of the certificate's private key."""
    keys_file: Path | None = None
    """API keys, one a line, as `isthmus keys new` prints them; unset asks for none."""
    allow_plaintext: bool = False
    """Serve beyond loopback without TLS, or without keys, all the same: somebody else sees to both."""
    redis: str | None = None
    """URL of a Redis to cache in; unset starts one of our own."""
    encoder: str | None = None
    """A dual encoder for both modalities: a local folder or a hub id."""
    image_encoder: str | None = None
    """An image encoder; needs `text_encoder` too."""
    text_encoder: str | None = None
    """A text encoder; needs `image_encoder` too."""
    aligner: str | None = None
    """Aligner that new collections start with; unset means the shipped one where its spaces fit."""
    allow_download: bool = False
    """Let hub ids be fetched at start."""
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    """Port of /metrics; unset means none."""
    metrics_host: str = "127.0.0.1"
    """Address that /metrics listens on."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    @property
    def imports_from(self) -> Path:
        """Return the import folder."""
        return self.data_dir / "import" if self.import_dir is None else self.import_dir

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.encoder is not None and (self.image_encoder or self.text_encoder):
            msg = "--encoder names both towers: leave --image-encoder and --text-encoder out"
            raise ValueError(msg)
        if (self.image_encoder is None) != (self.text_encoder is None):
            msg = "--image-encoder and --text-encoder go together"
            raise ValueError(msg)
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            msg = "--tls-cert and --tls-key go together"
            raise ValueError(msg)
        open_to_others = not (self.allow_plaintext or is_local(f"{self.host}:{self.port}"))
        if open_to_others and (self.tls_cert_file is None or self.keys_file is None):
            msg = "a --host that other machines reach needs --tls-cert, --tls-key and --keys"
            raise ValueError(msg)
        if self.ray_address is not None and self.engine != "ray":
            msg = "--ray-address needs --engine ray"
            raise ValueError(msg)
        return self
