"""`isthmus models`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.failures import CommandError, missing_extra, reporting
from isthmus.cli.options import Json
from isthmus.cli.output import facts, note, print_json

__all__ = ["app"]

app = typer.Typer(help="Fetch models.", no_args_is_help=True)


@app.callback()
def models() -> None:
    """Fetch models; a group, so that `pull` keeps its name."""


@app.command()
def pull(
    model: Annotated[str, typer.Argument(metavar="ID", help="A hub id, for example openai/clip-vit-base-patch32.")],
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Put a copy here.", show_default="only the Hugging Face cache"),
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a model's safetensors weights, configuration and tokenizer; never pickled weights, never code."""
    with reporting(as_json=json):
        folder = _pull(model)
        if to is not None:
            try:
                # The cache holds links into its blobs; a copy must stand alone.
                shutil.copytree(folder, to, dirs_exist_ok=True)
            except OSError as error:
                msg = f"{to}: {error.strerror or error}"
                raise CommandError(msg, reason="UNWRITABLE_FOLDER") from error
            folder = to
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if json:
            print_json({"model": model, "folder": str(folder), "bytes": size})
        else:
            facts([("model", model), ("folder", folder), ("size", f"{size / 1e6:.1f} MB")])
            note(f"use it with: isthmus up --encoder {folder if to is not None else model}")


def _pull(model: str) -> Path:
    try:
        from isthmus.encoders import EncoderLoadError, pull_model
    except ImportError as error:
        raise missing_extra(error, extra="serve", what="`isthmus models pull`") from error
    try:
        return pull_model(model)
    except EncoderLoadError as error:
        raise CommandError(str(error), reason="MODEL_UNAVAILABLE") from error
