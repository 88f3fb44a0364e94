"""`isthmus audit`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.cli.embeddings import EMBEDDINGS, numerics, read_pairs
from isthmus.cli.failures import CommandError, UsageError, reporting
from isthmus.cli.options import Address, Json, connect
from isthmus.cli.output import note, percent, print_json, print_table, table
from isthmus.cli.pair_tables import (
    PAIR_COLUMNS,
    Out,
    Rate,
    csv_rows,
    match_terms,
    pair_cells,
    pair_document,
    show_summary,
    summary_document,
)
from isthmus.client import AuditedPair, AuditSummary, Client, MatchTerms

__all__ = ["audit", "audit_collection"]

_ALL: Final = 2_000_000
"""As many pairs as the mesh lists."""


def audit(
    embeddings: Annotated[Path | None, EMBEDDINGS] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", metavar="NAME", help="A collection of a running mesh.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, max=_ALL, metavar="N", help="How many pairs to list.")] = 20,
    false_accept_rate: Rate = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of what is sampled.")] = 0,
    out: Out = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """List the pairs that belong together least, worst first: of a collection, or of a file of paired embeddings.

    Nothing needs to be fitted: a wrong pair is told by how much better its text and its image fit elsewhere. Where a
    collection's aligner has a calibration, every pair is also decided at the false-accept rate.
    """
    with reporting(as_json=json):
        if (embeddings is None) == (collection is None) or (embeddings and false_accept_rate is not None):
            msg = "name either --embeddings or --collection, where --false-accept-rate belongs"
            raise UsageError(msg)
        if embeddings is not None:
            with numerics("`isthmus audit`"):
                summary, pairs = _audited(embeddings, seed=seed)
            _report(summary, pairs, top=top, out=out, as_json=json)
        elif collection is not None:
            with connect(address) as client:
                terms = None if false_accept_rate is None else match_terms(false_accept_rate)
                audit_collection(client, collection, top=top, terms=terms, seed=seed, out=out, as_json=json)


def audit_collection(
    client: Client,
    collection: str,
    *,
    top: int,
    terms: MatchTerms | None,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Audit a collection and print it; every pair goes to `out`, the worst `top` to the screen."""
    parts = client.audit_pairs(collection, top=top if out is None else _ALL, terms=terms, seed=seed)
    summary = next(parts, None)
    if not isinstance(summary, AuditSummary):
        msg = "the mesh answered without a summary"
        raise CommandError(msg)
    pairs = (part for part in parts if isinstance(part, AuditedPair))
    _report(summary, pairs, top=top, out=out, as_json=as_json)


def _audited(path: Path, *, seed: int) -> tuple[AuditSummary, Iterator[AuditedPair]]:
    """Audit a file."""
    from isthmus.core.canonical import canonical
    from isthmus.core.matching import audit_pairs

    given = read_pairs(path)
    found = audit_pairs(
        canonical(given.images),
        canonical(given.texts),
        image_keys=given.image_keys,
        text_keys=given.text_keys,
        seed=seed,
    )
    summary = AuditSummary(
        pairs=len(found.log_odds),
        image_count=len(given.images),
        text_count=len(given.texts),
        wrong_share=found.wrong_share,
        decided=False,
        match_count=0,
        undecided_count=0,
        no_match_count=0,
        aligner="",
        revision=0,
    )
    probabilities, image_ids, text_ids = found.probabilities, given.ids["image"], given.ids["text"]
    return summary, (
        AuditedPair(
            image_id=image_ids[found.image_rows[place]],
            text_id=text_ids[found.text_rows[place]],
            pair_key=given.image_keys[found.image_rows[place]],
            probability=float(probabilities[place]),
            log_odds=float(found.log_odds[place]),
            cosine=float(found.cosines[place]),
            nearest_image_id=_id(image_ids, int(found.nearest_images[place])),
            nearest_text_id=_id(text_ids, int(found.nearest_texts[place])),
            decision=None,
            match_probability=None,
        )
        for place in range(len(found.log_odds))
    )


def _id(ids: Sequence[str], row: int) -> str:
    return "" if row < 0 else ids[row]


def _report(summary: AuditSummary, pairs: Iterator[AuditedPair], *, top: int, out: Path | None, as_json: bool) -> None:
    """Print the summary and the worst `top`; every pair goes to `out`."""
    with csv_rows(out, PAIR_COLUMNS) as write:
        listed = []
        for place, pair in enumerate(pairs):
            write(pair_cells(pair))
            if place < top:
                listed.append(pair)
            elif out is None:
                break
    if as_json:
        print_json(summary_document(summary) | {"pairs": [pair_document(pair) for pair in listed]})
        return
    show_summary(summary)
    _show(listed, decided=summary.decided)
    if out is not None:
        note(f"all {summary.pairs} pairs are in {out}")


def _show(pairs: Sequence[AuditedPair], *, decided: bool) -> None:
    if not pairs:
        return
    headings = ["image", "text", "belongs", "cosine", *(["match", "decision"] if decided else []), "text fits better"]
    print_table(
        table(*headings, title="Worst first", right=("belongs", "cosine", "match")),
        (
            [
                pair.image_id,
                pair.text_id,
                percent(pair.probability),
                f"{pair.cosine:.3f}",
                *([_match(pair), pair.decision or ""] if decided else []),
                pair.nearest_image_id,
            ]
            for pair in pairs
        ),
    )


def _match(pair: AuditedPair) -> str:
    return "" if pair.match_probability is None else percent(pair.match_probability)
