"""Text towers: tokenize, pad to the batch's longest, pool."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.core.canonical import canonical
from isthmus.encoders.sentence import SentenceLayout, pool
from isthmus.encoders.spec import EncoderInfo
from isthmus.encoders.tower import Prepared
from isthmus.runtime.base.errors import InvalidArgumentError

__all__ = ["TextTower", "Tokenization", "Tokenizer", "text_features"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenization:
    """How texts become the model's inputs."""

    context_tokens: int
    """Longest text in tokens, special tokens included."""
    pad_to_context: bool = False
    """Always pad to the context. SigLIP was trained so, and reads its embedding from the last position."""
    layout: SentenceLayout = field(default_factory=SentenceLayout)
    """What a sentence-transformers folder adds."""


class Tokenizer:
    """One text to token ids, cut to the context. Thread-safe.

    Args:
        tokenizer: A tokenizer of transformers.
        how: Context and padding.

    The tokenizer's own `__call__` sets padding and truncation on shared state at every call; here both are fixed once
    on its Rust core, which is then only read. A tokenizer without one is used under a lock.
    """

    def __init__(self, tokenizer: Any, how: Tokenization) -> None:
        self._how = how
        self._slow = tokenizer
        self._lock = threading.Lock()
        self._inputs = tuple(name for name in tokenizer.model_input_names if name != "attention_mask")
        self._masked = "attention_mask" in tokenizer.model_input_names
        self._pad_left = tokenizer.padding_side == "left"
        self._padding = {
            "input_ids": tokenizer.pad_token_id or 0,
            "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0),
        }
        self._fast = getattr(tokenizer, "backend_tokenizer", None)
        if self._fast is not None:
            self._fast.no_padding()
            self._fast.enable_truncation(how.context_tokens, direction=tokenizer.truncation_side)

    def prepare(self, text: str) -> Prepared:
        """Tokenize one text.

        Raises:
            InvalidArgumentError: The text is empty, or is not valid Unicode.
        """
        if not text.strip():
            msg = "text: is empty"
            raise InvalidArgumentError(msg, reason="EMPTY_TEXT", metadata={"field": "text"})
        layout = self._how.layout
        text = layout.prompt + (text.lower() if layout.lower_case else text)
        try:
            columns, truncated = self._encode(text)
        except (UnicodeError, TypeError) as error:
            msg = "text: is not valid Unicode"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "text"}) from error
        return Prepared({name: torch.tensor(columns[name]) for name in self._inputs}, truncated=truncated)

    def collate(self, batch: Sequence[Prepared]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Pad a batch to its longest text, or to the context.

        Returns:
            The model's inputs, each (n, tokens) int64, and the mask, (n, tokens) int64, 1 at tokens.
        """
        lengths = [len(item.tensors["input_ids"]) for item in batch]
        width = self._how.context_tokens if self._how.pad_to_context else max(lengths)
        inputs = {name: torch.full((len(batch), width), self._padding.get(name, 0)) for name in self._inputs}
        mask = torch.zeros((len(batch), width), dtype=torch.int64)
        for row, (item, length) in enumerate(zip(batch, lengths, strict=True)):
            columns = slice(width - length, width) if self._pad_left else slice(0, length)
            mask[row, columns] = 1
            for name in self._inputs:
                inputs[name][row, columns] = item.tensors[name]
        if self._masked:
            inputs["attention_mask"] = mask
        return inputs, mask

    def _encode(self, text: str) -> tuple[dict[str, list[int]], bool]:
        """Return the columns of the model's inputs, and whether the text was cut."""
        if self._fast is not None:
            encoding = self._fast.encode(text)
            return {"input_ids": encoding.ids, "token_type_ids": encoding.type_ids}, bool(encoding.overflowing)
        with self._lock:
            whole = self._slow(text, truncation=False, verbose=False)
            if len(whole["input_ids"]) <= self._how.context_tokens:
                return dict(whole), False
            return dict(self._slow(text, truncation=True, max_length=self._how.context_tokens)), True


def text_features(model: Any, inputs: Mapping[str, torch.Tensor], mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Run the model on a padded batch and make one vector of each text.

    Args:
        model: A text model, or a dual encoder.
        inputs: (n, tokens) each.
        mask: (n, tokens), 1 at tokens.
        pooling: projection (the text half of a dual encoder), or a mode of `sentence.pool`.

    Returns:
        (n, d), where and in what type the model computed it.
    """
    placed = {name: value.to(model.device) for name, value in inputs.items()}
    with torch.inference_mode():
        if pooling == "projection":
            return model.get_text_features(**placed).pooler_output  # type: ignore[no-any-return]
        return pool(model(**placed).last_hidden_state, mask.to(model.device), pooling)


class TextTower:
    """A text encoder, or the text half of a dual encoder.

    Args:
        model: The model, on its device, in evaluation mode.
        tokenizer: Its tokenizer.
        pooling: cls, lasttoken, max or mean over tokens, or `projection` for the text half of a dual encoder.
        info: Identity and shape.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, *, pooling: str, info: EncoderInfo) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._info = info

    @property
    def info(self) -> EncoderInfo:
        """Identity and shape."""
        return self._info

    def prepare(self, item: str) -> Prepared:
        """Tokenize one text; `truncated` says whether it was cut to the context. Thread-safe.

        Raises:
            InvalidArgumentError: The text is empty or white space, or is not valid Unicode.
        """
        return self._tokenizer.prepare(item)

    def forward(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Encode a batch; see `Tower.forward`."""
        return canonical(self.forward_raw(batch))

    def forward_raw(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Return (n, d) float32 as the model gives them: neither scaled nor rounded."""
        inputs, mask = self._tokenizer.collate(batch)
        return text_features(self._model, inputs, mask, self._pooling).to("cpu", torch.float32).numpy()

    def warm(self) -> None:
        """Run a dummy batch of two lengths."""
        self.forward([self.prepare("a"), self.prepare("a photograph of a harbour in the morning")])
