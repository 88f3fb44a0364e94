"""Aligners: kept, fitted, applied and judged. Knows no wire."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.artefact_store import ArtefactStore
from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.fitting import FitRequest, FittedPairs, fit_pairs, raw_pairs, verify_fitted
from isthmus.alignment.items import CollectionLoader, LoadedCollection
from isthmus.alignment.jobs import Jobs, StopSignal
from isthmus.alignment.measuring import CollectionGap, MeasureRequest, measure_sample
from isthmus.alignment.pair_sample import PairSample, PairSampler
from isthmus.alignment.ports import CollectionHead, ItemReader
from isthmus.alignment.refusals import not_found, translated
from isthmus.alignment.verifying import CollectionVerification, Comparison, compare_methods, verify_on
from isthmus.core.aligners import FITTED_METHODS, Aligner, Artefact, FitOptions, load_aligner
from isthmus.core.calibration import CalibrationSource
from isthmus.core.canonical import canonical
from isthmus.core.metrics import RetrievalReport
from isthmus.core.modality import Modality
from isthmus.evaluation import Evaluation, evaluate_retrieval
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from isthmus.runtime.base.no_aligner import no_aligner

__all__ = ["AlignmentEngine", "CollectionReport", "FitProgress"]

T = TypeVar("T")

_ALIGN_THREADS: Final = 2
_READ_SHARE: Final = 0.5
"""Share of a fit's progress that reading stands for."""
_FITTED_SHARE: Final = 0.8
"""The same, once everything but judging and keeping it is done."""
_VERIFIED_SHARE: Final = 0.95
"""The same, once everything but keeping it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitProgress:
    """A step of a fit."""

    progress: float
    """Share of the work that is done, in [0, 1]."""
    stage: str
    """reading, fitting, verifying, saving or done."""
    artefact: Artefact | None = None
    """The new aligner; only in the last step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionReport:
    """What an evaluation of a collection found."""

    report: RetrievalReport
    aligner: str
    """The aligned space that was judged; empty when there was no aligner."""
    revision: int
    """Revision of the collection."""
    calibration: CalibrationSource
    """How scores of the two modalities were made comparable."""


class AlignmentEngine:
    """The alignment service without its wire.

    Args:
        config: Its limits and folders.
        reader: Reads collections.
    """

    def __init__(self, config: AlignmentConfig, reader: ItemReader) -> None:
        self._config = config
        self._reader = reader
        self._jobs = Jobs(threads=config.job_threads_count, waiting=config.job_queue_count)
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

    async def close(self) -> None:
        """Let the threads go."""
        self._jobs.close()
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

    async def fit(
        self,
        tenant: str,
        collection: str,
        *,
        aligner_id: str,
        method: str,
        options: FitOptions,
        min_revision: int,
        request_id: str,
    ) -> AsyncIterator[FitProgress]:
        """Fit an aligner to a collection's pairs, keep it, and say how far that is.

        Args:
            tenant: Whose collection and aligner.
            collection: What to learn from.
            aligner_id: Name of the new aligner.
            method: One of FITTED_METHODS.
            options: How it is to fit.
            min_revision: Read the collection at this revision or a later one.
            request_id: The same id again for the same name gives the aligner that it brought before.

        Raises:
            InvalidArgumentError: INVALID_FIELD, when the method is none that a collection can fit, or does not have
                an option that was set.
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH, NOT_ENOUGH_PAIRS or PAIRS_LEAK.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        _check_method(method, field="method")
        request = FitRequest(
            aligner_id=aligner_id, method=method, options=options, min_pairs=self._config.fit_min_pairs_count
        )
        store = self._opened()
        done = await self._soon(lambda: self._brought(store, tenant, aligner_id, request_id))
        if done is not None:
            yield FitProgress(progress=1.0, stage="done", artefact=done)
            return
        await self._soon(lambda: self._check_room(tenant, aligner_id))
        async with self._jobs.turn():
            yield FitProgress(progress=0.0, stage="reading")
            stream = self._reader.read(collection, min_revision=min_revision, paired_only=True)
            loader = CollectionLoader(max_items=self._config.job_max_items_count)
            async for message in stream:
                loader.add(message)
                yield FitProgress(progress=_READ_SHARE * loader.share, stage="reading")
            loaded = loader.loaded()
            yield FitProgress(progress=_READ_SHARE, stage="fitting")
            fitted = await self._jobs.run(lambda _: _fitted(loaded, request))
            yield FitProgress(progress=_FITTED_SHARE, stage="verifying")
            artefact = await self._jobs.run(lambda _: _verified(fitted, loaded.head))
            yield FitProgress(progress=_VERIFIED_SHARE, stage="saving")
            await self._jobs.run(lambda _: store.keep(tenant, artefact, request_id=request_id))
        yield FitProgress(progress=1.0, stage="done", artefact=artefact)

    async def evaluate(
        self, tenant: str, collection: str, *, min_revision: int, reference: str | None
    ) -> CollectionReport:
        """Judge retrieval over a collection's pairs from exact similarities.

        Args:
            tenant: Whose collection.
            collection: Its name.
            min_revision: Read it at this revision or a later one.
            reference: Judge this aligner in place of the active one.

        Raises:
            FailedPreconditionError: NO_ALIGNER, ALIGNER_SPACES_MISMATCH or NOT_ENOUGH_PAIRS.
            NotFoundError: ALIGNER_NOT_FOUND, COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        async with self._jobs.turn():
            chosen = await self.get(tenant, reference) if reference is not None else None
            stream = self._reader.read(collection, min_revision=min_revision, paired_only=False)
            loader = CollectionLoader(max_items=self._config.job_max_items_count)
            async for message in stream:
                loader.add(message)
            loaded = loader.loaded()
            artefact = chosen if chosen is not None else loaded.head.aligner
            _check_spaces(artefact, loaded.head)
            found = await self._jobs.run(lambda _: self._evaluated(loaded, artefact))
        return CollectionReport(
            report=found.report,
            aligner="" if artefact is None else artefact.space,
            revision=loaded.head.revision,
            calibration=found.calibration.source,
        )

    async def measure(
        self, tenant: str, collection: str, *, min_revision: int, reference: str | None, request: MeasureRequest
    ) -> CollectionGap:
        """Measure the gap between the modalities on a collection's pairs.

        Args:
            tenant: Whose collection.
            collection: Its name.
            min_revision: Read it at this revision or a later one.
            reference: Measure in this aligner's space; None measures raw embeddings.
            request: What to measure.

        Raises:
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH or NOT_ENOUGH_PAIRS.
            NotFoundError: ALIGNER_NOT_FOUND, COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED.
        """
        async with self._jobs.turn():
            artefact = await self.get(tenant, reference) if reference is not None else None
            sampler = PairSampler(max_items=self._config.measure_max_items_count, seed=request.seed)
            async for message in self._reader.read(collection, min_revision=min_revision, paired_only=True):
                sampler.add(message)
            sample = sampler.sample()
            if artefact is not None:
                _check_spaces(artefact, sample.head)
            return await self._jobs.run(lambda stop: _measured(sample, artefact, request, stop))

    async def verify(
        self, tenant: str, collection: str, reference: str, *, min_revision: int, seed: int
    ) -> tuple[CollectionVerification, int]:
        """Judge an aligner on a collection's held-out pairs; return the findings and the collection's revision.

        Args:
            tenant: Whose collection and aligner.
            collection: Its name.
            reference: `aligner_id@revision` or `aligner_id`.
            min_revision: Read the collection at this revision or a later one.
            seed: Of the bootstrap.

        Raises:
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH, NOT_ENOUGH_PAIRS or PAIRS_LEAK.
            NotFoundError: ALIGNER_NOT_FOUND, COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        async with self._jobs.turn():
            artefact = await self.get(tenant, reference)
            loaded = await self._load_pairs(collection, min_revision=min_revision)
            _check_spaces(artefact, loaded.head)
            return await self._jobs.run(lambda _: _judged(loaded, artefact, seed)), loaded.head.revision

    async def compare(
        self, collection: str, methods: Sequence[str], *, min_revision: int, options: FitOptions
    ) -> tuple[Comparison, int]:
        """Fit methods to a collection's pairs and judge all on the same held-out ones; nothing is kept.

        Args:
            collection: Its name.
            methods: Of FITTED_METHODS; none means all of them.
            min_revision: Read the collection at this revision or a later one.
            options: Of all fits.

        Raises:
            InvalidArgumentError: INVALID_FIELD; a method is none that a collection can fit.
            FailedPreconditionError: NOT_ENOUGH_PAIRS or PAIRS_LEAK.
            NotFoundError: COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        for method in methods:
            _check_method(method, field="methods")
        chosen = tuple(dict.fromkeys(methods)) or FITTED_METHODS
        async with self._jobs.turn():
            loaded = await self._load_pairs(collection, min_revision=min_revision)
            return await self._jobs.run(lambda stop: _compared(loaded, chosen, options, stop)), loaded.head.revision

    async def _load_pairs(self, collection: str, *, min_revision: int) -> LoadedCollection:
        loader = CollectionLoader(max_items=self._config.job_max_items_count)
        async for message in self._reader.read(collection, min_revision=min_revision, paired_only=True):
            loader.add(message)
        return loader.loaded()

    def _open(self) -> ArtefactStore:
        with translated(stored=True):
            store = ArtefactStore(self._config.aligners_dir, reach=self._config.object_store)
        for artefact in store.shipped:
            aligner = load_aligner(artefact)
            for modality in Modality:
                aligner.align(np.ones((1, aligner.raw_dimension(modality)), dtype=np.float32), modality)
        return store

    def notice(self, artefact: Artefact) -> str:
        """Return what a person must know before using the aligner; empty for most."""
        return self._opened().notice(artefact)

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
            self._opened().keep(tenant, artefact, request_id=request_id)
        return artefact

    def _check_room(self, tenant: str, aligner_id: str) -> None:
        """Refuse a new name when the tenant has as many as a list may hold.

        Raises:
            ResourceExhaustedError: LIMIT_EXCEEDED.
        """
        names = self._opened().names(tenant)
        if aligner_id not in names and len(names) >= self._config.names_count:
            msg = f"aligner: there are {len(names)} names, which is the limit"
            raise ResourceExhaustedError(
                msg, reason="LIMIT_EXCEEDED", metadata={"field": "aligner", "limit": str(self._config.names_count)}
            )

    def _brought(self, store: ArtefactStore, tenant: str, aligner_id: str, request_id: str) -> Artefact | None:
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

    def _evaluated(self, loaded: LoadedCollection, artefact: Artefact | None) -> Evaluation:
        with translated():
            return evaluate_retrieval(
                loaded.items[Modality.IMAGE],
                loaded.items[Modality.TEXT],
                aligner=None if artefact is None else load_aligner(artefact),
                pair_limit=self._config.evaluate_max_pairs_count,
            )

    async def _soon(self, work: Callable[[], T]) -> T:
        """Return `work()`, done in a thread for short work."""
        return await asyncio.get_running_loop().run_in_executor(self._light, work)


def _fitted(loaded: LoadedCollection, request: FitRequest) -> FittedPairs:
    with translated():
        return fit_pairs(raw_pairs(loaded), request)


def _verified(fitted: FittedPairs, head: CollectionHead) -> Artefact:
    with translated():
        return verify_fitted(fitted, active=head.aligner, guard=head.guard)


def _measured(
    sample: PairSample, artefact: Artefact | None, request: MeasureRequest, stop: StopSignal
) -> CollectionGap:
    with translated():
        return measure_sample(sample, artefact, request, stop=stop)


def _judged(loaded: LoadedCollection, artefact: Artefact, seed: int) -> CollectionVerification:
    with translated():
        return verify_on(raw_pairs(loaded), artefact, active=loaded.head.aligner, guard=loaded.head.guard, seed=seed)


def _compared(loaded: LoadedCollection, methods: Sequence[str], options: FitOptions, stop: StopSignal) -> Comparison:
    with translated():
        return compare_methods(
            raw_pairs(loaded),
            methods,
            options=options,
            active=loaded.head.aligner,
            guard=loaded.head.guard,
            stop=stop,
        )


def _check_method(method: str, *, field: str) -> None:
    if method not in FITTED_METHODS:
        msg = f"{field} must be one of {', '.join(FITTED_METHODS)}"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": field})


def _check_spaces(artefact: Artefact | None, head: CollectionHead) -> None:
    """Refuse a collection that nothing joins, and an aligner made for other spaces."""
    if not (head.image_space and head.text_space):
        return  # One modality only: there is nothing to join, and no pair to judge by.
    if artefact is None:
        if head.image_space != head.text_space:
            raise no_aligner()
        return
    manifest = artefact.manifest
    expected = {"image_space": head.image_space, "text_space": head.text_space}
    given = {"image_space": manifest.image_space, "text_space": manifest.text_space}
    if expected != given:
        msg = "aligner: its raw spaces are not those of the collection"
        raise FailedPreconditionError(
            msg,
            reason="ALIGNER_SPACES_MISMATCH",
            metadata={f"collection_{name}": space for name, space in expected.items()}
            | {f"aligner_{name}": space for name, space in given.items()},
        )
