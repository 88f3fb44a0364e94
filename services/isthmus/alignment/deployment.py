"""The alignment service on Ray Serve: `isthmus.alignment.deployment:app`."""

from __future__ import annotations

from typing import Any

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.service import build
from isthmus.runtime.rpc.server import Hosted
from isthmus.runtime.serve.application import Application, bind

__all__ = ["app"]


def _make(settings: dict[str, Any]) -> Hosted:
    return build(AlignmentConfig.load(**settings))


def app(args: dict[str, Any]) -> Application:
    """Bind it; `args` are settings of `AlignmentConfig`."""
    return bind("alignment", _make, args)
