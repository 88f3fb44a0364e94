"""Make `import torchvision` work where its compiled operators do not load.

timm and the image processors of transformers import torchvision for its Python transforms. A torchvision built for
another torch (the CUDA wheel beside a CPU torch, for example) fails on import, because it attaches shape functions to
two detection operators that its library did not register. No encoder calls those operators, so their schemas alone
are declared, and only when they are missing.
"""

from __future__ import annotations

import importlib
import threading

import torch

__all__ = ["ensure_torchvision_imports"]

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_lock = threading.Lock()
_declared: list[torch.library.Library] = []  # a Library undoes its definitions when it is collected


def ensure_torchvision_imports() -> None:
    """Import torchvision, declaring its missing operators first if that is what stops it.

    Without torchvision installed this does nothing: transformers then falls back to Pillow.

    Raises:
        RuntimeError: torchvision fails for another reason.
    """
    with _lock:
        try:
            importlib.import_module("torchvision")
        except ModuleNotFoundError:
            return
        except RuntimeError as error:
            if _declared or "torchvision::nms" not in str(error):
                raise
            library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
            for schema in _SCHEMAS:
                library.define(schema)  # type: ignore[no-untyped-call]
            _declared.append(library)
            importlib.import_module("torchvision")
