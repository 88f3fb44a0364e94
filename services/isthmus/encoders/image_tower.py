"""Image towers: the model's own preprocessing, one picture at a time, then a batch forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from isthmus.core.canonical import canonical
from isthmus.encoders.spec import EncoderInfo
from isthmus.encoders.tower import Prepared

__all__ = ["ImagePooling", "ImageTower", "image_features"]

ImagePooling = Literal["projection", "pooler", "cls", "mean"]


def image_features(model: Any, inputs: Mapping[str, torch.Tensor], pooling: ImagePooling) -> torch.Tensor:
    """Run the model on a batch and make one vector of each picture.

    Args:
        model: Its `pooler_output` is (n, d) or (n, d, 1, 1), its `last_hidden_state` (n, patches, d) for transformers
            and (n, d, height, width) for convolutional networks.
        inputs: What its image processor made, n first.
        pooling: projection (the image half of a dual encoder), pooler (the model's own), cls (its first token) or mean
            (over its patches).

    Returns:
        (n, d), where and in what type the model computed it.
    """
    with torch.inference_mode():
        placed = {name: _placed(value, model) for name, value in inputs.items()}
        output = (model.get_image_features if pooling == "projection" else model)(**placed)
        if pooling in {"projection", "pooler"}:
            return output.pooler_output.flatten(1)  # type: ignore[no-any-return]
        return _pool_hidden(output.last_hidden_state, pooling)


def _pool_hidden(hidden: torch.Tensor, pooling: ImagePooling) -> torch.Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    return hidden.flatten(2).mean(dim=2) if hidden.ndim == 4 else hidden.mean(dim=1)  # noqa: PLR2004


def _placed(value: torch.Tensor, model: Any) -> torch.Tensor:
    """Move an input to the model's device, pixels in its numeric type and its memory order."""
    if not value.is_floating_point():
        return value.to(model.device)
    value = value.to(model.device, model.dtype)
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value  # noqa: PLR2004


class ImageTower:
    """An image encoder, or the image half of a dual encoder.

    Args:
        model: The model, on its device, in evaluation mode.
        processor: The image processor that its folder names.
        pooling: How its output becomes one vector, see `image_features`.
        info: Identity and shape.
    """

    def __init__(self, model: Any, processor: Any, *, pooling: ImagePooling, info: EncoderInfo) -> None:
        self._model = model
        self._processor = processor
        self._pooling: ImagePooling = pooling
        self._info = info

    @property
    def info(self) -> EncoderInfo:
        """Identity and shape."""
        return self._info

    def prepare(self, item: Image.Image) -> Prepared:
        """Resize, crop and normalise one RGB picture as the model's processor does. Thread-safe.

        Args:
            item: An RGB picture, upright; `image_encoder.decode.decode_image` makes one from bytes.
        """
        return Prepared(dict(self._processor(images=item, return_tensors="pt")))

    def forward(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Encode a batch; see `Tower.forward`."""
        return canonical(self.forward_raw(batch))

    def forward_raw(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Return (n, d) float32 as the model gives them: neither scaled nor rounded."""
        inputs = {name: torch.cat([item.tensors[name] for item in batch]) for name in batch[0].tensors}
        return image_features(self._model, inputs, self._pooling).to("cpu", torch.float32).numpy()

    def warm(self) -> None:
        """Run a dummy batch of two pictures."""
        picture = Image.linear_gradient("L").convert("RGB")
        self.forward([self.prepare(picture), self.prepare(picture.rotate(90))])
