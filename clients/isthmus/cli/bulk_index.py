"""`isthmus bulk-index`."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from isthmus.cli.bulk_import import GatewayImporter
from isthmus.cli.failures import CommandError, UsageError, complain, missing_extra, reporting
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import facts, note, print_json, print_table, table
from isthmus.cli.progress import count_bar
from isthmus.client import AlreadyExistsError, Client, Collection, IsthmusError, NotFoundError

if TYPE_CHECKING:
    from isthmus.bulk.job import BulkSummary
    from isthmus.bulk.workers import Pool

__all__ = ["bulk_index"]

_REFUSALS_SHOWN_COUNT: Final = 10
_RAY_DATA: Final = ("ray", "pandas")
"""What Ray Data stands on; `ray[serve]` alone brings no pandas."""


class Engine(StrEnum):
    """Who encodes."""

    AUTO = "auto"
    RAY = "ray"
    PLAIN = "plain"


def bulk_index(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="Parquet files with images and captions, folders of images, or webdataset shards (.tar): paths, "
            "s3://, gs:// or az:// URIs, globs.",
        ),
    ],
    collection: CollectionName,
    staging: Annotated[
        str,
        typer.Option(
            envvar="ISTHMUS_STAGING_DIR",
            metavar="DIR",
            help="The folder that the writer imports from, as it is reached from here: `import` in the mesh's data "
            "directory, a shared volume, or a place in an object store.",
        ),
    ] = "isthmus-data/import",
    tenant: Annotated[str, typer.Option(metavar="NAME", help="The tenant of the API key.")] = "default",
    engine: Annotated[
        Engine,
        typer.Option(help="ray: an actor pool of Ray Data; plain: this process; auto: Ray where installed."),
    ] = Engine.AUTO,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Join this Ray cluster.", show_default="one of its own"),
    ] = None,
    actors: Annotated[int, typer.Option(min=1, metavar="N", help="Workers of Ray, each with both encoders.")] = 1,
    actor_cpus: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPUs of a worker.", show_default="all, shared")
    ] = None,
    actor_gpus: Annotated[float, typer.Option(min=0.0, metavar="N", help="GPUs of a worker.")] = 0.0,
    block_rows: Annotated[
        int, typer.Option(min=1, max=4096, metavar="N", help="Rows that are encoded and stored together.")
    ] = 128,
    image_column: Annotated[str, typer.Option(metavar="NAME", help="Of parquet: images.")] = "image",
    text_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of parquet: one or several texts.", show_default="captions, caption, text"),
    ] = None,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="Of parquet: what items are called after.")] = "id",
    pair_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of parquet: pair keys.", show_default="one a row")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A dual encoder, as the mesh has it.", show_default="the embedded encoders"),
    ] = None,
    image_encoder: Annotated[str | None, typer.Option(metavar="MODEL", help="The mesh's image encoder.")] = None,
    text_encoder: Annotated[str | None, typer.Option(metavar="MODEL", help="The mesh's text encoder.")] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Converted weights.", show_default="~/.cache/isthmus")
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Index large sources: encode beside the data, and hand files of rows to the writer.

    Killed at any moment, the same command goes on where it was, and stores nothing twice. Ids and vectors are those of
    `isthmus index`. The collection is made when it is not there. Ends with 1 when everything was refused.
    """
    with reporting(as_json=json), connect(address) as client, _usable():
        from isthmus.bulk.blocks import Columns
        from isthmus.bulk.encode import EncoderChoice
        from isthmus.bulk.job import BulkJob, job_name
        from isthmus.bulk.plan import plan_blocks
        from isthmus.bulk.staging import Staging
        from isthmus.bulk.workers import Workshop
        from isthmus.core.modality import Modality

        if encoder is not None and (image_encoder or text_encoder):
            message = "--encoder names both towers: leave --image-encoder and --text-encoder out"
            raise UsageError(message)
        cpus = actor_cpus or max((os.cpu_count() or 1) // actors, 1)
        pool, threads = _pool(engine, ray_address, actors=actors, cpus=cpus, gpus=actor_gpus)
        started_s = time.monotonic()
        columns = Columns(image=image_column, texts=text_column, id=id_column, pair=pair_column)
        blocks = plan_blocks(sources, rows=block_rows, columns=columns)
        found = _ensure_collection(client, collection)
        spaces = {Modality.IMAGE: found.image_space, Modality.TEXT: found.text_space}
        place = staging.rstrip("/") if "://" in staging else str(Path(staging).resolve())
        job = Staging(
            f"{place}/{tenant}", job_name(collection, [_whole(source) for source in sources], columns, block_rows)
        )
        workshop = Workshop(
            staging=job,
            choice=EncoderChoice(
                image_encoder=encoder or image_encoder,
                text_encoder=encoder or text_encoder,
                cache_dir=cache_dir,
                threads_count=threads,
            ),
            spaces={modality: space for modality, space in spaces.items() if space},
        )
        job.lock()
        rows = sum(block.count for block in blocks)
        with count_bar(f"bulk indexing into {collection}", rows) as tell, _stdout_to_stderr():
            importer = GatewayImporter(client, collection, job)
            summary = BulkJob(blocks=blocks, workshop=workshop, importer=importer, progress=tell).run(pool)
        _tell(summary, collection, time.monotonic() - started_s, as_json=json)
        if not summary.stored:
            complain("everything was refused", summary.refusals[0].reason if summary.refusals else "EMPTY_INPUT")
            raise typer.Exit(1)


def _pool(engine: Engine, address: str | None, *, actors: int, cpus: int, gpus: float) -> tuple[Pool, int | None]:
    """Return who encodes, and by how many threads.

    Raises:
        CommandError: Ray is asked for and not installed.
        UsageError: options of Ray without Ray.
    """
    from isthmus.bulk.plain_pool import PlainPool
    from isthmus.bulk.ray_pool import RayPool

    # Found, not imported: Ray reads its environment when it is imported.
    there = all(importlib.util.find_spec(name) is not None for name in _RAY_DATA)
    asked = address is not None or actors > 1 or gpus > 0
    if engine is Engine.RAY or (engine is Engine.AUTO and (there or asked)):
        if not there:
            message = "this needs Ray Data, which is not installed"
            raise CommandError(message, reason="EXTRA_MISSING", hint='pip install "isthmus[ray]", or --engine plain')
        return RayPool(address=address, actors=actors, num_cpus=cpus, num_gpus=gpus), cpus
    if asked:
        message = "--ray-address, --actors and --actor-gpus go with --engine ray"
        raise UsageError(message)
    if engine is Engine.AUTO:
        note('encoding in this process; pip install "isthmus[ray]" for an actor pool')
    return PlainPool(), None


def _whole(source: str) -> str:
    return source if "://" in source else str(Path(source).resolve())


@contextlib.contextmanager
def _usable() -> Iterator[None]:
    """Turn what is wrong with sources, encoders and staging folder into a failure of the command."""
    try:
        yield
    except ImportError as error:
        extra = "ray" if (error.name or "").partition(".")[0] in _RAY_DATA else "serve"
        raise missing_extra(error, extra=extra, what="`isthmus bulk-index`") from error
    except (CommandError, IsthmusError, typer.Exit):
        raise
    except OSError as error:
        message = f"{error.filename or 'the staging folder'}: {error.strerror or error}"
        raise CommandError(message, reason="UNWRITABLE_FILE") from error
    except Exception as error:
        raise _as_command_error(error) from error


def _as_command_error(error: Exception) -> Exception:
    from isthmus.bulk.blocks import SourceError
    from isthmus.bulk.staging import StagingBusyError
    from isthmus.runtime.base.errors import IsthmusError as DomainError

    if isinstance(error, SourceError):
        return CommandError(str(error), reason="UNREADABLE_SOURCE")
    if isinstance(error, StagingBusyError):
        return CommandError("the same command is running already", reason="JOB_RUNNING")
    if isinstance(error, DomainError):
        hint = "name the mesh's encoders: --encoder, or --image-encoder and --text-encoder"
        return CommandError(str(error), reason=error.reason, hint=hint if error.reason == "SPACE_MISMATCH" else "")
    if isinstance(error, (ValueError, RuntimeError)) or type(error).__module__.partition(".")[0] == "ray":
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        hint = "the same command goes on from here"
        return CommandError(lines[-1] if lines else type(error).__name__, reason="BULK_FAILED", hint=hint)
    return error


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Whatever Ray and its workers print goes to stderr: stdout is for the result."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(own, 1)
        os.close(own)


def _ensure_collection(client: Client, name: str) -> Collection:
    try:
        return client.get_collection(name)
    except NotFoundError:
        try:
            return client.create_collection(name)
        except AlreadyExistsError:  # another run was faster
            return client.get_collection(name)


def _tell(summary: BulkSummary, collection: str, seconds: float, *, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {
            "collection": collection,
            "images": summary.images,
            "texts": summary.texts,
            "created": summary.created,
            "updated": summary.updated,
            "unchanged": summary.unchanged,
            "refused": summary.refused,
            "truncated": summary.truncated,
            "revision": summary.revision,
            "blocks": summary.blocks,
            "blocks_resumed": summary.resumed_blocks,
            "blocks_reused": summary.reused_blocks,
            "seconds": round(seconds, 3),
            "refusals": [
                {"source": r.source, "row": r.row, "id": r.id, "reason": r.reason, "message": r.message}
                for r in summary.refusals
            ],
        }
        print_json(document)
        return
    resumed = summary.resumed_blocks + summary.reused_blocks
    facts(
        [
            ("collection", f"{collection}, revision {summary.revision}"),
            ("images", summary.images),
            ("texts", summary.texts),
            ("created", summary.created),
            ("updated", summary.updated),
            ("unchanged", summary.unchanged),
            ("refused", summary.refused),
            ("blocks", f"{summary.blocks}, {resumed} of an earlier run" if resumed else summary.blocks),
            ("time", f"{seconds:.1f} s"),
        ]
    )
    if summary.truncated:
        note(f"{summary.truncated} texts were cut to the model's context")
    if summary.refusals:
        first = itertools.islice(summary.refusals, _REFUSALS_SHOWN_COUNT)
        rows = ((r.source, r.row, r.id, r.reason, r.message) for r in first)
        print_table(table("source", "row", "refused", "reason", "message", right=["row"]), rows)
    if summary.refused > _REFUSALS_SHOWN_COUNT:
        note(f"{summary.refused} refused in all; --json lists the first 1000")
