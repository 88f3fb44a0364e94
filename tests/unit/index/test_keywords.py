"""BM25 over segments against a plain reckoning, and merging of terms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.words import terms
from isthmus.index.keywords import KeywordColumns, bm25
from isthmus.index.model import attributes_to_json

_TEXTS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6).map(" ".join), min_size=1, max_size=25)


def _columns(texts: Sequence[str]) -> KeywordColumns:
    documents = [attributes_to_json({"name": 'no "isthmus.text" here'}, content_words=2, text=text) for text in texts]
    return KeywordColumns.parse(pa.array(documents, pa.binary()))


def _reckoned(texts: Sequence[str], asked: Sequence[str]) -> list[float]:
    """Return the scores of all texts by the formula, 0 for none."""
    kept = [Counter(terms(text)) for text in texts]
    lengths = [sum(counts.values()) for counts in kept]
    count = sum(length > 0 for length in lengths)
    mean = sum(lengths) / max(1, count)
    scores = [0.0] * len(texts)
    for term in sorted(set(asked)):
        holding = sum(term in counts for counts in kept)
        idf = math.log1p((count - holding + 0.5) / (holding + 0.5))
        for place, counts in enumerate(kept):
            if term in counts:
                f = counts[term]
                scores[place] += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * lengths[place] / mean))
    return scores


@settings(max_examples=60, deadline=None)
@given(texts=_TEXTS, asked=st.lists(st.sampled_from("abcdefgx"), min_size=1, max_size=5), data=st.data())
def test_scores_are_those_of_the_formula_however_rows_lie(
    texts: list[str], asked: list[str], data: st.DataObject
) -> None:
    """Cut into segments, some rows dead, then merged: the same scores to the last bit, as the formula says."""
    live = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))))
    cut = data.draw(st.integers(1, len(texts)))
    expected = _reckoned([text for text, lives in zip(texts, live, strict=True) if lives], asked)
    parts = [(part, lives) for part, lives in ((texts[:cut], live[:cut]), (texts[cut:], live[cut:])) if part]
    columns = [(_columns(part), lives) for part, lives in parts]
    posted, count = bm25(columns, asked)
    found: list[float] = []
    for (_, lives), (rows, scores) in zip(parts, posted, strict=True):
        dense = np.zeros(len(lives))
        dense[rows] = scores
        assert not dense[~lives].any()
        found.extend(dense[lives].tolist())
    assert found == pytest.approx(expected, abs=1e-12)
    assert count == sum(bool(text) for text, lives in zip(texts, live, strict=True) if lives)

    merged = KeywordColumns.merged([(part, np.flatnonzero(lives)) for part, lives in columns])
    ((rows, scores),), again = bm25([(merged, None)], asked)
    dense = np.zeros(int(live.sum()))
    dense[rows] = scores
    assert (dense.tolist(), again) == (found, count)
    # Words of what is gone are forgotten.
    assert set(merged.numbers) == {
        term for text, lives in zip(texts, live, strict=True) if lives for term in terms(text)
    }


def test_items_without_texts_cost_nothing_and_are_never_found() -> None:
    """A name of an attribute's value that reads like the kept text's is no text."""
    documents = [attributes_to_json({"note": '"isthmus.text"'}), b"{}", attributes_to_json({}, text="a word")]
    columns = KeywordColumns.parse(pa.array(documents, pa.binary()))
    assert columns.lengths.tolist() == [0, 0, 2]
    ((rows, _),), count = bm25([(columns, None)], ["word", "note", "isthmus"])
    assert (rows.tolist(), count) == ([2], 1)


def test_no_text_at_all_is_no_answer() -> None:
    """Nothing is divided by nothing."""
    columns = KeywordColumns.parse(pa.array([b"{}", b"{}"], pa.binary()))
    ((rows, scores),), count = bm25([(columns, None)], ["a"])
    assert (len(rows), len(scores), count) == (0, 0, 0)
    assert bm25([], ["a"]) == ([], 0)
