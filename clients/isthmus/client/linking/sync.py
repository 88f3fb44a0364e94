"""The call that proposes links, for threads and scripts."""

from __future__ import annotations

import grpc

from isthmus.client.calls import Calls
from isthmus.client.channel import new_request_id
from isthmus.client.linking.plan import LinkMode, LinkReader, link_request
from isthmus.client.linking.results import LinkProposal
from isthmus.client.status import from_rpc_error

__all__ = ["LinkCalls"]


class LinkCalls(Calls):
    """The call of `Client` that proposes links."""

    def propose_links(
        self,
        collection: str,
        *,
        mode: LinkMode = "one_to_one",
        false_accept_rate: float | None = None,
        expected_share: float | None = None,
        max_count: int = 0,
        aligner: str = "",
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> LinkProposal:
        """Propose links between the images and texts that have no pair key; nothing is stored.

        Args:
            collection: The collection.
            mode: `one_to_one` uses no item twice; `best_image` links each text to its best image, whatever else that
                image has; `best_text` each image to its best text.
            false_accept_rate: Leave an item without a link rather than link more than this share of those that have no
                match, above 0 and below 1; None proposes a link for every item that can have one.
            expected_share: Share of the items that have a match, as far as you know, above 0 and below 1: what the
                probabilities add up to. None means 0.9.
            max_count: How many links, the most probable ones; 0 means all.
            aligner: Compare with this one; empty means the active one.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NOTHING_TO_LINK; NO_ALIGNER, ALIGNER_SPACES_MISMATCH, NOT_CALIBRATED;
                NOT_ENOUGH_PAIRS, when the aligner was calibrated on too few pairs for that rate.
            IsthmusError: the call failed otherwise.
            ValueError: the mode is none.
        """
        request = link_request(
            self._planner,
            collection,
            mode=mode,
            false_accept_rate=false_accept_rate,
            expected_share=expected_share,
            max_count=max_count,
            aligner=aligner,
            min_revision=min_revision,
        )
        reader, call_id = LinkReader(), new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            for message in self._stub.ProposeLinks(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)):
                reader.read(message)
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        return reader.result()
