"""The image encoder on Ray Serve: `isthmus.image_encoder.deployment:app`."""

from __future__ import annotations

from typing import Any

from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.service import build
from isthmus.runtime.rpc.server import Hosted
from isthmus.runtime.serve.application import Application, bind

__all__ = ["app"]


def _make(settings: dict[str, Any]) -> Hosted:
    return build(ImageEncoderConfig.load(**settings))


def app(args: dict[str, Any]) -> Application:
    """Bind it; `args` are settings of `ImageEncoderConfig`."""
    return bind("image_encoder", _make, args)
