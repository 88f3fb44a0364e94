"""The values of an attribute as texts, embedded: what images are classified by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Row
from isthmus.gateway.embedder import Embedder
from isthmus.gateway.ports import SearchPort
from isthmus.gateway.validation import text_content
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError

__all__ = ["PLACE", "LabelTexts", "Labeller"]

PLACE: Final = "{}"
"""Where a template takes the label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTexts:
    """Labels and what stands for them.

    Attributes:
        names: Different values of the attribute, sorted.
        rows: Their raw text embeddings, as many; none where they could not be made.
        problem: Why they could not; empty where they could.
    """

    names: Sequence[str]
    rows: Sequence[Row] = ()
    problem: str = ""


class Labeller:
    """Finds the values of an attribute and embeds a text for each.

    Args:
        searcher: Knows the values.
        embedder: Embeds.
    """

    def __init__(self, *, searcher: SearchPort, embedder: Embedder) -> None:
        self._searcher = searcher
        self._embedder = embedder

    async def label(self, collection: str, attribute: str, *, template: str, min_revision: int) -> LabelTexts:
        """Return the labels of a collection.

        A label that cannot be embedded is no failure of the call: whatever needs no vectors is measured all the same.

        Args:
            collection: Its name.
            attribute: Whose values are labels.
            template: The text for a label, with PLACE in its place.
            min_revision: At least this revision.

        Raises:
            InvalidArgumentError: INVALID_FIELD; no item has a value of the attribute.
            IsthmusError: of the searcher, LIMIT_EXCEEDED for too many values; of the encoder as a whole.
        """
        found, names = await self._searcher.list_values(collection, attribute, min_revision=min_revision)
        if not names:
            msg = "label_attribute: no item of the collection has a value of it"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "label_attribute"})
        encoder = await self._embedder.info(Modality.TEXT)
        if found.text_space != encoder.space:
            problem = "labels: the collection's texts are not of the mesh's text encoder, which label texts would be"
            return LabelTexts(names=names, problem=problem)
        try:
            contents = [text_content(template.replace(PLACE, name)) for name in names]
        except IsthmusError as error:
            return LabelTexts(names=names, problem=f"labels: {error.message}")
        embedded = await self._embedder.embed(Modality.TEXT, contents)
        rows = [row for row in embedded.rows if isinstance(row, Row)]
        if len(rows) < len(names):
            return LabelTexts(names=names, problem=f"labels: {len(names) - len(rows)} texts could not be embedded")
        return LabelTexts(names=names, rows=rows)
