"""Load a tower from a model folder: which classes, which half, which pooling, and never random weights."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from isthmus.core.modality import Modality
from isthmus.encoders.digest import encoder_revision
from isthmus.encoders.folder import default_encoder_id, model_folder
from isthmus.encoders.image_tower import ImagePooling, ImageTower, image_features
from isthmus.encoders.precision import choose_device, choose_dtype
from isthmus.encoders.sentence import SentenceLayout, read_layout
from isthmus.encoders.spec import EncoderInfo, EncoderLoadError, EncoderSpec
from isthmus.encoders.text_tower import TextTower, Tokenization, Tokenizer, text_features
from isthmus.encoders.torchvision_ops import ensure_torchvision_imports

__all__ = ["load_image_tower", "load_text_tower"]

_PADDED_TO_CONTEXT = frozenset({"siglip", "siglip2"})
_UNKNOWN_CONTEXT = 512  # models with relative positions name no limit; theirs is memory
_MAX_CONTEXT = 8192
_OTHER_HALF = {Modality.IMAGE: ("text_",), Modality.TEXT: ("vision_", "visual_")}
"""Prefixes of the modules that only the other modality of a dual encoder needs."""


_loading = threading.Lock()  # transformers imports its classes lazily, which two threads must not do at once


def load_image_tower(spec: EncoderSpec) -> ImageTower:
    """Load an image encoder, or the image half of a dual encoder.

    Raises:
        EncoderLoadError: The model is not there, is not safetensors, needs code of its own, or lacks weights.
    """
    with _loading:
        return _load_image_tower(spec)


def _load_image_tower(spec: EncoderSpec) -> ImageTower:
    folder = model_folder(spec, Modality.IMAGE)
    model, pooler_missing = _load_model(folder, spec, Modality.IMAGE)
    processor = _from_folder("AutoImageProcessor", folder)
    probe = dict(processor(images=Image.new("RGB", (64, 64), (90, 120, 150)), return_tensors="pt"))
    pooling: ImagePooling = (
        "projection" if _is_dual(model) else _image_pooling(model, probe, pooler_missing=pooler_missing)
    )
    dimension = image_features(model, probe, pooling).shape[1]
    revision = encoder_revision(folder, images=True, texts=_is_dual(model), pooling=pooling, dimension=dimension)
    info = _info(spec, model, Modality.IMAGE, revision=revision, dimension=dimension, context_tokens=0)
    return ImageTower(model, processor, pooling=pooling, info=info)


def load_text_tower(spec: EncoderSpec) -> TextTower:
    """Load a sentence encoder, a plain text transformer, or the text half of a dual encoder.

    Raises:
        EncoderLoadError: The model is not there, is not safetensors, needs code of its own, or lacks weights.
    """
    with _loading:
        return _load_text_tower(spec)


def _load_text_tower(spec: EncoderSpec) -> TextTower:
    folder = model_folder(spec, Modality.TEXT)
    model, _ = _load_model(folder, spec, Modality.TEXT)
    dual = _is_dual(model)
    layout = SentenceLayout() if dual else read_layout(folder)
    pooling = "projection" if dual else layout.pooling
    raw_tokenizer = _from_folder("AutoTokenizer", folder)
    how = Tokenization(
        context_tokens=_context_tokens(model, raw_tokenizer, layout),
        pad_to_context=model.config.model_type in _PADDED_TO_CONTEXT,
        layout=layout,
    )
    tokenizer = Tokenizer(raw_tokenizer, how)
    dimension = text_features(model, *tokenizer.collate([tokenizer.prepare("a photograph")]), pooling).shape[1]
    revision = encoder_revision(
        folder, images=dual, texts=True, pooling=pooling, dimension=dimension, subfolders=layout.subfolders
    )
    info = _info(spec, model, Modality.TEXT, revision=revision, dimension=dimension, context_tokens=how.context_tokens)
    return TextTower(model, tokenizer, pooling=pooling, info=info)


def _is_dual(model: Any) -> bool:
    """True for CLIP, SigLIP, VisionTextDualEncoderModel and their like."""
    return hasattr(model, "get_image_features") and hasattr(model, "get_text_features")


def _from_folder(auto_class: str, folder: Path, **options: Any) -> Any:
    """Let a class of transformers read the folder: local files only, never running code from there.

    Raises:
        EncoderLoadError: Its files are damaged or absent, its class is unknown, or it needs code of its own.
    """
    ensure_torchvision_imports()
    transformers: Any = importlib.import_module("transformers")  # only now: it imports torchvision
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # what its warnings are about, missing weights, is checked here
    try:
        return getattr(transformers, auto_class).from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        msg = f"{folder}: {auto_class} cannot load it ({error})"
        raise EncoderLoadError(msg) from error


def _load_model(folder: Path, spec: EncoderSpec, modality: Modality) -> tuple[Any, bool]:
    """Load the model, drop the half that is not needed, and place it.

    Returns:
        The model, and whether its pooler came without weights.
    """
    config = _from_folder("AutoConfig", folder)
    # T5 and its like as AutoModel would ask for decoder inputs
    auto_class = "AutoModelForTextEncoding" if getattr(config, "is_encoder_decoder", False) else "AutoModel"
    model, report = _from_folder(
        auto_class, folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    pooler_missing = bool(missing) and not _is_dual(model) and all("pooler." in name for name in missing)
    if missing and not pooler_missing:
        msg = f"{folder}: {len(missing)} weights are missing, among them {missing[0]}; random ones are never used"
        raise EncoderLoadError(msg)
    if _is_dual(model):
        for name in [name for name, _ in model.named_children() if name.startswith(_OTHER_HALF[modality])]:
            delattr(model, name)
    device = choose_device(spec.device)
    model = model.eval().requires_grad_(False).to(device, choose_dtype(spec.precision, device=device))
    # Convolutions are 1.1 to 1.4 times as fast in this order on the CPU (EfficientNet-Lite0); others are not touched.
    return model.to(memory_format=torch.channels_last), pooler_missing


def _image_pooling(model: Any, probe: dict[str, torch.Tensor], *, pooler_missing: bool) -> ImagePooling:
    """Choose the model's pooler where it has a trained one, else its CLS token, else the mean over patches."""
    with torch.inference_mode():
        output = model(**{name: value.to(model.device, model.dtype) for name, value in probe.items()})
    if getattr(output, "pooler_output", None) is not None and not pooler_missing:
        return "pooler"
    return "cls" if any(name.endswith("cls_token") for name, _ in model.named_parameters()) else "mean"


def _context_tokens(model: Any, tokenizer: Any, layout: SentenceLayout) -> int:
    """Return the longest text that the folder, the tokenizer and the model's positions all allow."""
    config = getattr(model.config, "text_config", None) or model.config
    limits = [layout.max_tokens, tokenizer.model_max_length, _positions(model, config), _MAX_CONTEXT]
    known = [int(limit) for limit in limits[:-1] if limit and limit <= _MAX_CONTEXT]
    return min(known, default=_UNKNOWN_CONTEXT)


def _positions(model: Any, config: Any) -> int | None:
    """Return how many tokens have a position; RoBERTa and its like spend the first ones on padding."""
    count: int | None = getattr(config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if count and name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            padding = module.padding_idx
            return count if padding is None else count - padding - 1
    return count


def _info(
    spec: EncoderSpec, model: Any, modality: Modality, *, revision: str, dimension: int, context_tokens: int
) -> EncoderInfo:
    return EncoderInfo(
        encoder_id=default_encoder_id(spec, modality),
        revision=revision,
        modality=modality,
        dimension=dimension,
        context_tokens=context_tokens,
        compute_type=str(model.dtype).removeprefix("torch."),
        device=model.device.type,
    )
