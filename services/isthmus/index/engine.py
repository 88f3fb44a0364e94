"""The two engines of the index: one writer, and searchers, over one store module. Neither knows gRPC."""

from __future__ import annotations

from isthmus.index.searcher import SearcherEngine
from isthmus.index.writer import WriterEngine

__all__ = ["SearcherEngine", "WriterEngine"]
