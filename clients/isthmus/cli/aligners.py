"""`isthmus aligners`, and the commands that `isthmus align` shares with it."""

from __future__ import annotations

import dataclasses
import json as json_module
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from isthmus.cli.align_collection import OptionalCollection
from isthmus.cli.collections import show_collection
from isthmus.cli.failures import CommandError, UsageError, reporting
from isthmus.cli.local import unreadable, unwritable
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import facts, note, print_json, print_table, table
from isthmus.cli.progress import share_bar
from isthmus.cli.promotions import history_document, promotion_document, show_active, show_history
from isthmus.client import Aligner, FitOptions

__all__ = ["app", "import_", "list_", "promote", "rollback", "show"]

app = typer.Typer(help="List, fit, import and promote aligners.", no_args_is_help=True)

Method = Literal[
    "identity",
    "shift",
    "center",
    "standardize",
    "procrustes",
    "cca",
    "ridge",
    "spectral",
    "transport",
    "recalibrate",
]
AlignerName = Annotated[str, typer.Argument(metavar="ALIGNER", help="`id@revision`, or `id` for its newest revision.")]


@app.command("list")
def list_(collection: OptionalCollection = None, address: Address = None, json: Json = False) -> None:
    """List the aligners; with --collection, which were active there, since when, and which were forced and why."""
    with reporting(as_json=json), connect(address) as client:
        if collection is not None:
            history = client.list_promotions(collection)
            if json:
                print_json({"collection": collection} | history_document(history))
            else:
                show_history(history)
            return
        found = client.list_aligners()
        if json:
            print_json({"aligners": [_document(aligner) for aligner in found]})
        elif not found:
            note("there are no aligners; `isthmus align fit` makes one")
        else:
            print_table(
                table("aligner", "method", "dimension", "image space", "text space", right=("dimension",)),
                ((a.aligner, a.method, a.dimension, a.image_space or "-", a.text_space or "-") for a in found),
            )


def show(
    aligner: Annotated[
        str | None, typer.Argument(metavar="[ALIGNER]", help="`id@revision`, or `id` for its newest revision.")
    ] = None,
    collection: OptionalCollection = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Write its artefact there, as `isthmus align import` reads it."),
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Show one aligner: where it comes from, and how it did on pairs it was not fitted on.

    With --collection in place of ALIGNER: the one that is active there, since when, and whether it was forced.
    """
    with reporting(as_json=json), connect(address) as client:
        if (aligner is None) == (collection is None):
            msg = "name either ALIGNER or --collection"
            raise UsageError(msg)
        history = None if collection is None else client.list_promotions(collection)
        if history is not None:
            aligner = history.promotions[0].aligner
            if not json:
                show_active(history)
        if not aligner:
            msg = "no aligner is active in the collection"
            raise CommandError(msg, reason="NO_ALIGNER", hint="`isthmus align promote` makes one active")
        if out is None:
            found = client.get_aligner(aligner)
        else:
            try:
                found = client.export_aligner(aligner, out)
            except OSError as error:
                raise unwritable(out, error) from error
        if json:
            since = {} if history is None else {"active": promotion_document(history.promotions[0])}
            print_json(_document(found) | since)
        else:
            _show(found, as_json=False)
            _show_manifest(found)


@app.command()
def fit(
    collection: CollectionName,
    name: Annotated[str, typer.Option(metavar="ID", help="Name of the new aligner.")],
    method: Annotated[Method, typer.Option(help="How it maps.")] = "center",
    strength: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of the correction, where the method has one."),
    ] = None,
    dimension: Annotated[
        int, typer.Option(min=0, help="Components of an aligned vector, 0 for the method's choice; cca, spectral.")
    ] = 0,
    hubness: Annotated[bool, typer.Option("--hubness", help="Correct hubness on top.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every sample.")] = 0,
    address: Address = None,
    json: Json = False,
) -> None:
    """Fit an aligner to the pairs of a collection, and judge it on a fifth of them that it never sees."""
    with reporting(as_json=json), connect(address) as client:
        with share_bar() as tell:
            made = client.fit_aligner(
                collection,
                aligner_id=name,
                method=method,
                options=FitOptions(strength=strength, dimension=dimension, hubness=hubness),
                seed=seed,
                progress=lambda step: tell(step.progress, step.stage),
            )
        _show(made, as_json=json)
        if not json:
            note(f"make it active with: isthmus align promote {made.aligner} --collection {collection}")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds manifest.json and aligner.safetensors.")],
    address: Address = None,
    json: Json = False,
) -> None:
    """Keep an aligner that was trained elsewhere, for example by `isthmus train aligner`."""
    with reporting(as_json=json), connect(address) as client:
        try:
            made = client.import_aligner(folder)
        except OSError as error:
            raise unreadable(Path(error.filename or folder), error) from error
        _show(made, as_json=json)


@app.command()
def promote(
    aligner: AlignerName,
    collection: CollectionName,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="You judged it elsewhere: it carries no report.")
    ] = False,
    override: Annotated[
        str,
        typer.Option(
            metavar="REASON",
            help="Promote it although it breaks the guard, or was judged against another aligner; the reason is kept.",
        ),
    ] = "",
    address: Address = None,
    json: Json = False,
) -> None:
    """Make an aligner the active one of a collection. Nothing is encoded again."""
    with reporting(as_json=json), connect(address) as client:
        found = client.promote_aligner(collection, aligner, allow_unverified=allow_unverified, override_reason=override)
        show_collection(found, as_json=json)


def rollback(collection: CollectionName, address: Address = None, json: Json = False) -> None:
    """Make the aligner before the active one active again, byte for byte. Each call goes one further back."""
    with reporting(as_json=json), connect(address) as client:
        show_collection(client.rollback_aligner(collection), as_json=json)


def _show_manifest(aligner: Aligner) -> None:
    """Print what an aligner's manifest says of its fit and of its report."""
    manifest = json_module.loads(aligner.manifest_json)
    facts(
        [
            ("made by", manifest["created_by"]),
            ("pairs", manifest["pair_count"]),
            ("seed", manifest["seed"]),
            ("calibration", "fitted" if manifest["calibration"] else "none"),
        ]
    )
    report = dict(_flattened(manifest["report"]))
    if report:
        print_table(table("held-out pairs", "figure", right=("figure",)), report.items())
    else:
        note("it carries no report on held-out pairs")


def _flattened(document: Mapping[str, object], *, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the figures of a report with their dotted names."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flattened(value, prefix=f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", f"{value:.4f}"
        else:
            yield f"{prefix}{name}", str(value)


def _document(aligner: Aligner) -> dict[str, object]:
    document = dataclasses.asdict(aligner)
    manifest = document.pop("manifest_json")
    document["manifest"] = json_module.loads(manifest) if manifest else None
    return document


def _show(aligner: Aligner, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(aligner))
        return
    facts(
        [
            ("aligner", aligner.aligner),
            ("method", aligner.method),
            ("dimension", aligner.dimension),
            ("image space", aligner.image_space),
            ("text space", aligner.text_space),
        ]
    )
