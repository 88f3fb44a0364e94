"""`isthmus search --queries`: many queries of a file at once, and how answers are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from isthmus.cli.failures import CommandError
from isthmus.cli.output import note, percent, print_json, print_table, table
from isthmus.cli.sources.lines import read_lines
from isthmus.cli.sources.record import SourceError
from isthmus.client import BatchSearchResult, Neighbor, Query

__all__ = ["neighbor_document", "search_many", "shown_match", "shown_text", "shown_words"]

_TEXT_SHOWN_COUNT: Final = 80
_QUERY_SHOWN_COUNT: Final = 40
_SHOWN_COUNT: Final = 20
_JSON_LINES: Final = (".jsonl", ".ndjson")
_KINDS: Final = ("text", "image", "item")


def search_many(
    search: Callable[[Sequence[Query]], BatchSearchResult], path: Path, *, told: Mapping[str, object] | None
) -> None:
    """Search by the queries of a file and print the answers.

    Args:
        search: Asks the mesh.
        path: A text a line; in JSON lines an object a line.
        told: What the document says beside the answers; None prints a table for people.

    Raises:
        CommandError: the file cannot be read, or holds no query.
        Exit: with status 1 where a query was refused.
    """
    try:
        lines = list(_queries(path))
    except SourceError as error:
        raise CommandError(str(error), reason="UNREADABLE_SOURCE") from error
    if not lines:
        msg = f"{path} holds no query"
        raise CommandError(msg, reason="EMPTY_INPUT")
    good = [(number, asked) for number, asked, query in lines if query is not None]
    found = search([query for _, _, query in lines if query is not None]) if good else None
    bad = [(number, "BAD_LINE", str(asked)) for number, asked, query in lines if query is None]
    if found is not None:
        bad += [(good[error.index][0], error.reason, error.message) for error in found.errors]
    bad.sort()
    if told is None:
        _show(good, found, bad)
    else:
        print_json(_document(told, good, found, bad))
    if bad:
        raise typer.Exit(1)


def _queries(path: Path) -> Iterator[tuple[int, str | dict[str, Any], Query | None]]:
    """Yield line number, what it asks, and the query; or what is wrong with the line and None.

    Raises:
        SourceError: the file cannot be read or is not UTF-8.
    """
    is_json = path.suffix.lower() in _JSON_LINES
    for number, line in read_lines(path):
        if not is_json:
            yield number, {"text": line}, Query(text=line)
            continue
        try:
            document = json.loads(line)
        except ValueError:
            yield number, "the line is not JSON", None
            continue
        keys = list(document) if isinstance(document, dict) else []
        if len(keys) != 1 or keys[0] not in _KINDS or not isinstance(document[keys[0]], str):
            yield number, f"the line is no object of exactly one text: {', '.join(_KINDS)}", None
            continue
        kind, value = keys[0], document[keys[0]]
        if kind != "image":
            yield number, document, Query(text=value) if kind == "text" else Query(item_id=value)
            continue
        try:
            yield number, document, Query(image=Path(value).read_bytes())
        except OSError as error:
            yield number, f"{value}: {error.strerror or error}", None


def _document(
    told: Mapping[str, object],
    good: Sequence[tuple[int, str | dict[str, Any]]],
    found: BatchSearchResult | None,
    bad: Sequence[tuple[int, str, str]],
) -> dict[str, object]:
    results = () if found is None else found.results
    return {
        **told,
        "n": len(results) + len(bad),
        "results": [
            {
                "line": good[one.index][0],
                "query": good[one.index][1],
                "neighbors": [neighbor_document(neighbor) for neighbor in one.neighbors],
                "space": one.space,
                "truncated": one.truncated,
            }
            for one in results
        ],
        "errors": [{"line": number, "reason": reason, "message": message} for number, reason, message in bad],
        "revision": 0 if found is None else found.revision,
        "calibration": "none" if found is None else found.calibration,
        "degraded": [] if found is None else list(found.degraded),
        "timings": {}
        if found is None
        else {name: getattr(found.timings, name) for name in found.timings.__dataclass_fields__},
    }


def _show(
    good: Sequence[tuple[int, str | dict[str, Any]]],
    found: BatchSearchResult | None,
    bad: Sequence[tuple[int, str, str]],
) -> None:
    results = () if found is None else found.results
    matches = any(neighbor.probability is not None for one in results for neighbor in one.neighbors)
    headings = ["line", "query", "", "score", *(["match"] if matches else []), "", "id", "text"]
    made = table(*headings, right=("line", "score", "match"))
    print_table(
        made,
        (
            [
                good[one.index][0] if place == 1 else "",
                _shortened(_words(good[one.index][1]), _QUERY_SHOWN_COUNT) if place == 1 else "",
                place,
                f"{neighbor.score:.3f}",
                *([shown_match(neighbor)] if matches else []),
                neighbor.modality,
                neighbor.id,
                shown_text(neighbor),
            ]
            for one in results
            for place, neighbor in enumerate(one.neighbors, 1)
        ),
    )
    if found is not None:
        note(f"{found.timings.total_micros / 1000:.1f} ms for {len(good)} queries, revision {found.revision}")
        if found.degraded:
            note(f"answered without: {', '.join(found.degraded)}")
    for number, reason, message in bad[:_SHOWN_COUNT]:
        note(f"line {number}: {message} ({reason})")
    if len(bad) > _SHOWN_COUNT:
        note(f"and {len(bad) - _SHOWN_COUNT} more; --json names all")


def _words(asked: str | dict[str, Any]) -> str:
    return asked if isinstance(asked, str) else str(next(iter(asked.values())))


def neighbor_document(neighbor: Neighbor) -> dict[str, object]:
    """Return an answer as JSON tells it."""
    return {
        "id": neighbor.id,
        "modality": neighbor.modality,
        "score": neighbor.score,
        "calibrated_score": neighbor.calibrated_score,
        "probability": neighbor.probability,
        "keyword_score": neighbor.keyword_score,
        "pair_key": neighbor.item.pair_key,
        "attributes": dict(neighbor.item.attributes),
    }


def shown_match(neighbor: Neighbor) -> str:
    """Return the probability of an answer for people."""
    return "" if neighbor.probability is None else percent(neighbor.probability)


def shown_words(neighbor: Neighbor) -> str:
    """Return the BM25 score of an answer for people."""
    return "" if neighbor.keyword_score is None else f"{neighbor.keyword_score:.1f}"


def shown_text(neighbor: Neighbor) -> str:
    """Return the text of an answer for people."""
    return _shortened(str(neighbor.item.attributes.get("text", "")), _TEXT_SHOWN_COUNT)


def _shortened(text: str, count: int) -> str:
    return text if len(text) <= count else text[: count - 1] + "…"
