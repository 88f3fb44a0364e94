"""`isthmus index`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.cli.failures import CommandError, UsageError, complain, missing_extra, reporting
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import note, print_json
from isthmus.cli.progress import count_bar
from isthmus.cli.sources.captions import Captions
from isthmus.cli.sources.feed import Feed
from isthmus.cli.sources.images import Thumbnailer
from isthmus.cli.sources.opening import open_sources
from isthmus.cli.sources.record import GivenSpace, Refused, Source, SourceError
from isthmus.cli.tally import Tally
from isthmus.client import (
    AlreadyExistsError,
    Client,
    ClientConfig,
    Collection,
    Modality,
    NotFoundError,
    Resume,
    Timeouts,
)

__all__ = ["index"]

_CONFIG: Final = ClientConfig(
    # Long enough for a mesh to be restarted in the middle, and for a day of indexing.
    resume=Resume(max_attempts=25),
    timeouts=Timeouts(stream_s=86_400.0),
)


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
        tally = Tally(revision=found.revision)
        _store(client, collection, opened, tally)
        seconds = time.monotonic() - started_s
        unused = len(list(known.unused()))
        if json:
            print_json({"collection": collection, "collection_created": made, **tally.document(seconds)})
        else:
            tally.show(collection, seconds)
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


def _store(client: Client, collection: str, sources: Sequence[Source], tally: Tally) -> None:
    totals = [source.total for source in sources]
    total = None if None in totals else sum(count for count in totals if count is not None)
    with count_bar(f"indexing into {collection}", total) as tell, _readable():

        def refuse(refused: Refused) -> None:
            tally.refuse(refused)
            tell(1)

        for ack in client.upsert_acks(collection, Feed(sources, on_refused=refuse)):
            tally.add(ack)
            tell(ack.items)
