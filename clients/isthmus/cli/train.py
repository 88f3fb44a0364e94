"""`isthmus train`."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.failures import CommandError, UsageError, missing_extra, reporting
from isthmus.cli.options import Json
from isthmus.cli.output import facts, note, percent, print_json
from isthmus.cli.progress import share_bar

__all__ = ["app"]

app = typer.Typer(help="Train what is learned; needs no running mesh.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train what is learned; a group, so that `aligner` keeps its name."""


@app.command()
def aligner(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA…",
            help="Parquet files, or folders of them, with columns image and captions (or caption, text).",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the artefact; it must not be there yet.")],
    name: Annotated[str, typer.Option(metavar="ID", help="Name of the aligner.")] = "heads",
    image_encoder: Annotated[
        str, typer.Option(metavar="MODEL", help="A folder or a hub id.", show_default="embedded")
    ] = "embedded",
    text_encoder: Annotated[
        str, typer.Option(metavar="MODEL", help="A folder or a hub id.", show_default="embedded")
    ] = "embedded",
    cache_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Converted weights.", show_default="~/.cache/isthmus")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of the photos that is never learned from, but judged on.")
    ] = 0.1,
    dimension: Annotated[int | None, typer.Option(min=1, help="Of an aligned vector.", show_default="256")] = None,
    hidden: Annotated[
        int | None, typer.Option(min=0, help="Width of each head's hidden layer; 0 for none.", show_default="480")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the captions.", show_default="24")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Pairs in a batch.", show_default="512")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the schedule.", show_default="0.001")] = None,
    json: Json = False,
) -> None:
    """Train an aligner of two heads on images and their captions, with a contrastive loss.

    It holds the figures it reached on pairs it never saw. `isthmus align import` brings it into a mesh.
    """
    with reporting(as_json=json):
        if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
            msg = f"{out} is there already"
            raise UsageError(msg, hint="name a new folder with --out")
        heads = {
            "dimension": dimension,
            "hidden": hidden,
            "epochs": epochs,
            "batch_count": batch,
            "learning_rate": learning_rate,
        }
        artefact = _train(
            {name: value for name, value in heads.items() if value is not None},
            data=data,
            aligner_id=name,
            image_encoder=image_encoder,
            text_encoder=text_encoder,
            cache_dir=cache_dir,
            seed=seed,
            held_out_share=held_out,
        )
        try:
            if out.is_dir():
                out.rmdir()
            artefact.save(out)
        except OSError as error:
            msg = f"{out}: {error.strerror or error}"
            raise CommandError(msg, reason="UNWRITABLE_FOLDER") from error
        manifest = json_module.loads(artefact.manifest_bytes)
        if json:
            print_json({"aligner": artefact.space, "folder": str(out), "manifest": manifest})
        else:
            _show(artefact.space, out, manifest)


def _train(heads: dict[str, Any], **options: Any) -> Any:
    """Train; return the `isthmus.core.aligners.Artefact`.

    Raises:
        CommandError: the data, an encoder or the name is no good; or the extra is missing.
        UsageError: a number is out of its bounds.
    """
    try:
        from isthmus.core.errors import ArtefactError
        from isthmus.encoders import EncoderLoadError
        from isthmus.training import HeadsConfig, Progress, TrainAlignerConfig, TrainingDataError, train_aligner
    except ImportError as error:
        raise missing_extra(error, extra="serve", what="`isthmus train aligner`") from error
    try:
        config = TrainAlignerConfig(heads=HeadsConfig(**heads), **options)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with share_bar() as tell:

        def progress(step: Progress) -> None:
            figure = "" if step.figure is None else f", mean recall {percent(step.figure)}"
            tell(step.done / max(step.total, 1), f"{step.stage}{figure}")

        try:
            return train_aligner(config, progress=progress)
        except TrainingDataError as error:
            hint = "a larger --held-out holds more of them out" if "held-out" in str(error) else ""
            raise CommandError(str(error), reason="INVALID_DATA", hint=hint) from error
        except OSError as error:
            raise CommandError(error.strerror or str(error), reason="UNREADABLE_FILE") from error
        except (EncoderLoadError, ArtefactError) as error:
            raise CommandError(str(error), reason="TRAINING_FAILED") from error


def _show(space: str, out: Path, manifest: dict[str, Any]) -> None:
    rows: list[tuple[str, object]] = [
        ("aligner", space),
        ("folder", out),
        ("image space", manifest["image_space"]),
        ("text space", manifest["text_space"]),
        ("learned from", f"{manifest['pair_count']} photos"),
    ]
    recall = manifest.get("report", {}).get("recall", {})
    for direction, name in (("t2i", "text → image"), ("i2t", "image → text")):
        figures = recall.get(direction)
        if figures:
            rows.append((name, ", ".join(f"R@{key[1:]} {percent(share)}" for key, share in figures.items())))
    facts(rows)
    note(f"bring it into a mesh with: isthmus align import {out}")
