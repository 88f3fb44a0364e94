"""Calls for embedding without storing, for threads and scripts."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.client.calls import Calls
from isthmus.client.embed import plan
from isthmus.client.embed.results import EmbedResult
from isthmus.client.inputs import ImageLike, Input, Truncation

__all__ = ["EmbedCalls"]


class EmbedCalls(Calls):
    """Calls of `Client` for embedding without storing."""

    def embed(
        self,
        *,
        images: Iterable[ImageLike] = (),
        texts: Iterable[str] = (),
        inputs: Iterable[Input] = (),
        truncation: Truncation = "flag",
        aligner: str = "",
        timeout_s: float | None = None,
    ) -> EmbedResult:
        """Embed images and texts. A bad input is listed in `errors` and harms no other.

        Args:
            images: Images.
            texts: Texts.
            inputs: Both, in any order; numbered after `images` and `texts`.
            truncation: Cut a text longer than the model's context and say so, or refuse it.
            aligner: Return embeddings in this aligner's space; empty means raw.
            timeout_s: Deadline of each message of up to 256 inputs.

        Raises:
            IsthmusError: the call as a whole failed.
            OSError: a path cannot be read.
            ValueError: an array is no image.
        """
        return self._run(
            plan.embed(
                self._planner, images=images, texts=texts, inputs=inputs, truncation=truncation, aligner=aligner
            ),
            timeout_s,
        )
