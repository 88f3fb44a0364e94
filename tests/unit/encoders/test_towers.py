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


def _assert_equal(ours: Rows, reference: Any) -> None:
    """Hold each row to its own reference, for small random models whose outputs may be near one another."""
    np.testing.assert_allclose(_unit(ours), _unit(reference), atol=1e-3)  # half a float16 step at 1 is 5e-4


def _processed(folder: Path, pictures: list[Image.Image]) -> dict[str, torch.Tensor]:
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    parts = [dict(processor(images=picture, return_tensors="pt")) for picture in pictures]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _tokenized(folder: Path, texts: list[str], **options: Any) -> dict[str, torch.Tensor]:
    return dict(hf.AutoTokenizer.from_pretrained(folder)(texts, return_tensors="pt", **options))


def _reference_dual(folder: Path, pictures: list[Image.Image], texts: list[str]) -> tuple[Rows, Rows]:
    """Run the whole dual encoder on one batch, padded as its model card says."""
    model = hf.AutoModel.from_pretrained(folder).eval()
    padding = "max_length" if model.config.model_type == "siglip" else "longest"
    inputs = _tokenized(folder, texts, padding=padding, truncation=True) | _processed(folder, pictures)
    with torch.inference_mode():
        both = model(**inputs)
    return np.asarray(both.image_embeds), np.asarray(both.text_embeds)


@pytest.fixture(params=["clip_folder", "siglip_folder", "dual_folder"])
def dual(request: pytest.FixtureRequest) -> Path:
    """Each kind of dual encoder in turn."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


class TestDualEncoders:
    """CLIP, SigLIP and VisionTextDualEncoderModel."""

    def test_images_equal_the_reference(self, dual: Path, pictures: list[Image.Image], texts: list[str]) -> None:
        """Image embeddings equal `image_embeds` of the whole model."""
        reference, _ = _reference_dual(dual, pictures, texts)
        _assert_same(encode_all(load_image_tower(_fp32(dual)), pictures), reference)

    def test_texts_equal_the_reference(self, dual: Path, pictures: list[Image.Image], texts: list[str]) -> None:
        """Text embeddings equal `text_embeds` of the whole model."""
        _, reference = _reference_dual(dual, pictures, texts)
        _assert_same(encode_all(load_text_tower(_fp32(dual)), texts), reference)

    def test_both_towers_share_one_space(self, dual: Path) -> None:
        """The image and the text process of a dual encoder name the same space, each from its own half."""
        image, text = load_image_tower(_fp32(dual)), load_text_tower(_fp32(dual))
        assert image.info.space == text.info.space
        assert image.info.dimension == text.info.dimension

    def test_each_tower_keeps_only_its_half(self, dual: Path) -> None:
        """The weights of the other half are let go."""
        image, text = load_image_tower(_fp32(dual)), load_text_tower(_fp32(dual))
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


_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
BACKBONES: dict[str, dict[str, Any]] = {
    "ConvNext": _STAGES,
    "Dinov2": _SIZES | {"image_size": 32, "patch_size": 8},
    "ResNet": _STAGES | {"embedding_size": 8},
    "Swin": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [2, 4],
        "window_size": 4,
    },
}
TEXT_MODELS: dict[str, dict[str, Any]] = {
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "MPNet": _SIZES,
    "T5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64},
}


class TestArchitectures:
    """Any backbone and any text transformer, by configuration alone."""

    @pytest.mark.parametrize("name", BACKBONES)
    def test_backbones_give_their_pooler(
        self, name: str, vit_folder: Path, tmp_path: Path, pictures: list[Image.Image]
    ) -> None:
        """Convolutional and transformer backbones give `pooler_output`, whatever its shape."""
        torch.manual_seed(5)
        model = getattr(hf, f"{name}Model")(getattr(hf, f"{name}Config")(**BACKBONES[name])).eval()
        model.save_pretrained(tmp_path)
        hf.AutoImageProcessor.from_pretrained(vit_folder).save_pretrained(tmp_path)
        with torch.inference_mode():
            reference = model(**_processed(tmp_path, pictures)).pooler_output.flatten(1)
        _assert_equal(encode_all(load_image_tower(_fp32(tmp_path)), pictures), reference)

    @pytest.mark.parametrize("name", TEXT_MODELS)
    def test_text_models_are_pooled_by_the_mean(
        self, name: str, bert_folder: Path, tmp_path: Path, texts: list[str]
    ) -> None:
        """Encoders, and the encoder half of an encoder-decoder."""
        torch.manual_seed(5)
        config = getattr(hf, f"{name}Config")(vocab_size=64, **TEXT_MODELS[name])
        whole = getattr(hf, f"{name}Model")(config).eval()
        whole.save_pretrained(tmp_path)
        tokenizer = hf.AutoTokenizer.from_pretrained(bert_folder)
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        tokenizer.save_pretrained(tmp_path)
        model = whole.get_encoder() if config.is_encoder_decoder else whole
        with torch.inference_mode():
            hidden = [model(**_tokenized(tmp_path, [text])).last_hidden_state[0] for text in texts]
        reference = torch.stack([tokens.mean(dim=0) for tokens in hidden])
        _assert_equal(encode_all(load_text_tower(_fp32(tmp_path)), texts), reference)


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
        assert least >= 0.999  # measured 0.99985; real weights in `precision.py`

    @pytest.mark.parametrize("fixture", ["clip_folder", "dual_folder", "bert_folder", "siglip_folder"])
    def test_batch_mates_do_not_matter(self, fixture: str, request: pytest.FixtureRequest, texts: list[str]) -> None:
        """A text alone and the same text padded to a longer one give one embedding, within rounding."""
        tower = load_text_tower(_fp32(request.getfixturevalue(fixture)))
        together = encode_all(tower, texts)
        alone = encode_all(tower, texts, batch_size=1)
        assert _least_cosine(together, alone) >= 0.999999  # measured: 1 - 2e-16


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
