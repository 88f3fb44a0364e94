"""`isthmus link`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.local import unwritable
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import note, percent, print_json, print_table, table
from isthmus.client import LinkMode, LinkProposal

__all__ = ["link"]

_SHOWN_COUNT: Final = 20


def link(
    collection: CollectionName,
    one_to_one: Annotated[
        bool, typer.Option("--one-to-one", help="Use no image and no text twice; this is what happens without --best.")
    ] = False,
    best: Annotated[
        bool, typer.Option("--best", help="Link each text to its best image, whatever other texts that image has.")
    ] = False,
    each: Annotated[
        Literal["text", "image"] | None,
        typer.Option(help="With --best: whose best counterpart is proposed.", show_default="text"),
    ] = None,
    false_accept_rate: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Leave items without a link rather than link more than this share of those without a match.",
            show_default="a link for every item that can have one",
        ),
    ] = None,
    expected_share: Annotated[
        float | None,
        typer.Option(metavar="S", help="Share of the items that have a match, as far as you know.", show_default="0.9"),
    ] = None,
    max_count: Annotated[
        int, typer.Option("--max", min=0, metavar="N", help="How many links, the most probable ones; 0 means all.")
    ] = 0,
    aligner: Annotated[
        str, typer.Option(metavar="ALIGNER", help="Compare with this aligner.", show_default="the active one")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write all links: image_id, text_id, probability, score.")
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Propose which images and texts without a pair key belong together; nothing is stored."""
    with reporting(as_json=json), connect(address) as client:
        mode = _mode(one_to_one=one_to_one, best=best, each=each)
        found = client.propose_links(
            collection,
            mode=mode,
            false_accept_rate=false_accept_rate,
            expected_share=expected_share,
            max_count=max_count,
            aligner=aligner,
        )
        if out is not None:
            _write(out, found)
        if json:
            print_json(_document(collection, mode, found))
        else:
            _show(found, out)


def _mode(*, one_to_one: bool, best: bool, each: Literal["text", "image"] | None) -> LinkMode:
    """Return which links may stand beside one another.

    Raises:
        UsageError: the options exclude each other.
    """
    if one_to_one and best:
        msg = "--one-to-one and --best exclude each other"
        raise UsageError(msg)
    if each is not None and not best:
        msg = "--each says whose best counterpart is proposed; it needs --best"
        raise UsageError(msg)
    if not best:
        return "one_to_one"
    return "best_text" if each == "image" else "best_image"


def _document(collection: str, mode: LinkMode, found: LinkProposal) -> dict[str, object]:
    return {
        "collection": collection,
        "mode": mode,
        "images": found.image_count,
        "texts": found.text_count,
        "accept_above": found.accept_above,
        "aligner": found.aligner,
        "revision": found.revision,
        "links": [
            {
                "image_id": one.image_id,
                "text_id": one.text_id,
                "probability": one.probability,
                "score": one.score,
            }
            for one in found.links
        ],
    }


def _write(path: Path, found: LinkProposal) -> None:
    """Write the links as a table.

    Raises:
        CommandError: UNWRITABLE_FILE.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as handle:
            rows = csv.writer(handle)
            rows.writerow(("image_id", "text_id", "probability", "score"))
            rows.writerows((one.image_id, one.text_id, one.probability, one.score) for one in found.links)
    except OSError as error:
        raise unwritable(path, error) from error


def _show(found: LinkProposal, out: Path | None) -> None:
    print_table(
        table("image", "text", "probability", title="Proposed links", right=("probability",)),
        ((one.image_id, one.text_id, percent(one.probability)) for one in found.links[:_SHOWN_COUNT]),
    )
    if len(found.links) > _SHOWN_COUNT:
        where = "--out FILE.csv writes all" if out is None else f"all are in {out}"
        note(f"the {_SHOWN_COUNT} most probable of {len(found.links)} links; {where}")
    expected = sum(one.probability for one in found.links)
    note(
        f"{found.image_count} images and {found.text_count} texts without a pair key, {len(found.links)} links, about "
        f"{expected:.0f} of them right, aligner {found.aligner or 'none'}, revision {found.revision}"
    )
