"""`isthmus embed`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from isthmus.cli.failures import CommandError, UsageError, complain, reporting
from isthmus.cli.local import read_bytes
from isthmus.cli.options import Address, Json, connect
from isthmus.cli.output import note, print_json, print_table, table
from isthmus.client import Embeddings, EmbedResult

__all__ = ["embed"]

_COMPONENTS_SHOWN_COUNT = 4


def embed(
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="A text; may be repeated.")] = None,
    image: Annotated[
        list[Path] | None, typer.Option("--image", "-i", metavar="FILE", help="An image; may be repeated.")
    ] = None,
    aligner: Annotated[
        str, typer.Option(metavar="ID", help="Embed into this aligner's space.", show_default="raw")
    ] = "",
    out: Annotated[Path | None, typer.Option(metavar="X.npz", help="Write the vectors to this file.")] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Embed texts and images.

    The file of --out holds `image` and `text` (n, d) float32 with `image_name`, `text_name`, `image_space` and
    `text_space`; `isthmus index X.npz` reads it back. Ends with 1 when an input was refused.
    """
    with reporting(as_json=json), connect(address) as client:
        images, texts = image or [], text or []
        if not images and not texts:
            msg = "give at least one --text or --image"
            raise UsageError(msg)
        found = client.embed(images=[read_bytes(path) for path in images], texts=texts, aligner=aligner)
        names = [*map(str, images), *texts]
        if out is not None:
            _write(out, found, names)
        if json:
            print_json(_document(found, names, out))
        else:
            _show(found, names, out)
        if found.errors:
            first = found.errors[0]
            complain(
                f"{len(found.errors)} of {len(names)} inputs refused; input {first.index}: {first.message}",
                first.reason,
            )
            raise typer.Exit(1)


def _rows(found: EmbedResult) -> list[tuple[str, Embeddings]]:
    return [("image", found.images), ("text", found.texts)]


def _write(out: Path, found: EmbedResult, names: list[str]) -> None:
    arrays: dict[str, Any] = {}
    for modality, rows in _rows(found):
        if len(rows):
            arrays[modality] = rows.vectors
            arrays[f"{modality}_name"] = np.array([names[index] for index in rows.indexes])
            arrays[f"{modality}_space"] = np.array(rows.space)
    try:
        with out.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        msg = f"{out}: {error.strerror or error}"
        raise CommandError(msg, reason="UNWRITABLE_FILE") from error


def _document(found: EmbedResult, names: list[str], out: Path | None) -> dict[str, object]:
    document: dict[str, object] = {}
    for modality, rows in _rows(found):
        document[f"{modality}s"] = {
            "space": rows.space,
            "indexes": rows.indexes.tolist(),
            "names": [names[index] for index in rows.indexes],
            # Vectors that were written to a file are not printed as well.
            **({} if out is not None else {"vectors": rows.vectors.tolist()}),
        }
    document["errors"] = [
        {"index": error.index, "name": names[error.index], "reason": error.reason, "message": error.message}
        for error in found.errors
    ]
    document["truncated"] = list(found.truncated)
    document["out"] = None if out is None else str(out)
    return document


def _show(found: EmbedResult, names: list[str], out: Path | None) -> None:
    made = table("input", "modality", "dimension", "starts with", right=("dimension",))
    rows = (
        (names[index], modality, len(vector), " ".join(f"{x:+.3f}" for x in vector[:_COMPONENTS_SHOWN_COUNT]) + " …")
        for modality, batch in _rows(found)
        for index, vector in zip(batch.indexes, batch.vectors, strict=True)
    )
    print_table(made, rows)
    for space in dict.fromkeys(rows.space for _, rows in _rows(found) if rows.space):
        note(f"space {space}")
    for index in itertools.islice(found.truncated, 10):
        note(f"cut to the model's context: input {index}")
    if out is not None:
        note(f"written to {out}")
