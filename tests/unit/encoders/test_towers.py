"""Every kind of model gives the embeddings that transformers' own classes and processors give."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from isthmus.encoders import EncoderSpec, ImageTower, Tower, encode_all, load_image_tower, load_text_tower

hf: Any = importlib.import_module("transformers")  # typed in parts only
timm: Any = importlib.import_module("timm")  # as above

Rows = NDArray[np.floating[Any]]


def _fp32(folder: Path) -> EncoderSpec:
    return EncoderSpec(model=str(folder), precision="fp32", device="cpu")


def _unit(rows: Any) -> Rows:
    array = np.asarray(rows.detach() if isinstance(rows, torch.Tensor) else rows, np.float64)
    unit: Rows = array / np.linalg.norm(array, axis=1, keepdims=True)
    return unit


def _least_cosine(left: Rows, right: Rows) -> float:
    """Return the cosine of the two rows that agree least; canonical rows have length 1 only within rounding."""
    return float((_unit(left) * _unit(right)).sum(axis=1).min())


def _assert_same(ours: Rows, reference: Rows) -> None:
    """Hold each row to its own reference, and see that the references are not all alike."""
    cosines = _unit(ours) @ _unit(reference).T
    others = cosines[~np.eye(len(ours), dtype=bool)]
    assert np.diagonal(cosines).min() >= 0.9999  # measured: 0.9999999 for every folder below
    assert others.max() < 0.999


def _processed(folder: Path, pictures: list[Image.Image]) -> dict[str, torch.Tensor]:
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    parts = [dict(processor(images=picture, return_tensors="pt")) for picture in pictures]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _tokenized(folder: Path, texts: list[str], **options: Any) -> dict[str, torch.Tensor]:
    return dict(hf.AutoTokenizer.from_pretrained(folder)(texts, return_tensors="pt", **options))


def _reference_dual(
    folder: Path, pictures: list[Image.Image], texts: list[str], padding: str
) -> tuple[Rows, Rows]:
    """Run the whole dual encoder on one batch, as its model card would."""
    model = hf.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        both = model(**_tokenized(folder, texts, padding=padding, truncation=True), **_processed(folder, pictures))
    return np.asarray(both.image_embeds), np.asarray(both.text_embeds)


@pytest.mark.parametrize(
    ("fixture", "padding"), [("clip_folder", "longest"), ("siglip_folder", "max_length"), ("dual_folder", "longest")]
)
class TestDualEncoders:
    """CLIP, SigLIP and VisionTextDualEncoderModel."""

    def test_images_equal_the_reference(
        self,
        fixture: str,
        padding: str,
        request: pytest.FixtureRequest,
        pictures: list[Image.Image],
        texts: list[str],
    ) -> None:
        """Image embeddings equal `image_embeds` of the whole model."""
        folder = request.getfixturevalue(fixture)
        reference, _ = _reference_dual(folder, pictures, texts, padding)
        _assert_same(encode_all(load_image_tower(_fp32(folder)), pictures), reference)

    def test_texts_equal_the_reference(
        self,
        fixture: str,
        padding: str,
        request: pytest.FixtureRequest,
        pictures: list[Image.Image],
        texts: list[str],
    ) -> None:
        """Text embeddings equal `text_embeds` of the whole model, padding as the model's card pads."""
        folder = request.getfixturevalue(fixture)
        _, reference = _reference_dual(folder, pictures, texts, padding)
        _assert_same(encode_all(load_text_tower(_fp32(folder)), texts), reference)

    @pytest.mark.usefixtures("padding")
    def test_both_towers_share_one_space(self, fixture: str, request: pytest.FixtureRequest) -> None:
        """The image and the text process of a dual encoder name the same space, each from its own half."""
        folder = request.getfixturevalue(fixture)
        image, text = load_image_tower(_fp32(folder)), load_text_tower(_fp32(folder))
        assert image.info.space == text.info.space
        assert image.info.dimension == text.info.dimension

    def test_each_tower_keeps_only_its_half(
        self, fixture: str, padding: str, request: pytest.FixtureRequest
    ) -> None:
        """The weights of the other half are let go."""
        folder = request.getfixturevalue(fixture)
        image, text = load_image_tower(_fp32(folder)), load_text_tower(_fp32(folder))
        assert not hasattr(image._model, "text_model")
        assert not hasattr(text._model, "vision_model")


class TestUnrelatedEncoders:
    """A vision backbone and a sentence encoder, each with a space of its own."""

    def test_a_vit_gives_its_pooler(self, vit_folder: Path, pictures: list[Image.Image]) -> None:
        """A backbone with a trained pooler is read there."""
        model = hf.AutoModel.from_pretrained(vit_folder).eval()
        with torch.inference_mode():
            reference = model(**_processed(vit_folder, pictures)).pooler_output
        _assert_same(encode_all(load_image_tower(_fp32(vit_folder)), pictures), _unit(reference))

    def test_a_vit_without_pooler_weights_gives_its_class_token(
        self, vit_folder: Path, tmp_path: Path, pictures: list[Image.Image]
    ) -> None:
        """A checkpoint of a classifier has no pooler: random weights are not used, the class token is."""
        model = hf.ViTModel.from_pretrained(vit_folder, add_pooling_layer=False).eval()
        model.save_pretrained(tmp_path)
        hf.AutoImageProcessor.from_pretrained(vit_folder).save_pretrained(tmp_path)
        with torch.inference_mode():
            reference = model(**_processed(tmp_path, pictures)).last_hidden_state[:, 0]
        _assert_same(encode_all(load_image_tower(_fp32(tmp_path)), pictures), _unit(reference))

    def test_a_timm_folder_gives_its_pooled_features(self, timm_folder: Path, pictures: list[Image.Image]) -> None:
        """A folder in timm's layout goes through TimmWrapperModel and timm's own transforms."""
        model = timm.create_model("test_resnet", checkpoint_path=str(timm_folder / "model.safetensors"), num_classes=0)
        settings = timm.data.resolve_data_config({}, pretrained_cfg={"input_size": (3, 64, 64), "crop_pct": 0.9})
        transform = timm.data.create_transform(**(settings | {"interpolation": "bicubic"}))
        with torch.inference_mode():
            reference = model.eval()(torch.stack([transform(picture) for picture in pictures]))
        _assert_same(encode_all(load_image_tower(_fp32(timm_folder)), pictures), _unit(reference))

    def test_a_plain_bert_is_pooled_by_the_mean(self, bert_folder: Path, texts: list[str]) -> None:
        """A folder that says nothing of pooling gives the mean over its tokens, padding left out."""
        model = hf.AutoModel.from_pretrained(bert_folder).eval()
        with torch.inference_mode():
            reference = [model(**_tokenized(bert_folder, [text])).last_hidden_state[0].mean(dim=0) for text in texts]
        _assert_same(encode_all(load_text_tower(_fp32(bert_folder)), texts), _unit(torch.stack(reference)))

    def test_a_sentence_folder_is_pooled_as_it_says(self, sentence_folder: Path, texts: list[str]) -> None:
        """A sentence-transformers folder is read as that library reads it: CLS pooling, 12 tokens."""
        library = pytest.importorskip("sentence_transformers")
        reference = library.SentenceTransformer(str(sentence_folder), device="cpu").encode(texts)
        tower = load_text_tower(_fp32(sentence_folder))
        assert tower.info.context_tokens == 12
        _assert_same(encode_all(tower, texts), _unit(reference))


class TestPrecision:
    """What changes an embedding without changing its space."""

    @pytest.mark.parametrize("fixture", ["clip_folder", "dual_folder", "bert_folder"])
    def test_bf16_stays_in_the_same_space(self, fixture: str, request: pytest.FixtureRequest, texts: list[str]) -> None:
        """bf16 has the revision of fp32, and texts stay close to themselves."""
        folder = request.getfixturevalue(fixture)
        exact = load_text_tower(_fp32(folder))
        rough = load_text_tower(EncoderSpec(model=str(folder), precision="bf16", device="cpu"))
        assert rough.info.compute_type == "bfloat16"
        assert rough.info.space == exact.info.space
        least = _least_cosine(encode_all(exact, texts), encode_all(rough, texts))
        assert least >= 0.999  # measured: see the note in `precision.py` for real weights

    @pytest.mark.parametrize("fixture", ["clip_folder", "dual_folder", "bert_folder", "siglip_folder"])
    def test_batch_mates_do_not_matter(self, fixture: str, request: pytest.FixtureRequest, texts: list[str]) -> None:
        """A text alone and the same text padded to a longer one give one embedding, within rounding."""
        tower = load_text_tower(_fp32(request.getfixturevalue(fixture)))
        together = encode_all(tower, texts)
        alone = encode_all(tower, texts, batch_size=1)
        assert _least_cosine(together, alone) >= 0.999999  # measured: 1 - 1e-9, one float16 step in a few places


class TestCanonical:
    """The form of every embedding."""

    @pytest.mark.parametrize(("fixture", "load"), [("timm_folder", load_image_tower), ("vit_folder", load_image_tower)])
    def test_embeddings_are_unit_length_float16_values(
        self,
        fixture: str,
        load: Callable[[EncoderSpec], ImageTower],
        request: pytest.FixtureRequest,
        pictures: list[Image.Image],
    ) -> None:
        """Rows have length 1 and survive float16 without change."""
        rows = encode_all(load(_fp32(request.getfixturevalue(fixture))), pictures)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, rows.astype(np.float16).astype(np.float32))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)

    def test_no_items_give_no_rows(self, bert_folder: Path) -> None:
        """Nothing in, an empty array of the right width out."""
        tower: Tower[str] = load_text_tower(_fp32(bert_folder))
        assert encode_all(tower, []).shape == (0, 32)
