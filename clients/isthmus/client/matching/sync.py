"""Calls that ask whether a picture belongs to a text, for threads and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import grpc

from isthmus.client.calls import Calls
from isthmus.client.channel import new_request_id
from isthmus.client.inputs import Truncation
from isthmus.client.matching import decode, plan
from isthmus.client.matching.inputs import MatchTerms, Pair
from isthmus.client.matching.results import AuditedPair, AuditSummary, MatchResult
from isthmus.client.status import from_rpc_error

__all__ = ["MatchingCalls"]


class MatchingCalls(Calls):
    """Calls of `Client` about pairs of an image and a text."""

    def match_pairs(
        self,
        collection: str,
        pairs: Iterable[Pair],
        *,
        terms: MatchTerms | None = None,
        truncation: Truncation = "flag",
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> MatchResult:
        """Judge pairs: how probable each is, and whether to accept it. A bad one harms no other.

        Args:
            collection: Whose encoders, aligner and calibration judge.
            pairs: The pairs; any number, sent 256 at a time.
            terms: The false-accept rate and what it is a share of; None takes the defaults.
            truncation: Cut a text longer than the model's context and say so, or refuse it.
            min_revision: Judge with at least this revision; None means the newest this client wrote.
            timeout_s: Deadline of each message.

        Raises:
            FailedPreconditionError: NOT_CALIBRATED, NO_ALIGNER, NOT_ENOUGH_PAIRS.
            IsthmusError: the call failed otherwise.
            OSError: a path cannot be read.
            ValueError: an array is no image.
        """
        return self._run(
            plan.match_pairs(
                self._planner,
                collection,
                pairs,
                terms=terms or MatchTerms(),
                truncation=truncation,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    def audit_pairs(
        self,
        collection: str,
        *,
        top: int = 100,
        terms: MatchTerms | None = None,
        seed: int = 0,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[AuditSummary | AuditedPair]:
        """Yield the summary of all pairs of a collection, then the pairs that belong together least, worst first.

        Args:
            collection: The collection.
            top: Pairs to list, at most 2,000,000.
            terms: Decide about each pair on these terms, or refuse; None decides on the defaults where it can.
            seed: Seed of what is sampled.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline of the whole.

        Raises:
            FailedPreconditionError: NOT_ENOUGH_PAIRS, NO_ALIGNER, NOT_CALIBRATED.
            IsthmusError: the call failed otherwise.
        """
        request = plan.audit_request(
            self._planner, collection, top=top, terms=terms, seed=seed, min_revision=min_revision
        )
        call_id = new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        messages = self._stub.AuditPairs(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id))
        try:
            for message in messages:
                yield from decode.audit_part(message)
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        finally:
            messages.cancel()
