"""The keyword channel: names that vectors miss, what it does to other answers, and BM25 beside Lance's full text."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.client import Client, Item, SearchResult
from isthmus.core.words import terms
from isthmus.index.keywords import KeywordColumns, bm25
from isthmus.index.model import attributes_to_json
from tests.bench.record import Figure
from tests.harness.shared import FLICKR8K_DEV

__all__ = ["measure"]

PHOTOS: Final = 250
MODELS: Final = (4711, 4712, 5820, 9931)
TEXTS: Final = 100_000
CAPTIONS: Final = 100
TOP_K: Final = 10

_COLLECTION: Final = "bench-keywords"
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_RELEVANT: Final = 5
"""Items of the photo that a caption belongs to, the caption itself left out."""
_ROWS_FILTERED: Final = 20_000


def measure(address: str) -> list[Figure]:
    """Return how often a product's exact number finds it first, and how long words take."""
    figures = list(_speed())
    if FLICKR8K_DEV.exists():
        with Client(address) as client:
            figures = [*_names(client), *figures]
            client.delete_collection(_COLLECTION)
    return figures


def _names(client: Client) -> Iterator[Figure]:
    captions, items = _shop()
    client.create_collection(_COLLECTION, keyword_search=True)
    client.upsert(_COLLECTION, items)
    names = [(f"sku-{model}-{letter}", f"SKU {model}-{letter}") for model in MODELS for letter in _LETTERS]

    def first(search: Callable[[str], SearchResult]) -> float:
        return sum(search(name).neighbors[0].id == item_id for item_id, name in names) / len(names)

    by_vector = first(lambda name: client.search(_COLLECTION, text=name, top_k=TOP_K))
    by_words = first(lambda name: client.search(_COLLECTION, keywords=name, top_k=TOP_K))
    by_both = first(lambda name: client.search(_COLLECTION, text=name, keywords=name, top_k=TOP_K))
    yield Figure(
        f"{len(names)} numbers of products among {len(items)} items: found first by text and words",
        f"{100 * by_both:.0f} %",
        "≥ 95 %",
        f"by the text's vector alone {100 * by_vector:.0f} %, by words alone {100 * by_words:.0f} %",
        by_both >= 0.95,
    )
    gains = {
        way: [
            _gain(
                client.search(_COLLECTION, text=caption, keywords=caption if way else None, top_k=TOP_K), f"p{number}"
            )
            for number, caption in enumerate(captions[:CAPTIONS])
        ]
        for way in (False, True)
    }
    by_vector, by_both = (float(np.mean(gains[way])) for way in (False, True))
    yield Figure(
        f"nDCG@{TOP_K} of {len(gains[True])} captions given as keywords too, over that of vectors alone",
        f"{by_both / by_vector:.2f}",
        "≥ 0.95",
        f"{by_both:.3f} over {by_vector:.3f}; relevant are the caption's photo and its four other captions",
        by_both >= 0.95 * by_vector,
    )


def _gain(found: SearchResult, pair_key: str) -> float:
    relevant = np.array([neighbor.item.pair_key == pair_key for neighbor in found.neighbors])
    discounts = 1 / np.log2(np.arange(2, len(relevant) + 2))
    return float((relevant * discounts).sum() / discounts[:_RELEVANT].sum())


def _shop() -> tuple[list[str], list[Item]]:
    """Return captions that are not stored; photos, their other captions and products whose texts differ in a number."""
    items, asked = [], []
    for number, row in enumerate(pq.read_table(FLICKR8K_DEV).slice(0, PHOTOS).to_pylist()):
        items.append(Item(id=f"photo-{number}", image=row["image"]["bytes"], pair_key=f"p{number}"))
        asked.append(row["captions"][0])
        items += [
            Item(id=f"caption-{number}-{place}", text=text, pair_key=f"p{number}")
            for place, text in enumerate(row["captions"][1:])
        ]
    items += [
        Item(id=f"sku-{model}-{letter}", text=f"Replacement water filter for garden pump, SKU {model}-{letter}")
        for model in MODELS
        for letter in _LETTERS
    ]
    return asked, items


def _speed() -> Iterator[Figure]:
    texts = _made_up()
    documents = pa.array([attributes_to_json({}, text=text) for text in texts], pa.binary())
    started_s = time.perf_counter()
    columns = KeywordColumns.parse(documents)
    read_us = (time.perf_counter() - started_s) / TEXTS * 1e6
    asked = terms("SKU 17-B")
    ours_ms = _quickest_ms(lambda: bm25([(columns, None)], asked))
    with tempfile.TemporaryDirectory() as folder:
        table = lance.write_dataset(pa.table({"text": texts}), Path(folder) / "texts")
        table.create_scalar_index("text", "INVERTED", with_position=False)
        lance_ms = _quickest_ms(lambda: _of_lance(table))
        live = ",".join(map(str, range(_ROWS_FILTERED)))
        filtered_ms = _quickest_ms(lambda: _of_lance(table, filter=f"_rowid in ({live})", prefilter=True), rounds=3)
    yield Figure(
        f"BM25 of a number and a word that all have, {TEXTS:,} texts, all live rows scored",
        f"{ours_ms:.1f} ms",
        "",
        f"read in {read_us:.0f} us a text; Lance's inverted index {lance_ms:.1f} ms over all rows, live or not, and "
        f"{filtered_ms:.0f} ms with {_ROWS_FILTERED:,} live row ids as filter",
    )


def _of_lance(table: Any, **options: Any) -> pa.Table:
    return table.scanner(columns=["text", "_score"], full_text_query="sku 17-B", limit=TOP_K, **options).to_table()


def _made_up() -> list[str]:
    rng = random.Random(0)
    words: Sequence[str] = [f"word{number}" for number in range(5_000)]
    return [
        f"{' '.join(rng.choices(words, k=12))} SKU {number // len(_LETTERS)}-{_LETTERS[number % len(_LETTERS)]}"
        for number in range(TEXTS)
    ]


def _quickest_ms(work: Callable[[], object], *, rounds: int = 10) -> float:
    best = float("inf")
    for _ in range(rounds):
        started_s = time.perf_counter()
        work()
        best = min(best, (time.perf_counter() - started_s) * 1000)
    return best
