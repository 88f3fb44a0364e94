"""The text encoder's engine on the embedded model: limits, truncation, and what batching is worth."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from isthmus.runtime.base.errors import ResourceExhaustedError
from isthmus.runtime.base.limits import TEXT_MAX_BYTES
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.engine import TextEncoderEngine, check_text, text_encoder_engine


@pytest.fixture
async def engine() -> AsyncIterator[TextEncoderEngine]:
    """The embedded text encoder, warm."""
    engine = text_encoder_engine(TextEncoderConfig())
    await engine.start()
    yield engine
    await engine.close()


class TestLimits:
    """Bytes of a text, and tokens of the model."""

    @pytest.mark.parametrize("text", ["a" * TEXT_MAX_BYTES, "é" * (TEXT_MAX_BYTES // 2)])
    def test_the_limit_itself_is_allowed(self, text: str) -> None:
        """32 KiB of UTF-8 pass, whatever their number of characters."""
        assert check_text(text) == text

    @pytest.mark.parametrize("text", ["a" * (TEXT_MAX_BYTES + 1), "é" * (TEXT_MAX_BYTES // 2 + 1)])
    def test_a_byte_more_is_refused(self, text: str) -> None:
        """The message names the field, the size and the limit, and does not repeat the text."""
        with pytest.raises(ResourceExhaustedError) as caught:
            check_text(text)
        assert caught.value.reason == "TEXT_TOO_LONG"
        assert caught.value.metadata["limit"] == str(TEXT_MAX_BYTES)
        assert len(caught.value.message) < 80

    async def test_each_kind_of_text_has_its_answer(self, engine: TextEncoderEngine) -> None:
        """Fine, empty, over the bytes, over the tokens: one embedding each, or one error."""
        texts = ["a dog", "", "x" * (TEXT_MAX_BYTES + 1), "dog " * 400, " \n"]
        result = await engine.encode(texts)
        assert result.indexes == [0, 3]
        assert result.truncated == [3]
        assert {index: error.reason for index, error in result.errors.items()} == {
            1: "EMPTY_TEXT",
            2: "TEXT_TOO_LONG",
            4: "EMPTY_TEXT",
        }

    async def test_truncation_can_be_refused(self, engine: TextEncoderEngine) -> None:
        """A text over 256 tokens is then an error that names the limit in tokens."""
        result = await engine.encode(["dog " * 400, "a dog"], refuse_truncation=True)
        assert result.indexes == [1]
        assert result.errors[0].metadata == {"field": "text", "limit": "256", "unit": "tokens"}


class TestEmbeddings:
    """What comes out."""

    async def test_they_are_canonical(self, engine: TextEncoderEngine) -> None:
        """Unit length, float16 values, 384 components."""
        rows = (await engine.encode(["a dog", "a harbour in the morning"])).embeddings
        assert rows.shape == (2, 384)
        np.testing.assert_array_equal(rows, rows.astype(np.float16).astype(np.float32))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)

    async def test_the_same_text_gives_the_same_bits(self, engine: TextEncoderEngine) -> None:
        """Alone, twice: nothing in an encoder is random."""
        first, second = (await engine.encode(["a dog"])), (await engine.encode(["a dog"]))
        np.testing.assert_array_equal(first.embeddings, second.embeddings)
