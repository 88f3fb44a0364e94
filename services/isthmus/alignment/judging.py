"""Judge aligners and measure the gap on the pairs of a collection; nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from isthmus.alignment.aligner_keeper import AlignerKeeper
from isthmus.alignment.checks import check_method, check_spaces
from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.fitting import raw_pairs
from isthmus.alignment.items import CollectionLoader, LoadedCollection
from isthmus.alignment.jobs import Jobs, StopSignal
from isthmus.alignment.measuring import CollectionGap, MeasureRequest, measure_sample
from isthmus.alignment.pair_sample import PairSample, PairSampler
from isthmus.alignment.ports import ItemReader, NotesWanted
from isthmus.alignment.refusals import translated
from isthmus.alignment.verifying import CollectionVerification, Comparison, compare_methods, verify_on
from isthmus.core.aligners import FITTED_METHODS, RECALIBRATE, Artefact, FitOptions, load_aligner
from isthmus.core.calibration import CalibrationSource
from isthmus.core.details import DetailRequest
from isthmus.core.metrics import RetrievalReport
from isthmus.core.modality import Modality
from isthmus.evaluation import Evaluation, evaluate_retrieval

__all__ = ["Asked", "CollectionReport", "Judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller of a verification wants to know beside the whole."""

    details: DetailRequest = field(default_factory=DetailRequest)
    notes: NotesWanted = field(default_factory=NotesWanted)
    """What must be read of the items for that."""


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


class Judge:
    """Judges over collections, each judgement a job.

    Args:
        config: Its limits.
        reader: Reads collections.
        keeper: Has the aligners.
        jobs: Holds the turns and the threads.
    """

    def __init__(self, config: AlignmentConfig, *, reader: ItemReader, keeper: AlignerKeeper, jobs: Jobs) -> None:
        self._config = config
        self._reader = reader
        self._keeper = keeper
        self._jobs = jobs

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
            chosen = await self._keeper.get(tenant, reference) if reference is not None else None
            stream = self._reader.read(collection, min_revision=min_revision, paired_only=False)
            loader = CollectionLoader(max_items=self._config.job_max_items_count)
            async for message in stream:
                loader.add(message)
            loaded = loader.loaded()
            artefact = chosen if chosen is not None else loaded.head.aligner
            check_spaces(artefact, loaded.head)
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
            artefact = await self._keeper.get(tenant, reference) if reference is not None else None
            sampler = PairSampler(max_items=self._config.measure_max_items_count, seed=request.seed)
            notes = NotesWanted(attribute=request.label_attribute)
            stream = self._reader.read(collection, min_revision=min_revision, paired_only=True, notes=notes)
            async for message in stream:
                sampler.add(message)
            sample = sampler.sample()
            if artefact is not None:
                check_spaces(artefact, sample.head)
            return await self._jobs.run(lambda stop: _measured(sample, artefact, request, stop))

    async def verify(
        self,
        tenant: str,
        collection: str,
        reference: str,
        *,
        min_revision: int,
        seed: int,
        page: bool = False,
        asked: Asked | None = None,
    ) -> tuple[CollectionVerification, int]:
        """Judge an aligner on a collection's held-out pairs; return the findings and the collection's revision.

        Args:
            tenant: Whose collection and aligner.
            collection: Its name.
            reference: `aligner_id@revision` or `aligner_id`.
            min_revision: Read the collection at this revision or a later one.
            seed: Of the bootstrap.
            page: Also say it as a page for people.
            asked: Which slices and what gain to look at beside. A gain is judged over every item, paired or not.

        Raises:
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH, NOT_ENOUGH_PAIRS or PAIRS_LEAK.
            InvalidArgumentError: INVALID_FIELD; the slices cannot be cut.
            NotFoundError: ALIGNER_NOT_FOUND, COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        asked = asked or Asked()
        async with self._jobs.turn():
            artefact = await self._keeper.get(tenant, reference)
            loaded = await self._load(
                collection, min_revision=min_revision, notes=asked.notes, paired_only=asked.details.gains is None
            )
            check_spaces(artefact, loaded.head)
            subject = collection if page else ""
            found = await self._jobs.run(lambda _: _judged(loaded, artefact, seed, asked.details, subject))
            return found, loaded.head.revision

    async def compare(
        self, collection: str, methods: Sequence[str], *, min_revision: int, options: FitOptions, page: bool = False
    ) -> tuple[Comparison, int]:
        """Fit methods to a collection's pairs and judge all on the same held-out ones; nothing is kept.

        Args:
            collection: Its name.
            methods: Of FITTED_METHODS, or RECALIBRATE for the maps of the active aligner; none means all of them, the
                latter where there is one.
            min_revision: Read the collection at this revision or a later one.
            options: Of all fits.
            page: Also say it as a page for people.

        Raises:
            InvalidArgumentError: INVALID_FIELD; a method is none that a collection can fit.
            FailedPreconditionError: NOT_ENOUGH_PAIRS or PAIRS_LEAK.
            NotFoundError: COLLECTION_NOT_FOUND.
            ResourceExhaustedError: OVERLOADED or LIMIT_EXCEEDED.
        """
        for method in methods:
            check_method(method, field="methods")
        async with self._jobs.turn():
            loaded = await self._load(collection, min_revision=min_revision)
            every = FITTED_METHODS if loaded.head.aligner is None else (*FITTED_METHODS, RECALIBRATE)
            chosen = tuple(dict.fromkeys(methods)) or every
            subject = collection if page else ""
            return await self._jobs.run(
                lambda stop: _compared(loaded, chosen, options, stop, subject)
            ), loaded.head.revision

    async def _load(
        self, collection: str, *, min_revision: int, notes: NotesWanted | None = None, paired_only: bool = True
    ) -> LoadedCollection:
        loader = CollectionLoader(max_items=self._config.job_max_items_count)
        stream = self._reader.read(collection, min_revision=min_revision, paired_only=paired_only, notes=notes)
        async for message in stream:
            loader.add(message)
        return loader.loaded()

    def _evaluated(self, loaded: LoadedCollection, artefact: Artefact | None) -> Evaluation:
        with translated():
            return evaluate_retrieval(
                loaded.items[Modality.IMAGE],
                loaded.items[Modality.TEXT],
                aligner=None if artefact is None else load_aligner(artefact),
                pair_limit=self._config.evaluate_max_pairs_count,
            )


def _measured(
    sample: PairSample, artefact: Artefact | None, request: MeasureRequest, stop: StopSignal
) -> CollectionGap:
    with translated():
        return measure_sample(sample, artefact, request, stop=stop)


def _judged(
    loaded: LoadedCollection,
    artefact: Artefact,
    seed: int,
    details: DetailRequest,
    subject: str,
) -> CollectionVerification:
    with translated():
        return verify_on(
            raw_pairs(loaded),
            artefact,
            active=loaded.head.aligner,
            guard=loaded.head.guard,
            seed=seed,
            page_subject=subject,
            details=details,
        )


def _compared(
    loaded: LoadedCollection, methods: Sequence[str], options: FitOptions, stop: StopSignal, subject: str
) -> Comparison:
    with translated():
        return compare_methods(
            raw_pairs(loaded),
            methods,
            options=options,
            active=loaded.head.aligner,
            guard=loaded.head.guard,
            stop=stop,
            page_subject=subject,
        )
