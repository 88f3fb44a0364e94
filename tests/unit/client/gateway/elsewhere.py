"""What the small gateway leaves to the real one: these calls are tested on a running mesh."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc

from tests.unit.client.gateway.script import Script


class Elsewhere(Script):
    """Refuses, as a gateway of another version would."""

    async def ImportFiles(self, _request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Refuse."""
        await self._refuse(context)

    async def BackupCollection(
        self, _request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[Any, None]:
        """Refuse."""
        await self._refuse(context)
        yield

    async def RestoreCollection(self, _request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Refuse."""
        await self._refuse(context)

    async def SetAlias(self, _request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Refuse."""
        await self._refuse(context)

    async def DeleteAlias(self, _request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Refuse."""
        await self._refuse(context)

    async def ListAliases(self, _request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Refuse."""
        await self._refuse(context)

    @staticmethod
    async def _refuse(context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
