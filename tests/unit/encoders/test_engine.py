"""The engine behind both services: results by index, counters, truncation, poison."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from isthmus.core import Modality, canonical
from isthmus.encoders import EncoderInfo, EncoderLoadError, Prepared
from isthmus.encoders.engine import EncoderEngine
from isthmus.runtime.base.batching import BatchLimits
from isthmus.runtime.base.errors import InvalidArgumentError, UnavailableError


class LetterTower:
    """Counts letters: an encoder whose answers a test can know. More than eight letters are cut; `nan` is poison."""

    info = EncoderInfo(
        encoder_id="letters",
        revision="0123456789abcdef",
        modality=Modality.TEXT,
        dimension=26,
        context_tokens=8,
        compute_type="float32",
        device="cpu",
    )
    warmed = 0

    def prepare(self, item: str) -> Prepared:
        """Turn letters into numbers."""
        if not item:
            msg = "text: is empty"
            raise InvalidArgumentError(msg, reason="EMPTY_TEXT")
        return Prepared({"letters": torch.tensor([ord(letter) - 97 for letter in item[:8]])}, truncated=len(item) > 8)

    def forward(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Count each text's letters; a text that spells `nan` has no finite answer."""
        counts = np.stack([np.bincount(item.tensors["letters"], minlength=26) for item in batch]).astype(np.float32)
        for row, item in enumerate(batch):
            if item.tensors["letters"].tolist() == [13, 0, 13]:
                counts[row] = np.nan
        return canonical(counts)

    def warm(self) -> None:
        """Count the warming."""
        self.warmed += 1


def _expected(text: str) -> NDArray[np.float32]:
    counts = np.bincount([ord(letter) - 97 for letter in text[:8]], minlength=26)
    row: NDArray[np.float32] = canonical(counts[None])[0]
    return row


Engine = EncoderEngine[str, str]


@asynccontextmanager
async def _engine(tower: LetterTower | None = None, **limits: Any) -> AsyncIterator[Engine]:
    engine: Engine = EncoderEngine(
        modality=Modality.TEXT,
        load=lambda: tower or LetterTower(),
        decode=str,
        limits=BatchLimits(**limits),
        sort_by_size=True,
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


class TestResults:
    """Each input's answer, and whose it is."""

    async def test_rows_belong_to_their_inputs(self) -> None:
        """Sorted, batched and mixed with errors, each row is the embedding of the input it names."""
        texts = ["abcabc", "", "z", "hello", "", "mmmmm"]
        async with _engine(max_batch_count=2) as engine:
            result = await engine.encode(texts)
        assert result.indexes == [0, 2, 3, 5]
        assert {index: error.reason for index, error in result.errors.items()} == {1: "EMPTY_TEXT", 4: "EMPTY_TEXT"}
        for row, index in zip(result.embeddings, result.indexes, strict=True):
            np.testing.assert_array_equal(row, _expected(texts[index]))
        assert result.space == "letters@0123456789abcdef"

    async def test_nothing_but_errors_gives_no_rows(self) -> None:
        """The array is empty and still as wide as an embedding."""
        async with _engine() as engine:
            result = await engine.encode(["", ""])
        assert result.embeddings.shape == (0, 26)
        assert sorted(result.errors) == [0, 1]

    async def test_a_long_text_is_cut_and_flagged(self) -> None:
        """By default it is encoded, and its index is named."""
        async with _engine() as engine:
            result = await engine.encode(["abc", "abcdefghij"])
        assert result.truncated == [1]
        np.testing.assert_array_equal(result.embeddings[1], _expected("abcdefgh"))

    async def test_a_long_text_is_refused_on_request(self) -> None:
        """Then it is an error of its own, which costs no forward pass, and its neighbour is encoded."""
        async with _engine() as engine:
            result = await engine.encode(["abc", "abcdefghij"], refuse_truncation=True)
            assert engine.forward_items == 1
        assert result.indexes == [0]
        assert result.truncated == []
        assert result.errors[1].reason == "TEXT_TOO_LONG"
        assert result.errors[1].metadata["limit"] == "8"

    async def test_a_late_input_is_reported(self) -> None:
        """An input whose deadline has passed is reported, not encoded."""
        async with _engine() as engine:
            result = await engine.encode(["abc"], deadline_s=time.monotonic() - 1)
            assert engine.forward_items == 0
        assert result.errors[0].reason == "DEADLINE_EXCEEDED"

    async def test_an_answer_that_is_not_finite_is_isolated(self) -> None:
        """Two inputs of 40 make the model answer NaN: 38 embeddings, 2 errors, found by halving."""
        texts = ["ab"] * 40
        texts[3] = texts[30] = "nan"
        async with _engine(max_batch_count=64, max_wait_ms=200) as engine:
            result = await engine.encode(texts)
        assert sorted(result.errors) == [3, 30]
        assert {error.reason for error in result.errors.values()} == {"ENCODE_FAILED"}
        assert len(result.embeddings) == 38

    async def test_different_callers_get_their_own(self) -> None:
        """64 callers at once, each with its own text: nobody gets another's row."""
        texts = [chr(97 + number % 26) * (1 + number // 26) + "x" for number in range(64)]
        async with _engine(max_batch_count=16) as engine:
            results = await asyncio.gather(*(engine.encode([text]) for text in texts))
        for text, result in zip(texts, results, strict=True):
            np.testing.assert_array_equal(result.embeddings[0], _expected(text))


class TestLife:
    """Cold, warm, closed."""

    async def test_a_cold_engine_says_so(self) -> None:
        """Before `start` it is UNAVAILABLE, with a time after which to try again."""
        engine: Engine = EncoderEngine(modality=Modality.TEXT, load=LetterTower, decode=str, limits=BatchLimits())
        with pytest.raises(UnavailableError) as caught:
            await engine.encode(["a"])
        assert caught.value.reason == "NOT_READY"
        assert caught.value.retry_after_s
        with pytest.raises(UnavailableError):
            _ = engine.info
        await engine.close()

    async def test_it_is_warm_when_start_returns(self) -> None:
        """The dummy batch has run."""
        tower = LetterTower()
        async with _engine(tower):
            assert tower.warmed == 1

    async def test_a_model_that_cannot_be_loaded_fails_the_start(self) -> None:
        """The reason reaches whoever starts it."""

        def load() -> LetterTower:
            msg = "no such model"
            raise EncoderLoadError(msg)

        engine: Engine = EncoderEngine(modality=Modality.TEXT, load=load, decode=str, limits=BatchLimits())
        with pytest.raises(EncoderLoadError, match="no such model"):
            await engine.start()

    async def test_a_closed_engine_refuses(self) -> None:
        """After the drain nothing is taken."""
        async with _engine() as engine:
            pass
        with pytest.raises(UnavailableError) as caught:
            await engine.encode(["a"])
        assert caught.value.reason == "DRAINING"


class TestCounters:
    """What the tests of the cache rely on: the encoder says itself how often it was asked."""

    async def test_items_and_passes_are_counted(self) -> None:
        """Inputs that fail before the forward pass are not counted; the exported counters move alike."""
        names = {
            "items": "isthmus_encoder_forward_items_total",
            "calls": "isthmus_encoder_forward_calls_total",
        }
        before = {key: REGISTRY.get_sample_value(name, {"modality": "text"}) or 0 for key, name in names.items()}
        async with _engine(max_batch_count=4, max_wait_ms=100) as engine:
            await engine.encode(["a", "b", "", "c", "d"])
            await engine.encode(["e"])
            assert (engine.forward_items, engine.forward_calls) == (5, 2)
        after = {key: REGISTRY.get_sample_value(name, {"modality": "text"}) or 0 for key, name in names.items()}
        assert {key: after[key] - before[key] for key in names} == {"items": 5, "calls": 2}
