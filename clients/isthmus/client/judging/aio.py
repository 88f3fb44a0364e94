"""Calls for judging collections and aligners, for asyncio."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.inputs import GainOptions, SliceOptions
from isthmus.client.judging import plan
from isthmus.client.judging.results import Comparison, EvaluationReport, GapReport, VerificationReport

__all__ = ["AsyncJudgingCalls"]


class AsyncJudgingCalls(AsyncCalls):
    """Calls of `AsyncClient` for judging collections and aligners."""

    async def evaluate(
        self,
        collection: str,
        *,
        through_search: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> EvaluationReport:
        """Judge retrieval over the collection's pairs. As `Client.evaluate`."""
        return await self._run(
            plan.evaluate(self._planner, collection, through_search=through_search, min_revision=min_revision),
            timeout_s,
        )

    async def measure_gap(
        self,
        collection: str,
        *,
        aligner: str = "",
        seed: int = 0,
        sample_count: int = 0,
        compare_distances: bool = False,
        page: bool = False,
        label_attribute: str = "",
        label_template: str = "",
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> GapReport:
        """Measure the gap between the modalities. As `Client.measure_gap`."""
        return await self._run(
            plan.measure_gap(
                self._planner,
                collection,
                aligner=aligner,
                seed=seed,
                sample_count=sample_count,
                compare_distances=compare_distances,
                page=page,
                label_attribute=label_attribute,
                label_template=label_template,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    async def verify_aligner(
        self,
        collection: str,
        aligner: str,
        *,
        slices: SliceOptions | None = None,
        gains: GainOptions | None = None,
        seed: int = 0,
        page: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> VerificationReport:
        """Judge an aligner on held-out pairs. As `Client.verify_aligner`."""
        return await self._run(
            plan.verify_aligner(
                self._planner,
                collection,
                aligner,
                slices=slices,
                gains=gains,
                seed=seed,
                page=page,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    async def compare_aligners(
        self,
        collection: str,
        *,
        methods: Sequence[str] = (),
        hubness: bool = False,
        seed: int = 0,
        page: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Comparison:
        """Fit methods to the collection's pairs and judge all alike. As `Client.compare_aligners`."""
        return await self._run(
            plan.compare_aligners(
                self._planner, collection, methods, hubness=hubness, seed=seed, page=page, min_revision=min_revision
            ),
            timeout_s,
        )
