"""What lets one test run on the sync client and on the async one."""

from __future__ import annotations

import inspect
from typing import Any

from isthmus.client import AsyncClient, Client


class Both:
    """One of the two clients behind one way to call it."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self._client = client

    async def __call__(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method, and wait where that is needed."""
        answer = getattr(self._client, name)(*arguments, **options)
        return await answer if inspect.isawaitable(answer) else answer
