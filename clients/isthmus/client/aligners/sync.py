"""Calls for aligners, for threads and scripts."""

from __future__ import annotations

import os
from collections.abc import Callable

import grpc

from isthmus.client.aligners import plan
from isthmus.client.aligners.fit import FitReader
from isthmus.client.aligners.folder import read_aligner_folder, write_aligner_folder
from isthmus.client.aligners.results import Aligner, FitProgress, PromotionHistory, ShadowReport
from isthmus.client.calls import Calls
from isthmus.client.channel import new_request_id
from isthmus.client.collections.results import Collection
from isthmus.client.inputs import FitOptions
from isthmus.client.status import from_rpc_error

__all__ = ["AlignerCalls"]


class AlignerCalls(Calls):
    """Calls of `Client` for aligners."""

    def list_aligners(self, *, timeout_s: float | None = None) -> tuple[Aligner, ...]:
        """List the aligners by name.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(plan.list_aligners(self._planner), timeout_s)

    def get_aligner(self, aligner: str, *, timeout_s: float | None = None) -> Aligner:
        """Get one aligner; its manifest holds its report on held-out pairs.

        Args:
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision.
            timeout_s: Deadline.

        Raises:
            NotFoundError: ALIGNER_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(plan.get_aligner(self._planner, aligner), timeout_s)

    def export_aligner(
        self, aligner: str, folder: str | os.PathLike[str], *, timeout_s: float | None = None
    ) -> Aligner:
        """Write an aligner's artefact to a folder, as `import_aligner` reads it.

        Args:
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision.
            folder: Made when absent; files of an earlier export are replaced.
            timeout_s: Deadline.

        Raises:
            NotFoundError: ALIGNER_NOT_FOUND.
            IsthmusError: the call failed otherwise.
            OSError: the folder cannot be written.
        """
        found, manifest, tensors = self._run(plan.export_aligner(self._planner, aligner), timeout_s)
        write_aligner_folder(folder, manifest, tensors)
        return found

    def fit_aligner(
        self,
        collection: str,
        *,
        aligner_id: str,
        method: str,
        options: FitOptions | None = None,
        seed: int = 0,
        min_revision: int | None = None,
        request_id: str | None = None,
        progress: Callable[[FitProgress], None] | None = None,
        timeout_s: float | None = None,
    ) -> Aligner:
        """Fit an aligner to a collection's pairs, calibrate it, and judge it on a fifth of them that it never sees.

        Args:
            collection: The collection that is learned from.
            aligner_id: Name of the new aligner.
            method: identity, shift, center, standardize, procrustes, cca, ridge, spectral or transport; or recalibrate,
                which keeps the maps of an aligner and fits its calibration and, when asked, its hubness correction.
            options: How it is to fit; None means the method's defaults.
            seed: Seed of every sample.
            min_revision: Fit on at least this revision; None means the newest this client wrote.
            request_id: Names this mutation.
            progress: Called with each step.
            timeout_s: Deadline.

        Raises:
            IsthmusError: the call failed.
        """
        request = plan.fit_request(
            self._planner,
            collection,
            aligner_id=aligner_id,
            method=method,
            options=options,
            seed=seed,
            min_revision=min_revision,
            request_id=request_id,
        )
        reader, call_id = FitReader(progress), new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            for message in self._stub.FitAligner(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)):
                reader.read(message)
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        return reader.result()

    def import_aligner(
        self, folder: str | os.PathLike[str], *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Aligner:
        """Keep an aligner that was trained elsewhere.

        Args:
            folder: Holds `manifest.json` and `aligner.safetensors`, as `isthmus train aligner` leaves them.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            IsthmusError: the call failed.
            OSError: one of the files cannot be read.
        """
        manifest, tensors = read_aligner_folder(folder)
        return self._run(plan.import_aligner(self._planner, manifest, tensors, request_id=request_id), timeout_s)

    def promote_aligner(
        self,
        collection: str,
        aligner: str,
        *,
        allow_unverified: bool = False,
        override_reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Make an aligner the active one of a collection. Nothing is encoded again.

        Args:
            collection: The collection.
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision.
            allow_unverified: Say that an aligner without a report on held-out pairs was judged elsewhere.
            override_reason: Why it is promoted although its report breaks the guard, or is about another aligner
                than is active; kept with the collection.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: GUARD_BROKEN with the figures, VERDICT_OUTDATED, UNVERIFIED_ALIGNER,
                ALIGNER_SPACES_MISMATCH.
            IsthmusError: the call failed.
        """
        return self._run(
            plan.promote_aligner(
                self._planner,
                collection,
                aligner,
                allow_unverified=allow_unverified,
                override_reason=override_reason,
                request_id=request_id,
            ),
            timeout_s,
        )

    def rollback_aligner(
        self, collection: str, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Collection:
        """Make the aligner before the active one active again, byte for byte; each call goes one further back.

        Args:
            collection: The collection.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NO_PREVIOUS_ALIGNER.
            IsthmusError: the call failed otherwise.
        """
        return self._run(plan.rollback_aligner(self._planner, collection, request_id=request_id), timeout_s)

    def list_promotions(self, collection: str, *, timeout_s: float | None = None) -> PromotionHistory:
        """List what was the active aligner of a collection, since when, and which promotion was forced and why.

        Args:
            collection: The collection.
            timeout_s: Deadline.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(plan.list_promotions(self._planner, collection), timeout_s)

    def set_shadow_aligner(
        self,
        collection: str,
        aligner: str | None,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Compare an aligner with the active one on a share of the real searches, or stop that. Changes no answer.

        Args:
            collection: The collection.
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision; None stops comparing.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH.
            IsthmusError: the call failed otherwise.
        """
        return self._run(plan.set_shadow_aligner(self._planner, collection, aligner, request_id=request_id), timeout_s)

    def shadow_report(
        self, collection: str, *, min_revision: int | None = None, timeout_s: float | None = None
    ) -> ShadowReport:
        """Say what a collection's shadow aligner would have changed, as far as the searcher that is asked has compared.

        Args:
            collection: The collection.
            min_revision: Answer from at least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(plan.shadow_report(self._planner, collection, min_revision=min_revision), timeout_s)
