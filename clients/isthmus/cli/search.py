"""`isthmus search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.likes import parse_likes
from isthmus.cli.local import read_bytes
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import note, print_json, print_table, table
from isthmus.cli.search_many import neighbor_document, search_many, shown_match, shown_text, shown_words
from isthmus.cli.where import WhereError, parse_where
from isthmus.client import AnyModality, Filter, GroupBy, SearchResult

__all__ = ["search"]


def search(
    collection: CollectionName,
    text: Annotated[str | None, typer.Option("--text", "-t", help="Search by this text.")] = None,
    image: Annotated[Path | None, typer.Option("--image", "-i", metavar="FILE", help="Search by this image.")] = None,
    item: Annotated[str | None, typer.Option(metavar="ID", help="Search by an item of the collection.")] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXAMPLE",
            help="Search by examples: text:WORDS, image:FILE or item:ID, with a weight as in 0.5*item:ID; repeatable.",
        ),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option(metavar="EXAMPLE", help="An example that answers should be unlike, written as for --like."),
    ] = None,
    keywords: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="Find texts that hold these words too, or only them where no query is given; "
            "for collections created with --keyword-search.",
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Search by many queries: a text a line, or in a .jsonl file an object a line, as "
            '{"text": …}, {"image": "FILE"} or {"item": "ID"}. A bad one is reported and harms no other.',
        ),
    ] = None,
    modality: Annotated[AnyModality, typer.Option(help="What to answer with.")] = "any",
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Answer only with items whose attributes match, for example "
            '\'price < 10 and color in ("red", "blue")\'; also or, not, startswith, exists and parentheses.',
        ),
    ] = None,
    group_by: Annotated[
        GroupBy | None,
        typer.Option(help="pair_key: answer once for all items that share a pair key, with the best of them."),
    ] = None,
    collapse_above: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, metavar="COSINE", help="Leave out what is at least so similar to a better answer."
        ),
    ] = None,
    mmr_lambda: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Diverse answers: the weight of relevance against likeness to the answers before."
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Score every item, in place of those that a large collection's structures name."),
    ] = False,
    allow_partial: Annotated[
        bool,
        typer.Option("--allow-partial", help="Answer without a group of searchers that is missing, and say so."),
    ] = False,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, max=1000, help="How many neighbours.")] = 10,
    page_token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Go on after the page whose `--json` named this token.")
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Find the items nearest to a text, an image, an item, several examples, or each of many queries."""
    with reporting(as_json=json), connect(address) as client:
        query = {"text": text, "image": None if image is None else str(image), "item": item}
        given = {name: value for name, value in query.items() if value is not None}
        asked: dict[str, object] = {**given}
        if like or unlike:
            asked |= {"like": like or [], "unlike": unlike or []}
        count = len(given) + bool(like or unlike) + (queries is not None)
        if count != 1 and not (keywords and not count):
            msg = "give exactly one of --text, --image, --item, --queries, and examples with --like and --unlike"
            raise UsageError(msg)
        wanted = None if where is None else _filter(where)
        options = {
            "where": where,
            "group_by": group_by,
            "collapse_above": collapse_above,
            "mmr_lambda": mmr_lambda,
            "exact": exact,
            "allow_partial": allow_partial,
        }
        if queries is not None:
            if page_token is not None or keywords:
                msg = "--page-token and --keywords go with one query, not with --queries"
                raise UsageError(msg)
            told = {"collection": collection, **options}
            search_many(
                lambda batch: client.batch_search(
                    collection,
                    batch,
                    modality=modality,
                    where=wanted,
                    group_by=group_by,
                    collapse_above=collapse_above,
                    mmr_lambda=mmr_lambda,
                    exact=exact,
                    allow_partial=allow_partial,
                    top_k=top_k,
                ),
                queries,
                told=told if json else None,
            )
            return
        found = client.search(
            collection,
            text=text,
            image=None if image is None else read_bytes(image),
            item_id=item,
            examples=parse_likes(like or [], unlike or []) if like or unlike else None,
            keywords=keywords,
            modality=modality,
            where=wanted,
            group_by=group_by,
            collapse_above=collapse_above,
            mmr_lambda=mmr_lambda,
            exact=exact,
            allow_partial=allow_partial,
            top_k=top_k,
            page_token=page_token,
        )
        if json:
            print_json({"collection": collection, "query": asked, "keywords": keywords, **options, **_document(found)})
        else:
            _show(found)


def _filter(where: str) -> Filter:
    try:
        return parse_where(where)
    except WhereError as error:
        line = "".join(letter if letter.isprintable() else " " for letter in where)
        hint = f"{line}\n{' ' * (len('  hint: ') + error.column - 1)}^"
        msg = f"--where, {error}"
        raise UsageError(msg, hint=hint) from None


def _document(found: SearchResult) -> dict[str, object]:
    return {
        "neighbors": [neighbor_document(neighbor) for neighbor in found.neighbors],
        "next_page_token": found.next_page_token,
        "revision": found.revision,
        "space": found.space,
        "calibration": found.calibration,
        "truncated": found.truncated,
        "degraded": list(found.degraded),
        "shards_answered": found.shards_answered,
        "shards_total": found.shards_total,
        "timings": {name: getattr(found.timings, name) for name in found.timings.__dataclass_fields__},
    }


def _show(found: SearchResult) -> None:
    if not found.neighbors:
        note("nothing found: the collection holds no such items")
        return
    matches = any(neighbor.probability is not None for neighbor in found.neighbors)
    words = any(neighbor.keyword_score is not None for neighbor in found.neighbors)
    headings = ["", "score", *(["match"] if matches else []), *(["words"] if words else []), "", "id", "text"]
    made = table(*headings, right=("score", "match", "words"))
    print_table(
        made,
        (
            [
                place,
                f"{neighbor.score:.3f}",
                *([shown_match(neighbor)] if matches else []),
                *([shown_words(neighbor)] if words else []),
                neighbor.modality,
                neighbor.id,
                shown_text(neighbor),
            ]
            for place, neighbor in enumerate(found.neighbors, 1)
        ),
    )
    timings = found.timings
    note(
        f"{timings.total_micros / 1000:.1f} ms (encode {timings.encode_micros / 1000:.1f}, "
        f"search {timings.search_micros / 1000:.1f}), revision {found.revision}, space {found.space}"
    )
    if found.truncated:
        note("the query text was cut to the model's context")
    if found.degraded:
        missing = f" ({found.shards_answered} of {found.shards_total} answered)" if found.is_partial else ""
        note(f"answered without: {', '.join(found.degraded)}{missing}")
