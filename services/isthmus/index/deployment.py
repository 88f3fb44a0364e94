"""The index on Ray Serve, two applications: `isthmus.index.deployment:writer` and `isthmus.index.deployment:search`."""

from __future__ import annotations

from typing import Any

from isthmus.index.config import IndexConfig
from isthmus.index.service import build
from isthmus.runtime.rpc.server import Hosted
from isthmus.runtime.serve.application import Application, bind

__all__ = ["search", "writer"]


def _make(settings: dict[str, Any]) -> Hosted:
    return build(IndexConfig.load(**settings))


def writer(args: dict[str, Any]) -> Application:
    """Bind the one writer; `args` are settings of `IndexConfig`."""
    return bind("index_writer", _make, {**args, "role": "writer"})


def search(args: dict[str, Any]) -> Application:
    """Bind the searchers; `args` are settings of `IndexConfig`."""
    return bind("index_search", _make, {**args, "role": "searcher"})
