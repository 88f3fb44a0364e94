"""From one item to the model's inputs: truncation, refusals, odd pictures, threads."""

from __future__ import annotations

import concurrent.futures
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus.encoders import EncoderSpec, TextTower, encode_all, load_image_tower, load_text_tower
from isthmus.encoders.sentence import pool
from isthmus.encoders.text_tower import Tokenization, Tokenizer
from isthmus.runtime.base.errors import InvalidArgumentError

hf: Any = importlib.import_module("transformers")  # typed in parts only


@pytest.fixture(scope="module")
def tower(sentence_folder: Path) -> TextTower:
    """A text tower of 12 tokens."""
    return load_text_tower(EncoderSpec(model=str(sentence_folder), precision="fp32"))


class TestTexts:
    """Tokens, and what happens when there are none or too many."""

    def test_a_text_that_fits_is_not_flagged(self, tower: TextTower) -> None:
        """Ten words and two special tokens are exactly the context."""
        prepared = tower.prepare("a dog " * 5)
        assert len(prepared.tensors["input_ids"]) == 12
        assert not prepared.truncated

    def test_a_longer_text_is_cut_and_flagged(self, tower: TextTower) -> None:
        """One word more is cut, the closing special token is kept, and the item says so."""
        prepared = tower.prepare("a dog " * 5 + "cat")
        assert prepared.truncated
        np.testing.assert_array_equal(prepared.tensors["input_ids"], tower.prepare("a dog " * 5).tensors["input_ids"])

    @pytest.mark.parametrize("text", ["", " ", "\n\t \u2003"])
    def test_an_empty_text_is_refused(self, tower: TextTower, text: str) -> None:
        """Nothing but white space holds no meaning to encode."""
        with pytest.raises(InvalidArgumentError) as caught:
            tower.prepare(text)
        assert caught.value.reason == "EMPTY_TEXT"

    def test_a_lone_surrogate_is_refused(self, tower: TextTower) -> None:
        """Text that is not Unicode is the caller's error, and the message does not repeat it."""
        with pytest.raises(InvalidArgumentError) as caught:
            tower.prepare("a dog \ud800")
        assert caught.value.reason == "INVALID_FIELD"

    @pytest.mark.parametrize("text", ["\x00", "\U0010ffff", "🙂" * 40, "a\u0301" * 40, "]]>\u202e"])
    def test_strange_text_is_encoded(self, tower: TextTower, text: str) -> None:
        """Whatever is valid Unicode gets an embedding."""
        assert np.isfinite(encode_all(tower, [text])).all()

    def test_threads_do_not_disturb_one_another(self, tower: TextTower, texts: list[str]) -> None:
        """Four threads tokenizing texts of every length get what one thread gets."""
        many = texts * 100
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            together = list(pool.map(tower.prepare, many))
        for text, prepared in zip(many, together, strict=True):
            np.testing.assert_array_equal(prepared.tensors["input_ids"], tower.prepare(text).tensors["input_ids"])

    def test_a_tokenizer_without_a_rust_core_does_the_same(self, sentence_folder: Path, texts: list[str]) -> None:
        """The slow way gives the same tokens and the same flags as the fast one."""
        fast = hf.AutoTokenizer.from_pretrained(sentence_folder)
        how = Tokenization(context_tokens=8)

        class WithoutCore:
            """The same tokenizer, its core hidden."""

            padding_side = "right"
            truncation_side = "right"
            model_input_names = ("input_ids", "token_type_ids", "attention_mask")
            pad_token_id = 0

            def __call__(self, text: str, **options: object) -> Any:
                options.pop("verbose", None)
                return other(text, **options)

        other = hf.AutoTokenizer.from_pretrained(sentence_folder)
        slow = Tokenizer(WithoutCore(), how)
        quick = Tokenizer(fast, how)
        for text in texts:
            left, right = slow.prepare(text), quick.prepare(text)
            assert left.truncated == right.truncated
            np.testing.assert_array_equal(left.tensors["input_ids"], right.tensors["input_ids"])


class TestPadding:
    """Texts of one batch are padded to its longest, on the side the tokenizer asks for."""

    def test_a_batch_is_as_wide_as_its_longest_text(self, tower: TextTower) -> None:
        """Not as the context."""
        inputs, mask = tower._tokenizer.collate([tower.prepare("a"), tower.prepare("a dog runs")])
        assert inputs["input_ids"].shape == (2, 5)
        assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]

    def test_padding_on_the_left_is_kept_there(self, sentence_folder: Path) -> None:
        """A tokenizer that pads on the left gets its padding on the left."""
        tokenizer = hf.AutoTokenizer.from_pretrained(sentence_folder, padding_side="left")
        ours = Tokenizer(tokenizer, Tokenization(context_tokens=12))
        inputs, _ = ours.collate([ours.prepare("a"), ours.prepare("a dog runs")])
        reference = hf.AutoTokenizer.from_pretrained(sentence_folder, padding_side="left")(
            ["a", "a dog runs"], padding=True, return_tensors="pt"
        )
        for name, expected in reference.items():
            np.testing.assert_array_equal(inputs[name], expected)

    @pytest.mark.parametrize("mode", ["cls", "lasttoken", "max", "mean"])
    def test_pooling_does_not_see_padding(self, mode: str) -> None:
        """Left or right, padding changes nothing: each text pools as it would alone."""
        hidden = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
        mask = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
        pooled = pool(hidden, mask, mode)
        for row, part in enumerate((hidden[0, :2], hidden[1, 2:])):
            expected = {"cls": part[0], "lasttoken": part[-1], "max": part.amax(0), "mean": part.mean(0)}[mode]
            torch.testing.assert_close(pooled[row], expected)


class TestPictures:
    """Sizes that image processors stumble over."""

    @pytest.mark.parametrize("fixture", ["clip_folder", "siglip_folder", "vit_folder", "timm_folder"])
    @pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (3, 3), (3, 1), (1000, 20)])
    def test_odd_sizes_are_encoded(self, fixture: str, size: tuple[int, int], request: pytest.FixtureRequest) -> None:
        """One pixel, three pixels that look like channels, and the narrowest that the limits allow."""
        folder = request.getfixturevalue(fixture)
        tower = load_image_tower(EncoderSpec(model=str(folder), precision="fp32"))
        picture = Image.linear_gradient("L").convert("RGB").resize(size)
        assert tower.forward([tower.prepare(picture)]).shape == (1, tower.info.dimension)
