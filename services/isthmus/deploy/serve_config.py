"""The Serve config that `serve deploy`, a RayService's `serveConfigV2` and `isthmus up --engine ray` share.

Nothing here imports Ray: the gateway's image and the tests of the manifests build the config without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from isthmus.deploy.serve_settings import (
    ApplicationSettings,
    EncoderSettings,
    ScalableSettings,
    ServeSettings,
    WriterSettings,
)

__all__ = ["build_serve_config", "ray_environment", "serve_address"]

_SERVICERS: Final = (
    "isthmus.v1.encoder_service_pb2_grpc:add_EncoderServiceServicer_to_server",
    "isthmus.v1.alignment_service_pb2_grpc:add_AlignmentServiceServicer_to_server",
    "isthmus.v1.index_writer_service_pb2_grpc:add_IndexWriterServiceServicer_to_server",
    "isthmus.v1.index_search_service_pb2_grpc:add_IndexSearchServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc:add_HealthServicer_to_server",
)
"""What every ingress and every replica offers; each call names its application, which answers its own part."""
_ANNOUNCE_MAX_S: Final = 2.0
"""How long one stream of a writer's announcements lasts; a new writer waits for the old one's as long."""
_DRAIN: Final = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
_IMPORT_PATHS: Final[Mapping[str, str]] = {
    "image_encoder": "isthmus.image_encoder.deployment:app",
    "text_encoder": "isthmus.text_encoder.deployment:app",
    "alignment": "isthmus.alignment.deployment:app",
    "index_writer": "isthmus.index.deployment:writer",
    "index_search": "isthmus.index.deployment:search",
}


def build_serve_config(settings: ServeSettings) -> dict[str, Any]:
    """Return the config as Ray's `ServeDeploySchema` takes it, of plain JSON values."""
    return {
        "proxy_location": "EveryNode" if settings.every_node else "HeadOnly",
        "http_options": {"host": settings.host, "port": settings.http_port},
        "grpc_options": {
            "port": settings.grpc_port,
            "grpc_servicer_functions": list(_SERVICERS),
            "request_timeout_s": settings.request_timeout_s,
            "enable_reflection": False,
        },
        "logging_config": {"log_level": settings.ray_log_level, "enable_access_log": settings.access_log},
        "applications": [
            _application(name, application, settings) for name, application in settings.applications().items()
        ],
    }


def serve_address(settings: ServeSettings, application: str, *, host: str = "127.0.0.1") -> str:
    """Return the address by which a client finds an application.

    Args:
        settings: The mesh.
        application: One of its five.
        host: A node of the cluster, or a name that resolves to several.
    """
    return f"serve://{host}:{settings.grpc_port}/{application}"


def ray_environment(settings: ServeSettings) -> dict[str, str]:
    """Return the variables that must be set before `ray start`, on every node, and wherever `serve` is called."""
    variables = {
        "RAY_AUTH_MODE": settings.auth,
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(settings.message_max_bytes),
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(settings.message_max_bytes),
        # Ray gives its workers a niceness of 15: everything else on the node would come before the encoders.
        "RAY_worker_niceness": "0",
        # Ray reports usage to its makers unless told not to.
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    if settings.ingress == "haproxy":
        variables |= _haproxy_environment(settings)
    return variables


def _haproxy_environment(settings: ServeSettings) -> dict[str, str]:
    window, streams = str(settings.http2_window_bytes), str(settings.concurrent_streams_count)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        _DRAIN: f"{settings.drain_s:g}",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(settings.frame_bytes),
        "RAY_SERVE_HAPROXY_H2_MAX_FRAME_SIZE": str(settings.frame_bytes),
        "RAY_SERVE_HAPROXY_H2_FE_INITIAL_WINDOW_SIZE": window,
        "RAY_SERVE_HAPROXY_H2_BE_INITIAL_WINDOW_SIZE": window,
        "RAY_SERVE_HAPROXY_H2_FE_MAX_CONCURRENT_STREAMS": streams,
        "RAY_SERVE_HAPROXY_H2_BE_MAX_CONCURRENT_STREAMS": streams,
    }


def _application(name: str, application: ApplicationSettings, settings: ServeSettings) -> dict[str, Any]:
    return {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": _IMPORT_PATHS[name],
        "runtime_env": {"env_vars": _environment(application, settings)},
        "args": _arguments(name, application, settings),
        "deployments": [_deployment(name, application)],
    }


def _environment(application: ApplicationSettings, settings: ServeSettings) -> dict[str, str]:
    variables = {**settings.environment, **application.environment}
    if settings.ingress == "haproxy" and isinstance(application, WriterSettings):
        variables[_DRAIN] = f"{application.handover_s:g}"
    return variables


def _arguments(name: str, application: ApplicationSettings, settings: ServeSettings) -> dict[str, Any]:
    """Return the settings of the service, by the names its own configuration gives them."""
    arguments: dict[str, Any] = {"log_level": settings.log_level}
    if isinstance(application, EncoderSettings):
        arguments |= {
            "encoder": application.encoder,
            "precision": application.precision,
            "device": application.device,
            "allow_download": settings.allow_download,
        }
        if settings.cache_dir is not None:
            arguments["cache_dir"] = settings.cache_dir
    elif name == "alignment":
        arguments |= {
            "aligners_dir": settings.aligners_dir,
            "index_search_address": serve_address(settings, "index_search"),
        }
    else:
        arguments["store_dir"] = settings.store
        if name == "index_writer":
            # An upgrade of the cluster runs two of them for minutes: the one that callers do not reach yet must wait.
            arguments["claim"] = "first_call"
            if settings.import_dir is not None:
                arguments["import_dir"] = settings.import_dir
            # A leaving replica ends once its calls have, and nothing tells it that it leaves.
            arguments["announce_max_s"] = _ANNOUNCE_MAX_S
        else:
            arguments["writer_address"] = serve_address(settings, "index_writer")
    return arguments | dict(application.service)


def _deployment(name: str, application: ApplicationSettings) -> dict[str, Any]:
    resources: dict[str, Any] = {"num_cpus": application.num_cpus, "num_gpus": application.num_gpus}
    if application.memory_bytes is not None:
        resources["memory"] = application.memory_bytes
    if application.resources:
        resources["resources"] = dict(application.resources)
    deployment: dict[str, Any] = {
        "name": name,
        "max_ongoing_requests": application.max_ongoing_requests,
        "max_queued_requests": application.max_queued_requests,
        "health_check_period_s": application.health_check_period_s,
        "health_check_timeout_s": application.health_check_timeout_s,
        "graceful_shutdown_timeout_s": application.graceful_shutdown_timeout_s,
        "graceful_shutdown_wait_loop_s": application.graceful_shutdown_wait_loop_s,
        "ray_actor_options": resources,
    }
    if application.max_replicas_per_node is not None:
        deployment["max_replicas_per_node"] = application.max_replicas_per_node
    return deployment | _scale(application)


def _scale(application: ApplicationSettings) -> dict[str, Any]:
    if not isinstance(application, ScalableSettings):
        # The writer: the old one is stopped before the new one starts.
        return {"num_replicas": 1, "max_surge_percent": 0}
    surge = {"max_surge_percent": application.max_surge_percent}
    if application.autoscaling is None:
        return {"num_replicas": application.replicas, **surge}
    return {"autoscaling_config": application.autoscaling.model_dump(), **surge}
