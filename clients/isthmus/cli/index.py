"""`isthmus index`."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.cli.failures import CommandError, UsageError, complain, missing_extra, reporting
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import facts, note, print_json, print_table, table
from isthmus.cli.progress import count_bar
from isthmus.cli.sources.captions import Captions
from isthmus.cli.sources.feed import Feed
from isthmus.cli.sources.images import Thumbnailer
from isthmus.cli.sources.opening import open_sources
from isthmus.cli.sources.record import GivenSpace, Refused, Source, SourceError
from isthmus.client import (
    AlreadyExistsError,
    Client,
    ClientConfig,
    Collection,
    Modality,
    NotFoundError,
    Resume,
    Timeouts,
    UpsertAck,
)

__all__ = ["index"]

_CONFIG: Final = ClientConfig(
    # Long enough for a mesh to be restarted in the middle, and for a day of indexing.
    resume=Resume(max_attempts=25),
    timeouts=Timeouts(stream_s=86_400.0),
)
_REFUSALS_SHOWN_COUNT: Final = 10
_REFUSALS_KEPT_COUNT: Final = 1000


@dataclass(slots=True)
class _Tally:
    """What became of the items so far."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    revision: int = 0
    truncated: int = 0
    refusals: list[Refused] = field(default_factory=list)

    @property
    def stored(self) -> int:
        """Items that are in the collection now."""
        return self.created + self.updated + self.unchanged

    def add(self, ack: UpsertAck) -> None:
        """Count an acknowledgement."""
        self.created += ack.created
        self.updated += ack.updated
        self.unchanged += ack.unchanged
        self.revision = max(self.revision, ack.revision)
        self.truncated += len(ack.truncated)
        for error in ack.errors:
            self.refuse(Refused(error.id, error.reason, error.message))

    def refuse(self, refused: Refused) -> None:
        """Count a refusal; only the first ones are kept."""
        self.refused += 1
        if len(self.refusals) < _REFUSALS_KEPT_COUNT:
            self.refusals.append(refused)


def index(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE…",
            help="Folders of images, single images, .parquet with image and captions or text, .tsv or .jsonl of texts, "
            ".npz of vectors.",
        ),
    ],
    collection: CollectionName,
    captions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Captions of the images: .jsonl with file and captions, or .tsv."),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Keep a small picture of each image beside it.")
    ] = False,
    image_space: Annotated[
        str | None, typer.Option(metavar="SPACE", help="Raw space of the image vectors of an .npz: encoder@revision.")
    ] = None,
    text_space: Annotated[
        str | None, typer.Option(metavar="SPACE", help="Raw space of the text vectors of an .npz.")
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Index images, texts and vectors; the collection is made when it is not there.

    Ids come from the sources, so that the same run again changes nothing and encodes nothing. An image and its
    captions are a pair. Ends with 1 when everything was refused.
    """
    with reporting(as_json=json), connect(address, config=_CONFIG) as client:
        spaces: dict[Modality, str] = {}
        if image_space is not None:
            spaces["image"] = image_space
        if text_space is not None:
            spaces["text"] = text_space
        started_s = time.monotonic()
        with _readable():
            known = Captions.load(captions)
            thumbnailer = _thumbnailer() if thumbnails else _no_thumbnail
            opened = list(open_sources(sources, captions=known, thumbnailer=thumbnailer, spaces=spaces))
        found, made = _ensure_collection(client, collection, opened, thumbnails=thumbnails)
        tally = _Tally(revision=found.revision)
        _store(client, collection, opened, tally)
        seconds = time.monotonic() - started_s
        unused = len(list(known.unused()))
        if json:
            print_json({"collection": collection, "collection_created": made, **_document(tally, seconds)})
        else:
            _show(collection, tally, seconds)
            if unused:
                note(f"{unused} names in {captions} belong to no image of the sources")
        if not tally.stored:
            message = "everything was refused" if tally.refused else "the sources hold no items"
            complain(message, tally.refusals[0].reason if tally.refusals else "EMPTY_INPUT")
            raise typer.Exit(1)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turn what is wrong with a source into a failure of the command."""
    try:
        yield
    except SourceError as error:
        raise CommandError(str(error), reason="UNREADABLE_SOURCE") from error
    except ImportError as error:
        raise missing_extra(error, extra="serve", what="reading parquet") from error


def _no_thumbnail(_: bytes) -> bytes:
    return b""


def _thumbnailer() -> Thumbnailer:
    try:
        from isthmus.cli.sources.thumbnails import thumbnail
    except ImportError as error:
        raise missing_extra(error, extra="images", what="--thumbnails") from error
    return thumbnail


def _ensure_collection(
    client: Client, name: str, sources: Sequence[Source], *, thumbnails: bool
) -> tuple[Collection, bool]:
    """Return the collection, and whether it had to be made.

    Raises:
        CommandError: it is there and keeps no thumbnails, which were asked for.
    """
    try:
        found = client.get_collection(name)
    except NotFoundError:
        spaces = _given_spaces(sources)
        contents: set[Modality] = {modality for source in sources for modality in source.contents}
        own = {e.modality: GivenSpace(e.space, e.dimension) for e in client.status().encoders} if spaces else {}
        # A collection that holds given vectors names all its spaces: given ones first, the mesh's for the rest.
        for modality in contents:
            if modality in own:
                spaces.setdefault(modality, own[modality])
        none = GivenSpace("", 0)
        try:
            made = client.create_collection(
                name,
                image_space=spaces.get("image", none).space,
                image_dimension=spaces.get("image", none).dimension,
                text_space=spaces.get("text", none).space,
                text_dimension=spaces.get("text", none).dimension,
                store_thumbnails=thumbnails,
            )
        except AlreadyExistsError:  # another run was faster
            found = client.get_collection(name)
        else:
            return made, True
    if thumbnails and not found.store_thumbnails:
        msg = f"collection {name} was made without thumbnails"
        raise CommandError(
            msg, reason="THUMBNAILS_DISABLED", hint="leave --thumbnails out, or index into a new collection"
        )
    return found, False


def _given_spaces(sources: Sequence[Source]) -> dict[Modality, GivenSpace]:
    """Return the spaces that the sources bring along.

    Raises:
        UsageError: two of them differ: one collection holds one space a modality.
    """
    found: dict[Modality, GivenSpace] = {}
    for source in sources:
        for modality, given in source.spaces.items():
            if found.setdefault(modality, given) != given:
                msg = f"the sources bring {modality} vectors of two spaces; index them into two collections"
                raise UsageError(msg)
    return found


def _store(client: Client, collection: str, sources: Sequence[Source], tally: _Tally) -> None:
    totals = [source.total for source in sources]
    total = None if None in totals else sum(count for count in totals if count is not None)
    with count_bar(f"indexing into {collection}", total) as tell, _readable():

        def refuse(refused: Refused) -> None:
            tally.refuse(refused)
            tell(1)

        for ack in client.upsert_acks(collection, Feed(sources, on_refused=refuse)):
            tally.add(ack)
            tell(ack.items)


def _document(tally: _Tally, seconds: float) -> dict[str, object]:
    return {
        "items": tally.stored + tally.refused,
        "created": tally.created,
        "updated": tally.updated,
        "unchanged": tally.unchanged,
        "refused": tally.refused,
        "truncated": tally.truncated,
        "revision": tally.revision,
        "seconds": round(seconds, 3),
        "refusals": [{"id": r.id, "reason": r.reason, "message": r.message} for r in tally.refusals],
    }


def _show(collection: str, tally: _Tally, seconds: float) -> None:
    items = tally.stored + tally.refused
    facts(
        [
            ("collection", f"{collection}, revision {tally.revision}"),
            ("created", tally.created),
            ("updated", tally.updated),
            ("unchanged", tally.unchanged),
            ("refused", tally.refused),
            ("time", f"{seconds:.1f} s, {items / max(seconds, 1e-9):.0f} items/s"),
        ]
    )
    if tally.truncated:
        note(f"{tally.truncated} texts were cut to the model's context")
    if tally.refusals:
        shown = itertools.islice(tally.refusals, _REFUSALS_SHOWN_COUNT)
        print_table(table("refused", "reason", "message"), ((r.id, r.reason, r.message) for r in shown))
        if tally.refused > _REFUSALS_SHOWN_COUNT:
            note(f"and {tally.refused - _REFUSALS_SHOWN_COUNT} more; --json lists the first {_REFUSALS_KEPT_COUNT}")
