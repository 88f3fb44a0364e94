"""Small models with random weights, made here in the layouts that real ones come in."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from isthmus.encoders.torchvision_ops import ensure_torchvision_imports

ensure_torchvision_imports()

hf: Any = importlib.import_module("transformers")  # it imports torchvision, and is typed in parts only
timm: Any = importlib.import_module("timm")  # as above

SENTENCE = "a an the dog cat harbour boat man woman red blue runs sits over under on with street beach mountain"
WORDS = tuple(SENTENCE.split())
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
TEXTS = (
    "a dog runs over the beach",
    "the cat sits",
    "a red boat in the harbour with a man on the street under a blue mountain",
    "woman",
    "the man with the dog sits on the street",
)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Texts of different length, one word of which the vocabularies lack."""
    return list(TEXTS)


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Pictures of different size and aspect: blurred noise, so that no two are alike and resampling matters."""
    rng = np.random.default_rng(7)
    sizes = ((64, 48), (37, 91), (224, 224), (130, 70), (300, 41))
    return [_noise(rng, size) for size in sizes]


def _noise(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    coarse: NDArray[np.uint8] = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models of this session are kept."""
    return tmp_path_factory.mktemp("models")


def _wordpiece() -> Tokenizer:
    vocab = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))  # noqa: S106 - a token of a vocabulary
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    return tokenizer


def save_bert_tokenizer(folder: Path, *, max_length: int = 32) -> None:
    """Write a word-piece tokenizer with [CLS] and [SEP]."""
    hf.PreTrainedTokenizerFast(
        tokenizer_object=_wordpiece(),
        pad_token="[PAD]",  # noqa: S106 - a token of a vocabulary
        unk_token="[UNK]",  # noqa: S106 - a token of a vocabulary
        cls_token="[CLS]",  # noqa: S106 - a token of a vocabulary
        sep_token="[SEP]",  # noqa: S106 - a token of a vocabulary
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)


def bert_config() -> Any:
    """Return a configuration of two layers of width 32."""
    settings = {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
        "initializer_range": 0.3,
    }
    return hf.BertConfig(**settings)


def vit_config() -> Any:
    """Return a configuration of two layers of width 32 on 32 pixels."""
    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.3,
    }
    return hf.ViTConfig(**settings)


def _seeded(build: Any, config: Any) -> Any:
    torch.manual_seed(11)
    return build(config).eval()


@pytest.fixture(scope="session")
def clip_folder(models_dir: Path) -> Path:
    """A CLIP model: causal text tower that reads its embedding at the end-of-text token."""
    folder = models_dir / "Tiny-CLIP.v1"
    letters = "abcdefghijklmnopqrstuvwxyz"
    symbols = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {symbol: number for number, symbol in enumerate(symbols)}
    hf.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=40).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = hf.CLIPConfig(
        text_config=sizes
        | {
            "vocab_size": len(vocab),
            "max_position_embeddings": 40,
            "bos_token_id": vocab["<|startoftext|>"],
            "eos_token_id": vocab["<|endoftext|>"],
            "pad_token_id": vocab["<|endoftext|>"],
        },
        vision_config=sizes | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
        initializer_factor=8.0,
    )
    _seeded(hf.CLIPModel, config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    hf.CLIPImageProcessor(**size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def siglip_folder(models_dir: Path) -> Path:
    """A SigLIP model: no mask, texts padded to the context, embedding read at the last position."""
    folder = models_dir / "tiny-siglip"
    hf.PreTrainedTokenizerFast(
        tokenizer_object=_wordpiece(),
        pad_token="[PAD]",  # noqa: S106 - a token of a vocabulary
        unk_token="[UNK]",  # noqa: S106 - a token of a vocabulary
        model_max_length=16,
        model_input_names=["input_ids"],
    ).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = hf.SiglipConfig(
        text_config=sizes | {"vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 16},
        vision_config=sizes | {"image_size": 32, "patch_size": 8},
    )
    _seeded(hf.SiglipModel, config).save_pretrained(folder)
    hf.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dual_folder(models_dir: Path) -> Path:
    """A VisionTextDualEncoderModel of a ViT and a BERT."""
    folder = models_dir / "tiny-dual"
    config = hf.VisionTextDualEncoderConfig.from_vision_text_configs(vit_config(), bert_config(), projection_dim=24)
    _seeded(hf.VisionTextDualEncoderModel, config).save_pretrained(folder)
    save_bert_tokenizer(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vit_folder(models_dir: Path) -> Path:
    """A plain ViT backbone with its pooler."""
    folder = models_dir / "tiny-vit"
    _seeded(hf.ViTModel, vit_config()).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert_folder(models_dir: Path) -> Path:
    """A plain BERT with its tokenizer and nothing that says how to pool."""
    folder = models_dir / "tiny-bert"
    _seeded(hf.BertModel, bert_config()).save_pretrained(folder)
    save_bert_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def sentence_folder(models_dir: Path) -> Path:
    """A sentence-transformers folder: CLS pooling, 12 tokens at most."""
    folder = models_dir / "tiny-sentence"
    _seeded(hf.BertModel, bert_config()).save_pretrained(folder)
    save_bert_tokenizer(folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "1_Pooling").mkdir()
    (folder / "modules.json").write_text(json.dumps(modules))
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": False}))
    return folder


@pytest.fixture(scope="session")
def timm_folder(models_dir: Path) -> Path:
    """A timm convolutional network in timm's own layout: weights under timm's names, one config.json."""
    folder = models_dir / "tiny-timm"
    folder.mkdir()
    torch.manual_seed(11)
    model = timm.create_model("test_resnet", pretrained=False, num_classes=0)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": "test_resnet",
        "num_classes": 0,
        "num_features": model.num_features,
        "pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 0.9, "interpolation": "bicubic"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
