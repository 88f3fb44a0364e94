"""What the small gateway holds, counts, and is told to fail at."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.runtime.base.errors import NotFoundError
from isthmus.v1 import common_pb2, gateway_service_pb2


class Script:
    """Collections in a dict, and a script of failures.

    Attributes:
        calls: Attempts by method, failed ones included.
        requests: Every request message by method; upserts message by message.
        failures: By method, what the next calls raise, first to last; None lets one pass.
        apply_before_failing: Let an upsert message take effect before its scripted failure hides the acknowledgement.
        delay_s: By method, how long an answer takes.
        applied: Upsert request ids in the order they took effect.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.requests: defaultdict[str, list[Any]] = defaultdict(list)
        self.failures: defaultdict[str, deque[BaseException | None]] = defaultdict(deque)
        self.apply_before_failing = False
        self.delay_s: dict[str, float] = {}
        self.applied: list[str] = []
        self._answers: dict[str, gateway_service_pb2.UpsertItemsResponse] = {}
        self.collections: dict[str, common_pb2.Collection] = {}
        self.items: defaultdict[str, dict[str, tuple[common_pb2.Item, NDArray[np.float32]]]] = defaultdict(dict)

    async def _enter(self, method: str, request: Any) -> None:
        self.calls[method] += 1
        self.requests[method].append(request)
        await asyncio.sleep(self.delay_s.get(method, 0))
        self._fail(method)

    def _fail(self, method: str) -> None:
        failure = self.failures[method].popleft() if self.failures[method] else None
        if failure is not None:
            raise failure

    def _collection(self, name: str) -> common_pb2.Collection:
        if name not in self.collections:
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND", metadata={"field": "collection"})
        return self.collections[name]
