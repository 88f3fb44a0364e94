"""Which services make a mesh, and how they find one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.service import build as build_alignment
from isthmus.deploy.embedded_config import EmbeddedConfig
from isthmus.deploy.serve_config import serve_address
from isthmus.deploy.serve_settings import ServeSettings
from isthmus.gateway.config import GatewayConfig
from isthmus.gateway.service import build as build_gateway
from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.service import build as build_image_encoder
from isthmus.index.config import IndexConfig
from isthmus.index.service import build as build_index
from isthmus.runtime.rpc.server import Hosted, RpcServer
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.service import build as build_text_encoder

__all__ = ["MeshAddresses", "back_services", "gateway_server", "gateway_service"]


@dataclass(frozen=True, slots=True)
class MeshAddresses:
    """Where each service behind the gateway listens."""

    image_encoder: str
    text_encoder: str
    alignment: str
    index_writer: str
    index_search: str

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """Name a unix socket in `folder` for each."""
        names = ("image_encoder", "text_encoder", "alignment", "index_writer", "index_search")
        return cls(**{name: f"unix:{folder / name}.sock" for name in names})

    @classmethod
    def on_serve(cls, settings: ServeSettings, *, host: str) -> Self:
        """Name each application of Ray Serve at a node of its cluster."""
        return cls(**{name: serve_address(settings, name, host=host) for name in settings.applications()})


def back_services(config: EmbeddedConfig, addresses: MeshAddresses) -> Iterator[tuple[Hosted, str]]:
    """Yield each service behind the gateway with its address, in the order they start."""
    cache_dir = config.data_dir / "cache"
    store_dir = config.data_dir / "store"
    writer = IndexConfig.load(
        role="writer", listen=addresses.index_writer, store_dir=store_dir, import_dir=config.imports_from
    )
    yield build_index(writer), addresses.index_writer
    searcher = IndexConfig.load(
        role="searcher",
        listen=addresses.index_search,
        store_dir=store_dir,
        writer_address=addresses.index_writer,
        cache_dir=cache_dir / "index",
    )
    yield build_index(searcher), addresses.index_search
    alignment = AlignmentConfig.load(
        listen=addresses.alignment,
        aligners_dir=config.data_dir / "aligners",
        index_search_address=addresses.index_search,
    )
    yield build_alignment(alignment), addresses.alignment
    text = TextEncoderConfig.load(
        listen=addresses.text_encoder,
        encoder=config.encoder or config.text_encoder,
        cache_dir=cache_dir,
        allow_download=config.allow_download,
    )
    yield build_text_encoder(text), addresses.text_encoder
    image = ImageEncoderConfig.load(
        listen=addresses.image_encoder,
        encoder=config.encoder or config.image_encoder,
        cache_dir=cache_dir,
        allow_download=config.allow_download,
    )
    yield build_image_encoder(image), addresses.image_encoder


def gateway_service(config: EmbeddedConfig, addresses: MeshAddresses, redis_url: str | None) -> Hosted:
    """Return the gateway in front of `addresses`."""
    return build_gateway(_gateway_config(config, addresses, redis_url))


def gateway_server(config: EmbeddedConfig, addresses: MeshAddresses, redis_url: str | None) -> RpcServer:
    """Return the gateway in front of `addresses` with its server, not started yet."""
    gateway = _gateway_config(config, addresses, redis_url)
    # There is one gateway, so nobody has to look for others: connections may grow old.
    transport = replace(gateway.transport(), max_connection_age_s=None)
    return RpcServer(build_gateway(gateway), gateway.listen, transport)


def _gateway_config(config: EmbeddedConfig, addresses: MeshAddresses, redis_url: str | None) -> GatewayConfig:
    return GatewayConfig.load(
        listen=f"{config.host}:{config.port}",
        tls_cert_file=config.tls_cert_file,
        tls_key_file=config.tls_key_file,
        keys_file=config.keys_file,
        allow_plaintext=config.allow_plaintext,
        image_encoder_address=addresses.image_encoder,
        text_encoder_address=addresses.text_encoder,
        alignment_address=addresses.alignment,
        index_writer_address=addresses.index_writer,
        index_search_address=addresses.index_search,
        redis_url=redis_url,
        default_aligner=config.aligner,
        secret_file=config.data_dir / "cache" / "gateway.secret",
    )
