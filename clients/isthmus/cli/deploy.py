"""`isthmus deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.failures import UsageError, missing_extra, reporting
from isthmus.cli.local import unreadable

__all__ = ["app"]

app = typer.Typer(help="Make what a cluster is told.", no_args_is_help=True)

_Settings = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings, YAML or JSON.", show_default="the defaults and ISTHMUS_DEPLOY_…"),
]


@app.command("serve-config")
def serve_config(settings: _Settings = None) -> None:
    """Print the Ray Serve config of the mesh as YAML, for `serve deploy` or a RayService."""
    with reporting(as_json=False):
        typer.echo(_document(settings, environment=False), nl=False)


@app.command("ray-environment")
def ray_environment(settings: _Settings = None) -> None:
    """Print the variables that every node needs before `ray start`, one NAME=VALUE a line."""
    with reporting(as_json=False):
        typer.echo(_document(settings, environment=True), nl=False)


def _document(path: Path | None, *, environment: bool) -> str:
    try:
        import yaml

        from isthmus.deploy.serve_config import build_serve_config, ray_environment
        from isthmus.deploy.serve_settings import ServeSettings
    except ImportError as error:
        raise missing_extra(error, extra="serve", what="`isthmus deploy`") from error
    try:
        settings = ServeSettings.load() if path is None else ServeSettings.from_file(path)
    except OSError as error:
        assert path is not None
        raise unreadable(path, error) from error
    except ValueError as error:
        raise UsageError(_complaint(error)) from error
    if environment:
        return "".join(f"{name}={value}\n" for name, value in ray_environment(settings).items())
    return str(yaml.safe_dump(build_serve_config(settings), sort_keys=False))


def _complaint(error: ValueError) -> str:
    """Return what the settings say is wrong, as one line."""
    complaints = getattr(error, "errors", None)
    if not callable(complaints):
        return str(error)
    first = complaints()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{field}: {message}" if field else message
