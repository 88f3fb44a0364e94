"""The text encoder on Ray Serve: `isthmus.text_encoder.deployment:app`."""

from __future__ import annotations

from typing import Any

from isthmus.runtime.rpc.server import Hosted
from isthmus.runtime.serve.application import Application, bind
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.service import build

__all__ = ["app"]


def _make(settings: dict[str, Any]) -> Hosted:
    return build(TextEncoderConfig.load(**settings))


def app(args: dict[str, Any]) -> Application:
    """Bind it; `args` are settings of `TextEncoderConfig`."""
    return bind("text_encoder", _make, args)
