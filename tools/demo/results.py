"""What the demo found, as plain values: the table, the page and the JSON are three views of one `Run`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tools.demo.cycle_results import Cycle, cycle_as_json
from tools.demo.pictures import Picture

__all__ = [
    "Direction",
    "Found",
    "Modality",
    "Run",
    "Search",
    "as_json",
    "first_rank",
    "median_rank",
    "own_share",
    "share",
]

Modality = Literal["image", "text"]
Direction = Literal["text_to_image", "image_to_text", "image_to_image", "text_to_any", "image_to_any"]

_OWN_SHARE_DEPTH = 10


@dataclass(frozen=True)
class Found:
    """One answer of one search.

    Attributes:
        item_id: The item's id in the collection.
        modality: Whether it is a photograph or a sentence.
        key: Pair key: the picture it is, or is about.
        score: The service's score, higher is nearer.
    """

    item_id: str
    modality: Modality
    key: str
    score: float


@dataclass(frozen=True)
class Search:
    """One search with its answers.

    Attributes:
        direction: From which modality into which.
        key: Pair key of the query.
        query: The sentence asked, or the name of the picture asked.
        found: Answers, best first, without the query's own item.
        rank: 1-based place of the first right answer; None when it was not returned.
        seconds: Time the caller waited.
        encoded: Whether the query had to be encoded; otherwise its embedding came from a cache.
    """

    direction: Direction
    key: str
    query: str
    found: tuple[Found, ...]
    rank: int | None
    seconds: float
    encoded: bool


@dataclass(frozen=True)
class Run:
    """Everything one run of the demo measured.

    Attributes:
        pictures: The photographs indexed.
        left_out: (file, reason) of described photographs that the installed wheels do not carry.
        searches: Every search, in the order asked.
        ready_s: From starting `isthmus up` to its ready line.
        index_s: Indexing all photographs and captions.
        stop_s: From SIGTERM to the end of the process.
        total_s: The whole run, start to stop.
        image_space: Raw space of the pictures.
        text_space: Raw space of the sentences.
        aligner: Aligned space of the collection; empty when it has none.
        cycle: What became of an aligner that was fitted to a corpus of its own.
    """

    pictures: tuple[Picture, ...]
    left_out: tuple[tuple[str, str], ...]
    searches: tuple[Search, ...]
    ready_s: float
    index_s: float
    stop_s: float
    total_s: float
    image_space: str
    text_space: str
    aligner: str
    cycle: Cycle

    def of(self, direction: Direction) -> tuple[Search, ...]:
        """Return the searches of one direction, in the order asked."""
        return tuple(search for search in self.searches if search.direction == direction)

    def misses(self, *, top: int = 3) -> tuple[Search, ...]:
        """Return the caption searches whose photograph is not among the first `top`, worst first."""
        late = [s for s in self.of("text_to_image") if s.rank is None or s.rank > top]
        return tuple(sorted(late, key=lambda s: -(s.rank or len(self.pictures) + 1)))


def first_rank(found: Sequence[Found], right: Callable[[Found], bool]) -> int | None:
    """Return the 1-based place of the first right answer, or None when there is none."""
    return next((place for place, item in enumerate(found, start=1) if right(item)), None)


def share(searches: Sequence[Search], *, top: int) -> float:
    """Return the share of searches, in [0, 1], whose first right answer is among the first `top`.

    Raises:
        ValueError: When there are no searches.
    """
    if not searches:
        msg = "searches: 0 given, needs at least 1"
        raise ValueError(msg)
    return sum(s.rank is not None and s.rank <= top for s in searches) / len(searches)


def median_rank(searches: Sequence[Search]) -> float:
    """Return the median place of the first right answer; a search without one counts as one place after its last."""
    return statistics.median(s.rank if s.rank is not None else len(s.found) + 1 for s in searches)


def own_share(searches: Sequence[Search], *, modality: Modality) -> float:
    """Return the mean share, in [0, 1], of the query's own modality among the first 10 answers."""
    return statistics.mean(
        sum(item.modality == modality for item in s.found[:_OWN_SHARE_DEPTH]) / len(s.found[:_OWN_SHARE_DEPTH])
        for s in searches
    )


def as_json(run: Run) -> dict[str, object]:
    """Return the run as one JSON document: figures are fractions in [0, 1], times are seconds."""

    def recall(direction: Direction, tops: tuple[int, ...]) -> dict[str, float]:
        return {f"r{top}": share(run.of(direction), top=top) for top in tops}

    def mixed(direction: Direction, modality: Modality) -> dict[str, float]:
        figures = recall(direction, (1, 10, 20))
        figures["own_share"] = own_share(run.of(direction), modality=modality)
        return figures

    def waits(*, encoded: bool) -> dict[str, float]:
        seconds = sorted(s.seconds for s in run.searches if s.encoded == encoded)
        return {"n": len(seconds)} | ({"p50": statistics.median(seconds), "max": seconds[-1]} if seconds else {})

    return {
        "n": {"images": len(run.pictures), "texts": sum(len(p.captions) for p in run.pictures)},
        "recall": {
            "t2i": recall("text_to_image", (1, 3, 5, 10)),
            "i2t": recall("image_to_text", (1, 3, 5, 10)),
            "i2i": recall("image_to_image", (1, 3, 5, 10)),
        },
        "mixed": {
            "text_query": mixed("text_to_any", "text"),
            "image_query": mixed("image_to_any", "image"),
        },
        "misses": [
            {"caption": s.query, "picture": s.key, "rank": s.rank, "first": s.found[0].key if s.found else None}
            for s in run.misses()
        ],
        "cycle": cycle_as_json(run.cycle),
        "left_out": [{"file": file, "reason": reason} for file, reason in run.left_out],
        "spaces": {"image": run.image_space, "text": run.text_space, "aligned": run.aligner},
        "timings_s": {
            "ready": run.ready_s,
            "index": run.index_s,
            "search_cached": waits(encoded=False),
            "search_encoded": waits(encoded=True),
            "stop": run.stop_s,
            "total": run.total_s,
        },
    }
