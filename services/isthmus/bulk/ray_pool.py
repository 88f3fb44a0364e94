"""Blocks staged by an actor pool of Ray Data."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from isthmus.bulk.staging import BlockRecord
from isthmus.bulk.workers import IN_WORK_COUNT, BlockTask, Workshop

__all__ = ["RayPool"]

_OBJECT_STORE_BYTES: Final = 128 * 1024 * 1024
"""Rows go to the staging folder: through Ray's shared memory travel names and counts only."""


class _Actor:
    """A worker of Ray: the encoders on an event loop of their own."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._call(workshop.open())

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        async def stage() -> list[BlockRecord]:
            tasks = map(BlockTask.from_json, batch["task"])
            return list(await asyncio.gather(*(self._workshop.stage(task) for task in tasks)))

        return {"record": [record.to_json() for record in self._call(stage())]}

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPool:
    """An actor pool of Ray Data: on a Ray of its own that ends with this process, or on a cluster.

    Attributes:
        address: Of the cluster; None starts a Ray here.
        actors: Workers.
        num_cpus: That each of them takes.
        num_gpus: As `num_cpus`.
    """

    address: str | None = None
    actors: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0

    def run(self, workshop: Workshop, tasks: Sequence[BlockTask]) -> Iterator[BlockRecord]:
        """Yield each block once it is staged; see `Pool`.

        Raises:
            ImportError: Ray is not installed.
            RuntimeError: a worker fails, or the cluster cannot be reached.
        """
        if not tasks:
            return
        with _ray(self) as ray:
            ray.data.DataContext.get_current().enable_progress_bars = False  # the command has one
            pieces = max(self.actors, -(-len(tasks) // IN_WORK_COUNT))
            rows = [{"task": task.to_json()} for task in tasks]
            staged = ray.data.from_items(rows, override_num_blocks=pieces).map_batches(
                _Actor,
                fn_constructor_args=(workshop,),
                batch_size=IN_WORK_COUNT,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(size=self.actors),
                num_cpus=self.num_cpus,
                num_gpus=self.num_gpus,
            )
            for row in staged.iter_rows():
                yield BlockRecord.from_json(row["record"])


@contextlib.contextmanager
def _ray(pool: RayPool) -> Iterator[Any]:
    if pool.address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        # Whoever knows the token may run code: it lives as long as this process and its children.
        if os.environ["RAY_AUTH_MODE"] == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    importlib.import_module("ray.data")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="isthmus-ray-", ignore_cleanup_errors=True) as scratch:
        if pool.address is not None:
            ray.init(address=pool.address, log_to_driver=False, logging_level=logging.WARNING)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                num_cpus=max(os.cpu_count() or 1, int(pool.actors * pool.num_cpus) + 1),
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.WARNING,
                _node_ip_address="127.0.0.1",
                _temp_dir=scratch,
            )
        try:
            yield ray
        finally:
            ray.shutdown()
