"""Ask the groups of searchers that a collection is split over as if they were one searcher.

Whoever calls `IndexSearchService` gets a stub from `search_stub`: the generated one where one group holds everything,
else one that asks every group and puts their answers together. (docs/adr/0036-shards.md)
"""

from __future__ import annotations

from isthmus.runtime.rpc.sharded.stub import search_stub, split_addresses

__all__ = ["search_stub", "split_addresses"]
