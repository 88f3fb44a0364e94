"""Calls for judging collections and aligners, for threads and scripts."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.client.calls import Calls
from isthmus.client.inputs import GainOptions, SliceOptions
from isthmus.client.judging import plan
from isthmus.client.judging.results import Comparison, EvaluationReport, GapReport, VerificationReport

__all__ = ["JudgingCalls"]


class JudgingCalls(Calls):
    """Calls of `Client` for judging collections and aligners."""

    def evaluate(
        self,
        collection: str,
        *,
        through_search: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> EvaluationReport:
        """Judge retrieval over the collection's pairs.

        Args:
            collection: The collection.
            through_search: Send every query through search in place of computing similarities exactly.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(
            plan.evaluate(self._planner, collection, through_search=through_search, min_revision=min_revision),
            timeout_s,
        )

    def measure_gap(
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
        """Measure the gap between the modalities on the collection's pairs.

        Args:
            collection: The collection.
            aligner: Measure in this aligner's space; empty measures raw embeddings.
            seed: Seed of every sample, split and bootstrap.
            sample_count: Pairs that the costlier measures look at, 16 to 5000; 0 means 2000.
            compare_distances: Compare four dissimilarities too, which takes longer than all the rest.
            page: Also ask for a page with pictures, for people, which takes some seconds more.
            label_attribute: An attribute that labels the images, with 2 to 256 different values: clusters are judged by
                it, and images are classified by the nearest label text. Empty for neither.
            label_template: The text that stands for a label, with `{}` in its place; empty means the label alone.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NOT_ENOUGH_PAIRS, ALIGNER_SPACES_MISMATCH.
            IsthmusError: the call failed otherwise.
        """
        return self._run(
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

    def verify_aligner(
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
        """Judge an aligner on the pairs that a fit to this collection holds out, against serving without it.

        Args:
            collection: The collection.
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision.
            slices: Parts of the queries to judge by themselves; None for none.
            gains: What answers are worth, judged over every item of the collection; None leaves that out.
            seed: Seed of the bootstrap.
            page: Also ask for a page with pictures, for people, which takes some seconds more.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NOT_ENOUGH_PAIRS, PAIRS_LEAK, ALIGNER_SPACES_MISMATCH.
            InvalidArgumentError: INVALID_FIELD; an attribute without a value or with too many, a row of gains that is
                none (the message holds its number).
            IsthmusError: the call failed otherwise.
        """
        return self._run(
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

    def compare_aligners(
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
        """Fit methods to the collection's pairs and judge all on the same held-out ones; nothing is kept.

        Args:
            collection: The collection.
            methods: Which ones; none means all that can be fitted.
            hubness: Correct hubness on top of every method.
            seed: Seed of everything random.
            page: Also ask for a page with pictures, for people, which takes some seconds more.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NOT_ENOUGH_PAIRS, PAIRS_LEAK.
            IsthmusError: the call failed otherwise.
        """
        return self._run(
            plan.compare_aligners(
                self._planner, collection, methods, hubness=hubness, seed=seed, page=page, min_revision=min_revision
            ),
            timeout_s,
        )
