"""The encoders of the mesh, beside the data: the very engines that answer calls, without the calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from isthmus.bulk.blocks import RawItem
from isthmus.core.modality import Modality
from isthmus.core.notes import word_count
from isthmus.encoders.engine import EncoderEngine
from isthmus.gateway.domain import Content
from isthmus.gateway.validation import image_content, text_content
from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.engine import image_encoder_engine
from isthmus.runtime.base.errors import FailedPreconditionError, IsthmusError
from isthmus.runtime.base.import_rows import ImportRow
from isthmus.runtime.base.names import check_item_id, check_pair_key
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.engine import text_encoder_engine

__all__ = ["Encoded", "EncoderChoice", "Encoders"]

_QUEUE_COUNT: Final = 1_000_000
"""What waits here is a few blocks, which the job bounds; the engine's own bound is for callers it does not know."""
_CALL_COUNT: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderChoice:
    """Which encoders; everything else they read from the environment, as those of the mesh do."""

    image_encoder: str | None = None
    """A folder or a hub id; None means the embedded one."""
    text_encoder: str | None = None
    """As `image_encoder`."""
    cache_dir: Path | None = None
    """Where converted weights are kept; None means `~/.cache/isthmus`."""
    threads_count: int | None = None
    """Threads of one forward pass; None leaves it to torch."""


@dataclass(slots=True)
class Encoded:
    """What became of items.

    Attributes:
        rows: Encoded items, in their order.
        refused: Items that were not, by position.
        truncated: Texts that were cut to the model's context.
    """

    rows: list[ImportRow] = field(default_factory=list)
    refused: dict[int, IsthmusError] = field(default_factory=dict)
    truncated: int = 0


class Encoders:
    """Both encoders. On one event loop.

    Args:
        choice: Which ones.
        spaces: The raw space that each modality must have: the collection's.
    """

    def __init__(self, choice: EncoderChoice, spaces: dict[Modality, str]) -> None:
        shared: dict[str, Any] = {
            "cache_dir": choice.cache_dir,
            "max_queue_count": _QUEUE_COUNT,
            "torch_threads_count": choice.threads_count,
        }
        self._spaces = spaces
        self._engines: dict[Modality, EncoderEngine[Any, Any]] = {
            Modality.IMAGE: image_encoder_engine(ImageEncoderConfig.load(encoder=choice.image_encoder, **shared)),
            Modality.TEXT: text_encoder_engine(TextEncoderConfig.load(encoder=choice.text_encoder, **shared)),
        }

    async def start(self) -> None:
        """Load those that the collection has a space for.

        Raises:
            FailedPreconditionError: SPACE_MISMATCH; one is not the collection's.
            ValueError: a model cannot be loaded.
        """
        for modality, engine in self._engines.items():
            wanted = self._spaces.get(modality, "")
            if not wanted:
                continue
            await engine.start()
            if engine.info.space != wanted:
                msg = f"the {modality} encoder here is not the one of the collection"
                metadata = {"modality": modality.value, "space": engine.info.space, "expected": wanted}
                raise FailedPreconditionError(msg, reason="SPACE_MISMATCH", metadata=metadata)

    async def close(self) -> None:
        """Finish what is queued and end the threads."""
        for engine in self._engines.values():
            await engine.close()

    async def encode(self, items: Sequence[RawItem]) -> Encoded:
        """Encode items of both modalities; a bad one never harms its neighbours."""
        done = Encoded()
        contents: dict[int, Content] = {}
        for position, item in enumerate(items):
            try:
                contents[position] = self._checked(item)
            except IsthmusError as error:
                done.refused[position] = error
        rows: dict[int, bytes] = {}
        for modality in Modality:
            positions = [place for place, content in contents.items() if content.modality is modality]
            for start in range(0, len(positions), _CALL_COUNT):
                await self._encode(modality, positions[start : start + _CALL_COUNT], contents, rows, done)
        done.rows = [_row(items[position], contents[position], rows[position]) for position in sorted(rows)]
        return done

    def _checked(self, item: RawItem) -> Content:
        check_item_id(item.id)
        check_pair_key(item.pair_key)
        if not self._spaces.get(item.modality):
            msg = f"the collection takes no {item.modality} items"
            raise FailedPreconditionError(
                msg, reason="MODALITY_UNSUPPORTED", metadata={"modality": item.modality.value}
            )
        return text_content(item.content) if isinstance(item.content, str) else image_content(item.content)

    async def _encode(
        self,
        modality: Modality,
        positions: Sequence[int],
        contents: dict[int, Content],
        rows: dict[int, bytes],
        done: Encoded,
    ) -> None:
        given = [contents[position].data for position in positions]
        inputs = [data.decode() for data in given] if modality is Modality.TEXT else given
        result = await self._engines[modality].encode(inputs)
        done.truncated += len(result.truncated)
        done.refused |= {positions[index]: error for index, error in result.errors.items()}
        halves = result.embeddings.astype("<f2")  # canonical already: not a bit moves
        rows.update((positions[index], halves[row].tobytes()) for row, index in enumerate(result.indexes))


def _row(item: RawItem, content: Content, embedding: bytes) -> ImportRow:
    return ImportRow(
        id=item.id,
        modality=item.modality,
        embedding=embedding,
        attributes=item.attributes,
        pair_key=item.pair_key,
        content_digest=content.digest,
        content_words=word_count(item.content) if isinstance(item.content, str) else 0,
    )
