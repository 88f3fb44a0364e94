"""`isthmus up`: the whole mesh on this machine."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.cli.failures import CommandError, UsageError, missing_extra, reporting
from isthmus.cli.output import note

__all__ = ["up"]

log = logging.getLogger("isthmus.cli")

_BUSY_HINT: Final = "every mesh needs a --data-dir and a --port of its own; --port 0 picks a free one"


def up(
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept.", show_default="isthmus-data", metavar="DIR")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Where to listen; beyond loopback it needs TLS and keys.", metavar="HOST", show_default="127.0.0.1"
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 picks a free one.", show_default="7480", min=0, max=65_535)
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain (PEM); goes with --tls-key.", metavar="FILE")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).", metavar="FILE")] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="API keys, one a line, as `isthmus keys new` prints them.", metavar="FILE", show_default="none needed"
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="What hosts the services: embedded (this process) or ray.", metavar="ENGINE", show_default="embedded"
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Join this Ray cluster.", metavar="HOST:PORT", show_default="a local one of its own"),
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="Cache in this Redis.", metavar="URL", show_default="one of its own")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="A dual encoder (CLIP, SigLIP …) for images and texts: a folder or a hub id.",
            metavar="MODEL",
            show_default="the embedded encoders",
        ),
    ] = None,
    image_encoder: Annotated[
        str | None, typer.Option(help="An image encoder; goes with --text-encoder.", metavar="MODEL")
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="A text encoder; goes with --image-encoder.", metavar="MODEL")
    ] = None,
    aligner: Annotated[
        str | None,
        typer.Option(help="Aligner that new collections start with.", metavar="ID", show_default="the shipped one"),
    ] = None,
    allow_download: Annotated[  # None leaves the choice to the environment
        bool | None, typer.Option("--allow-download", help="Fetch hub ids that are not on this machine yet.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve Prometheus metrics on this port of 127.0.0.1.", min=1, max=65_535)
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.", show_default="INFO", metavar="LEVEL")
    ] = None,
) -> None:
    """Run the mesh until Ctrl-C or SIGTERM.

    Prints `isthmus ready HOST:PORT` on stdout when it is warm; its log goes to stderr. Every option can also be
    set by a variable ISTHMUS_UP_…, for example ISTHMUS_UP_DATA_DIR.
    """
    with reporting(as_json=False):
        raise typer.Exit(
            _run(
                data_dir=data_dir,
                host=host,
                port=port,
                tls_cert_file=tls_cert,
                tls_key_file=tls_key,
                keys_file=keys,
                engine=engine,
                ray_address=ray_address,
                redis=redis,
                encoder=encoder,
                image_encoder=image_encoder,
                text_encoder=text_encoder,
                aligner=aligner,
                allow_download=allow_download,
                metrics_port=metrics_port,
                log_level=log_level,
            )
        )


def _run(**options: object) -> int:
    if sys.stderr.isatty():
        note("starting the mesh; loading the encoders takes some seconds")
    try:
        from isthmus.deploy.up import EmbeddedConfig, run
    except ImportError as error:
        raise missing_extra(error, extra="serve", what="`isthmus up`") from error
    try:
        config = EmbeddedConfig.load(**options)
    except ValueError as error:
        raise UsageError(_first_complaint(error)) from error
    try:
        return run(config)
    except ImportError as error:
        raise missing_extra(error, extra="ray", what="`isthmus up --engine ray`") from error
    except OSError as error:
        raise CommandError(error.strerror or str(error), reason="START_FAILED", hint=_BUSY_HINT) from error
    except ValueError as error:  # a model that cannot be loaded, a URL that is none
        log.debug("start failed", exc_info=error)
        raise CommandError(str(error), reason="START_FAILED") from error


def _first_complaint(error: ValueError) -> str:
    """Return what a configuration model says is wrong, as one line."""
    complaints = getattr(error, "errors", None)
    if not callable(complaints):
        return str(error)
    first = complaints()[0]
    field = "-".join(str(part).replace("_", "-") for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"--{field}: {message}" if field else message
