"""Make answers of the rows that were chosen: column by column for all queries of a batch, for rows are many."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.index.keyword_channel import KeywordChannel
from isthmus.index.merging import Merged
from isthmus.index.model import ItemView, Neighbor, attributes_from_jsons
from isthmus.index.segments import Segment
from isthmus.index.snapshot import Snapshot

__all__ = ["answers_of"]

_BASIC: Final = ("id", "pair_key")
_FULL: Final = ("id", "pair_key", "attributes", "content_digest", "revision")


def answers_of(
    snapshot: Snapshot, chosen: Sequence[Merged], *, basic: bool, keywords: KeywordChannel | None = None
) -> tuple[tuple[Neighbor, ...], ...]:
    """Return the answers to each query of a batch.

    Args:
        snapshot: What was searched.
        chosen: Of each query what it is answered with; all of the same `parts`.
        basic: Tell of items only id, modality and pair key.
        keywords: Tells the scores of what holds words asked for.
    """
    if not chosen:
        return ()
    numbers = np.concatenate([each.numbers for each in chosen])
    rows = np.concatenate([each.rows for each in chosen])
    items: list[ItemView | None] = [None] * len(rows)
    by_words = np.full(len(rows), np.nan)
    for number in np.unique(numbers).tolist():
        places = np.flatnonzero(numbers == number)
        segment = chosen[0].parts[number].segment
        for place, item in zip(places.tolist(), _items(snapshot, segment, rows[places], basic=basic), strict=True):
            items[place] = item
        if keywords is not None:
            by_words[places] = keywords.scores_of(segment, rows[places])
    scores = np.concatenate([each.scores for each in chosen])
    if snapshot.aligner is None or not snapshot.aligner.corrects_hubness:
        # A cosine leaves [-1, 1] only because canonical rows have unit norm within float16 rounding.
        scores = np.clip(scores, -1.0, 1.0)
    made = (
        Neighbor(item, score, calibrated, _or_none(probability), _or_none(of_words))
        for item, score, calibrated, probability, of_words in zip(
            items,
            scores.tolist(),
            np.concatenate([each.merge_scores for each in chosen]).tolist(),
            np.concatenate([each.probabilities for each in chosen]).tolist(),
            by_words.tolist(),
            strict=True,
        )
        if item is not None
    )
    return tuple(tuple(itertools.islice(made, len(each))) for each in chosen)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _items(snapshot: Snapshot, segment: Segment, rows: NDArray[np.int64], *, basic: bool) -> list[ItemView]:
    taken = segment.items.select(_BASIC if basic else _FULL).take(pa.array(rows))
    columns: dict[str, list[Any]] = {name: taken[name].to_pylist() for name in taken.column_names}
    space = snapshot.settings.space(segment.modality)
    if basic:
        return [
            ItemView(
                id=item_id,
                modality=segment.modality,
                attributes={},
                pair_key=pair_key,
                space="",
                content_digest=b"",
                revision=0,
            )
            for item_id, pair_key in zip(columns["id"], columns["pair_key"], strict=True)
        ]
    return [
        ItemView(
            id=item_id,
            modality=segment.modality,
            attributes=attributes,
            pair_key=pair_key,
            space=space,
            content_digest=content_digest,
            revision=revision,
            content_words=words,
        )
        for item_id, pair_key, (attributes, words), content_digest, revision in zip(
            columns["id"],
            columns["pair_key"],
            attributes_from_jsons(columns["attributes"]),
            columns["content_digest"],
            columns["revision"],
            strict=True,
        )
    ]
