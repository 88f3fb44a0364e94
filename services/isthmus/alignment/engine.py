"""Aligners: kept, fitted, applied and judged. Knows no wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from isthmus.alignment.aligner_keeper import AlignerKeeper
from isthmus.alignment.auditing import Auditor
from isthmus.alignment.checks import check_base, check_method
from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.fitting import FitRequest, FittedPairs, fit_pairs, raw_pairs, verify_fitted
from isthmus.alignment.items import CollectionLoader, LoadedCollection
from isthmus.alignment.jobs import Jobs
from isthmus.alignment.judging import Judge
from isthmus.alignment.linking import Linker
from isthmus.alignment.ports import CollectionHead, ItemReader
from isthmus.alignment.refusals import translated
from isthmus.core.aligners import Artefact, FitOptions

__all__ = ["AlignmentEngine", "FitProgress"]

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


class AlignmentEngine:
    """The alignment service without its wire.

    Attributes:
        keeper: Has the aligners and applies them.
        judge: Judges them, and measures the gap.
        auditor: Audits the pairs of collections.
        linker: Proposes links with them.

    Args:
        config: Its limits and folders.
        reader: Reads collections.
    """

    def __init__(self, config: AlignmentConfig, reader: ItemReader) -> None:
        self._config = config
        self._reader = reader
        self._jobs = Jobs(threads=config.job_threads_count, waiting=config.job_queue_count)
        self.keeper = AlignerKeeper(config)
        self.judge = Judge(config, reader=reader, keeper=self.keeper, jobs=self._jobs)
        self.auditor = Auditor(config, reader=reader, jobs=self._jobs)
        self.linker = Linker(config, reader=reader, keeper=self.keeper, jobs=self._jobs)

    async def start(self) -> None:
        """Verify the shipped artefacts and apply each once.

        Raises:
            DataLossError: One of them is damaged.
        """
        await self.keeper.start()

    async def close(self) -> None:
        """Let the threads go."""
        self._jobs.close()
        self.keeper.close()

    async def fit(
        self,
        tenant: str,
        collection: str,
        *,
        aligner_id: str,
        method: str,
        options: FitOptions,
        on_top_of: str | None = None,
        min_revision: int,
        request_id: str,
    ) -> AsyncGenerator[FitProgress, None]:
        """Fit an aligner to a collection's pairs, keep it, and say how far that is.

        Args:
            tenant: Whose collection and aligner.
            collection: What to learn from.
            aligner_id: Name of the new aligner.
            method: One of FITTED_METHODS, or RECALIBRATE.
            options: How it is to fit.
            on_top_of: The aligner whose maps RECALIBRATE keeps; None takes the collection's active one.
            min_revision: Read the collection at this revision or a later one.
            request_id: The same id again for the same name gives the aligner that it brought before.

        Raises:
            InvalidArgumentError: INVALID_FIELD, when the method is none that a collection can fit, or does not have
                an option that was set.
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH, NOT_ENOUGH_PAIRS or PAIRS_LEAK.
            NotFoundError: ALIGNER_NOT_FOUND, COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        check_method(method, field="method")
        check_base(on_top_of, method=method)
        done = await self.keeper.brought_by(tenant, aligner_id, request_id)
        if done is not None:
            yield FitProgress(progress=1.0, stage="done", artefact=done)
            return
        await self.keeper.check_room(tenant, aligner_id)
        request = FitRequest(
            aligner_id=aligner_id,
            method=method,
            options=options,
            min_pairs=self._config.fit_min_pairs_count,
            on_top_of=None if on_top_of is None else await self.keeper.get(tenant, on_top_of),
        )
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
            await self._jobs.run(lambda _: self.keeper.save(tenant, artefact, request_id=request_id))
        yield FitProgress(progress=1.0, stage="done", artefact=artefact)


def _fitted(loaded: LoadedCollection, request: FitRequest) -> FittedPairs:
    with translated():
        return fit_pairs(raw_pairs(loaded), request, active=loaded.head.aligner)


def _verified(fitted: FittedPairs, head: CollectionHead) -> Artefact:
    with translated():
        return verify_fitted(fitted, active=head.aligner, guard=head.guard)
