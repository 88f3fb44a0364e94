"""`isthmus match`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from isthmus.cli.audit import audit_collection
from isthmus.cli.failures import CommandError, reporting
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import facts, note, percent, print_json, print_table, table
from isthmus.cli.pair_tables import FALSE_ACCEPT_RATE, Out, Rate, csv_rows, match_terms
from isthmus.cli.progress import count_bar
from isthmus.cli.sources.pairs import PairRow, count_rows, read_pair_rows
from isthmus.cli.sources.record import SourceError
from isthmus.client import Client, Impostor, MatchResult, MatchTerms, PairMatch

__all__ = ["match"]

_BATCH_COUNT: Final = 256
_BATCH_BYTES: Final = 8 << 20
_SHOWN_COUNT: Final = 20
_REFUSALS_KEPT_COUNT: Final = 1000
_COLUMNS: Final = ("row", "image", "text", "decision", "probability", "score", "error")
_DECISIONS: Final = ("match", "undecided", "no_match")


def match(
    collection: CollectionName,
    pairs: Annotated[
        Path | None,
        typer.Argument(
            metavar="PAIRS.csv",
            help="Columns image (a path) or image_id, and text or text_id. Without it: the pairs of the collection.",
        ),
    ] = None,
    false_accept_rate: Rate = None,
    impostor: Annotated[
        Impostor,
        typer.Option(help="What the rate is a share of: any other text, or each image's best other text."),
    ] = "random",
    prior: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of the pairs that match, as far as is known.", show_default="0.5"),
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, max=2_000_000, metavar="N", help="Of the collection's own pairs: how many to list.")
    ] = _SHOWN_COUNT,
    out: Out = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Judge whether pictures belong to texts: probability and decision at a chosen false-accept rate.

    With --json each row is in `pairs`, unless --out takes them. A bad row is reported by its number and harms no other.
    """
    with reporting(as_json=json), connect(address) as client:
        rate = FALSE_ACCEPT_RATE if false_accept_rate is None else false_accept_rate
        terms = match_terms(rate, impostor=impostor, prior=prior)
        if pairs is None:
            audit_collection(client, collection, top=top, terms=terms, seed=0, out=out, as_json=json)
            return
        try:
            _match_table(client, collection, pairs, terms=terms, out=out, as_json=json)
        except SourceError as error:
            raise CommandError(str(error), reason="UNREADABLE_SOURCE") from error


@dataclass(slots=True)
class _Outcome:
    """What became of the rows of a table."""

    keep_all: bool
    """Keep every judged row, and not the first few only."""
    rows: int = 0
    refused: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """The first of the bad rows."""
    pairs: list[dict[str, Any]] = field(default_factory=list)
    last: MatchResult | None = None
    """The answer to the last batch: which aligner, which thresholds."""

    def judged(self, row: PairRow, found: PairMatch) -> list[Any]:
        """Count a judged row; return its cells for CSV."""
        self.rows += 1
        self.decisions[found.decision] += 1
        cells = [row.number, row.image, row.text, found.decision, found.probability, found.score, ""]
        if self.keep_all or len(self.pairs) < _SHOWN_COUNT:
            self.pairs.append(dict(zip(_COLUMNS[:-1], cells, strict=False)))
        return cells

    def refuse(self, row: PairRow, *, reason: str, message: str) -> list[Any]:
        """Count a bad row; return its cells for CSV."""
        self.rows += 1
        self.refused += 1
        if len(self.refusals) < _REFUSALS_KEPT_COUNT:
            self.refusals.append({"row": row.number, "reason": reason, "message": message})
        return [row.number, row.image, row.text, "", "", "", f"{reason}: {message}"]


def _match_table(
    client: Client, collection: str, path: Path, *, terms: MatchTerms, out: Path | None, as_json: bool
) -> None:
    outcome = _Outcome(keep_all=as_json and out is None)
    with csv_rows(out, _COLUMNS) as write, count_bar("matching", count_rows(path)) as advance:
        for batch in _batches(read_pair_rows(path)):
            _match_batch(client, collection, batch, terms=terms, outcome=outcome, write=write)
            advance(len(batch))
    if not outcome.rows:
        msg = f"{path} has no rows"
        raise CommandError(msg, reason="EMPTY_INPUT")
    if as_json:
        print_json(_document(outcome, terms))
    else:
        _show(outcome, terms, out)
    if outcome.refused == outcome.rows:
        raise typer.Exit(1)


def _batches(rows: Iterator[PairRow]) -> Iterator[list[PairRow]]:
    """Yield rows in lists that fit into one message."""
    batch: list[PairRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        image = None if row.pair is None else row.pair.image
        size += len(image) if isinstance(image, bytes) else 0
        if len(batch) == _BATCH_COUNT or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _match_batch(
    client: Client,
    collection: str,
    batch: Sequence[PairRow],
    *,
    terms: MatchTerms,
    outcome: _Outcome,
    write: Callable[[Sequence[Any]], None],
) -> None:
    good = [row for row in batch if row.pair is not None]
    found: dict[int, PairMatch] = {}
    errors: dict[int, tuple[str, str]] = {}
    if good:
        answer = client.match_pairs(collection, [row.pair for row in good if row.pair is not None], terms=terms)
        outcome.last = answer
        found = {good[one.index].number: one for one in answer.matches}
        errors = {good[error.index].number: (error.reason, error.message) for error in answer.errors}
    for row in batch:
        if row.number in found:
            write(outcome.judged(row, found[row.number]))
        else:
            reason, message = errors.get(row.number, ("BAD_ROW", row.problem))
            write(outcome.refuse(row, reason=reason, message=message))


def _document(outcome: _Outcome, terms: MatchTerms) -> dict[str, Any]:
    last = outcome.last
    return {
        "n": outcome.rows,
        "decisions": {name: outcome.decisions[name] for name in _DECISIONS},
        "refused": outcome.refused,
        "refusals": outcome.refusals,
        "false_accept_rate": terms.false_accept_rate,
        "impostor": terms.impostor,
        "accept_above": None if last is None else last.accept_above,
        "refuse_below": None if last is None else last.refuse_below,
        "aligner": "" if last is None else last.aligner,
        "calibration": "none" if last is None else last.calibration,
        "revision": 0 if last is None else last.revision,
        "pairs": outcome.pairs if outcome.keep_all else [],
    }


def _show(outcome: _Outcome, terms: MatchTerms, out: Path | None) -> None:
    print_table(
        table("row", "image", "text", "match", "decision", right=("row", "match")),
        (
            (pair["row"], pair["image"], _short(pair["text"]), percent(pair["probability"]), pair["decision"])
            for pair in outcome.pairs
        ),
    )
    if outcome.rows - outcome.refused > len(outcome.pairs):
        note(f"the first {len(outcome.pairs)} are shown; --out FILE.csv writes all")
    last = outcome.last
    facts(
        [
            *((name.replace("_", " "), outcome.decisions[name]) for name in _DECISIONS),
            ("bad rows", outcome.refused),
            ("accepted at", f"a false-accept rate of {terms.false_accept_rate:g} of {terms.impostor} impostors"),
            ("aligner", "none" if last is None or not last.aligner else last.aligner),
        ]
    )
    for refusal in outcome.refusals[:_SHOWN_COUNT]:
        note(f"row {refusal['row']}: {refusal['message']} ({refusal['reason']})")
    if out is not None:
        note(f"all {outcome.rows} rows are in {out}")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"  # noqa: PLR2004 - what a line of a table holds
