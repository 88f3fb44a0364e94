"""Choose device and numeric type of a forward pass."""

from __future__ import annotations

import platform

import torch

from isthmus.encoders.spec import Device, EncoderLoadError, Precision

__all__ = ["choose_device", "choose_dtype"]

_ARM = ("aarch64", "arm64")  # there oneDNN says yes only to real bf16 instructions
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: Device) -> torch.device:
    """Resolve `auto` to the GPU when torch sees one.

    Raises:
        EncoderLoadError: `cuda` was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        msg = "device: cuda was asked for, but torch sees no GPU"
        raise EncoderLoadError(msg)
    use_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_gpu else "cpu")


def choose_dtype(precision: Precision, *, device: torch.device) -> torch.dtype:
    """Resolve `auto` to bf16 where the device computes in it natively, else fp32 (fp16 on a GPU without bf16).

    Measured with the embedded encoders on one core with AVX-512 bf16, items per core-second in batches of 1, 8 and 32:

        EfficientNet-Lite0   fp32  39  30  27    bf16  64  61  68     cosine to fp32: mean 0.9992, least 0.9955
        MiniLM, captions     fp32  74 145 127    bf16 111 251 250     cosine to fp32: mean 0.99995, least 0.9999

    The nearest other photograph of Flickr8k dev is at cosine 0.84 at most; recall of a ridge map from images to
    captions is the same with either (t2i r1 .186 and .186, r10 .562 and .561).
    """
    if precision != "auto":
        return _DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if _cpu_has_bf16() else torch.float32


def _cpu_has_bf16() -> bool:
    """True when oneDNN computes in bf16 with instructions made for it; it would also emulate it, slower than fp32."""
    native = torch.cpu._is_avx512_bf16_supported() or platform.machine() in _ARM  # noqa: SLF001 - the only way to ask
    return bool(native and torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - as above
