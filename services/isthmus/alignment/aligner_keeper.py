"""Keep aligners: what a tenant has of them, and each ready to be applied."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.artefact_store import ArtefactStore
from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.refusals import not_found, translated
from isthmus.core.aligners import Aligner, Artefact, load_aligner
from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.runtime.base.errors import FailedPreconditionError, ResourceExhaustedError, UnavailableError

__all__ = ["AlignerKeeper"]

T = TypeVar("T")

_ALIGN_THREADS: Final = 2


class AlignerKeeper:
    """The aligners of all tenants, shipped, imported and fitted.

    Args:
        config: Its limits and folders.
    """

    def __init__(self, config: AlignmentConfig) -> None:
        self._config = config
        self._light = ThreadPoolExecutor(_ALIGN_THREADS, thread_name_prefix="alignment")
        self._store: ArtefactStore | None = None
        self._ready: OrderedDict[tuple[str, str], Aligner] = OrderedDict()
        self._ready_lock = threading.Lock()

    async def start(self) -> None:
        """Verify the shipped artefacts and apply each once.

        Raises:
            DataLossError: One of them is damaged.
        """
        self._store = await self._soon(self._open)

    def close(self) -> None:
        """Let the threads go."""
        self._light.shutdown(wait=False, cancel_futures=True)

    async def list_newest(self, tenant: str) -> list[Artefact]:
        """Return the newest revision of every aligner the tenant sees, by name."""
        store = self._opened()
        return await self._soon(lambda: store.newest(tenant))

    async def get(self, tenant: str, reference: str) -> Artefact:
        """Return one artefact.

        Args:
            tenant: Whose.
            reference: `aligner_id@revision`, or `aligner_id` for its newest revision.

        Raises:
            NotFoundError: ALIGNER_NOT_FOUND.
            DataLossError: ARTEFACT_DAMAGED.
        """
        return await self._soon(lambda: self._find(tenant, reference))

    async def keep(self, tenant: str, *, manifest: bytes, tensors: bytes, request_id: str) -> Artefact:
        """Verify an artefact that was made elsewhere and keep it. Keeping it again changes nothing.

        Raises:
            InvalidArgumentError: ARTEFACT_DAMAGED.
            ResourceExhaustedError: LIMIT_EXCEEDED, when the tenant has too many names.
        """
        return await self._soon(lambda: self._keep(tenant, manifest, tensors, request_id))

    def save(self, tenant: str, artefact: Artefact, *, request_id: str) -> None:
        """Keep an artefact that was made here, in the caller's own thread: those for short work are few.

        Raises:
            OSError: The folder cannot be written.
            UnavailableError: NOT_READY; BACKEND_UNAVAILABLE, when the object store did not confirm it.
        """
        self._opened().keep(tenant, artefact, request_id=request_id)

    async def brought_by(self, tenant: str, aligner_id: str, request_id: str) -> Artefact | None:
        """Return the artefact that a request brought, or None when it brought none.

        Raises:
            DataLossError: ARTEFACT_DAMAGED.
        """
        return await self._soon(lambda: self._brought_by(tenant, aligner_id, request_id))

    async def check_room(self, tenant: str, aligner_id: str) -> None:
        """Refuse a new name when the tenant has as many as a list may hold.

        Raises:
            ResourceExhaustedError: LIMIT_EXCEEDED.
        """
        await self._soon(lambda: self._check_room(tenant, aligner_id))

    async def align(
        self, tenant: str, reference: str, vectors: NDArray[np.float32], *, modality: Modality, space: str
    ) -> tuple[str, NDArray[np.float32]]:
        """Map raw vectors; return the aligned space and as many unit rows.

        Args:
            tenant: Whose aligner.
            reference: `aligner_id@revision` or `aligner_id`.
            vectors: (n, d) float32, any rows with a direction; made canonical first.
            modality: Of the vectors.
            space: Their raw space.

        Raises:
            NotFoundError: ALIGNER_NOT_FOUND.
            FailedPreconditionError: SPACE_MISMATCH.
            InvalidArgumentError: INVALID_VECTOR.
        """
        return await self._soon(lambda: self._align(tenant, reference, vectors, modality=modality, space=space))

    def notice(self, artefact: Artefact) -> str:
        """Return what a person must know before using the aligner; empty for most."""
        return self._opened().notice(artefact)

    def _open(self) -> ArtefactStore:
        with translated(stored=True):
            store = ArtefactStore(self._config.aligners_dir, reach=self._config.object_store)
        for artefact in store.shipped:
            aligner = load_aligner(artefact)
            for modality in Modality:
                aligner.align(np.ones((1, aligner.raw_dimension(modality)), dtype=np.float32), modality)
        return store

    def _opened(self) -> ArtefactStore:
        if self._store is None:
            msg = "the alignment service is not ready yet"
            raise UnavailableError(msg, reason="NOT_READY")
        return self._store

    def _find(self, tenant: str, reference: str) -> Artefact:
        aligner_id, _, revision = reference.partition("@")
        with translated(stored=True):
            artefact = self._opened().find(tenant, aligner_id, revision or None)
        if artefact is None:
            raise not_found()
        return artefact

    def _keep(self, tenant: str, manifest: bytes, tensors: bytes, request_id: str) -> Artefact:
        with translated():
            artefact = Artefact.from_bytes(manifest, tensors)
            load_aligner(artefact)
        self._check_room(tenant, artefact.manifest.aligner_id)
        with translated(stored=True):
            self.save(tenant, artefact, request_id=request_id)
        return artefact

    def _check_room(self, tenant: str, aligner_id: str) -> None:
        names = self._opened().names(tenant)
        if aligner_id not in names and len(names) >= self._config.names_count:
            msg = f"aligner: there are {len(names)} names, which is the limit"
            raise ResourceExhaustedError(
                msg, reason="LIMIT_EXCEEDED", metadata={"field": "aligner", "limit": str(self._config.names_count)}
            )

    def _brought_by(self, tenant: str, aligner_id: str, request_id: str) -> Artefact | None:
        store = self._opened()
        with translated(stored=True):
            revision = store.brought_by(tenant, aligner_id, request_id)
            return None if revision is None else store.find(tenant, aligner_id, revision)

    def _align(
        self, tenant: str, reference: str, vectors: NDArray[np.float32], *, modality: Modality, space: str
    ) -> tuple[str, NDArray[np.float32]]:
        aligner = self._aligner(tenant, reference)
        if space != aligner.raw_space(modality):
            msg = "vectors: their space is not the raw space that the aligner accepts for this modality"
            metadata = {"space": space, "expected": aligner.raw_space(modality)}
            raise FailedPreconditionError(msg, reason="SPACE_MISMATCH", metadata=metadata)
        with translated():
            return aligner.space, aligner.align(canonical(vectors), modality)

    def _aligner(self, tenant: str, reference: str) -> Aligner:
        """Return an aligner ready to be applied; a full reference is read from disk once."""
        key = (tenant, reference)
        with self._ready_lock:
            if key in self._ready:
                self._ready.move_to_end(key)
                return self._ready[key]
        artefact = self._find(tenant, reference)
        with translated(stored=True):
            aligner = load_aligner(artefact)
        if reference == artefact.space:
            with self._ready_lock:
                self._ready[key] = aligner
                while len(self._ready) > self._config.cached_aligners_count:
                    self._ready.popitem(last=False)
        return aligner

    async def _soon(self, work: Callable[[], T]) -> T:
        """Return `work()`, done in a thread for short work."""
        return await asyncio.get_running_loop().run_in_executor(self._light, work)
