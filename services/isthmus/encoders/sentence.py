"""The sentence-transformers folder layout: how token vectors become one, and how long a text may be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from isthmus.encoders.spec import EncoderLoadError

__all__ = ["SentenceLayout", "pool", "read_layout"]

_MODE_OF_FLAG = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean",  # differs from the mean by a factor a text, gone after normalising
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_MODES = ("cls", "lasttoken", "max", "mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceLayout:
    """What a sentence-transformers folder says beside the transformer itself."""

    pooling: str = "mean"
    """cls, lasttoken, max or mean."""
    max_tokens: int | None = None
    """Longest text in tokens, special tokens included; None leaves it to the tokenizer and the model."""
    lower_case: bool = False
    """Texts are lower-cased before the tokenizer."""
    prompt: str = ""
    """Put before every text."""
    subfolders: tuple[str, ...] = ()
    """Module folders whose `config.json` shapes the embedding."""


def read_layout(folder: Path) -> SentenceLayout:
    """Read `modules.json` and what it names; a folder without it is a plain transformer with mean pooling.

    Raises:
        EncoderLoadError: A module or pooling mode that is not supported: leaving it out would give other embeddings.
    """
    modules = _read(folder / "modules.json")
    if not modules:
        return SentenceLayout()
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    unknown = [kind for kind in kinds[1:] if kind not in {"Pooling", "Normalize"}]
    if kinds[0] != "Transformer" or modules[0].get("path") or kinds[1:2] != ["Pooling"] or unknown:
        msg = (
            f"{folder}: modules {', '.join(kinds)} are not supported; "
            "need Transformer (in the folder itself), Pooling and, optionally, Normalize"
        )
        raise EncoderLoadError(msg)
    pooling = str(modules[1]["path"])
    sentence = _read(folder / "sentence_bert_config.json") or {}
    return SentenceLayout(
        pooling=_pooling_mode(folder, _read(folder / Path(pooling).name / "config.json") or {}),
        max_tokens=sentence.get("max_seq_length"),
        lower_case=bool(sentence.get("do_lower_case", False)),
        prompt=_default_prompt(_read(folder / "config_sentence_transformers.json") or {}),
        subfolders=(Path(pooling).name,),
    )


def pool(hidden: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    """Make one vector of each text's token vectors.

    Args:
        hidden: (n, tokens, d), the last layer.
        mask: (n, tokens), 1 at tokens and 0 at padding, on either side.
        mode: cls, lasttoken, max or mean.

    Returns:
        (n, d); mean and max over tokens that are not padding, in float32.
    """
    if mode in {"cls", "lasttoken"}:
        positions = (
            mask.long() if mode == "cls" else mask.long() * torch.arange(1, mask.shape[1] + 1, device=mask.device)
        )
        return hidden[torch.arange(len(hidden), device=hidden.device), positions.argmax(dim=1)]
    weights = mask.unsqueeze(-1).to(torch.float32)
    tokens = hidden.to(torch.float32)
    if mode == "max":
        return tokens.masked_fill(weights == 0, -torch.inf).amax(dim=1)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


def _read(path: Path) -> Any:
    """Parse a JSON file, or return None when it is absent."""
    return json.loads(path.read_text()) if path.is_file() else None


def _pooling_mode(folder: Path, config: dict[str, Any]) -> str:
    """Read the old flags or the new single key of a Pooling module."""
    named = config.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or [])
    modes = modes or [mode for flag, mode in _MODE_OF_FLAG.items() if config.get(flag)] or ["mean"]
    if len(modes) != 1 or modes[0] not in _MODES or config.get("include_prompt") is False:
        msg = f"{folder}: pooling {'+'.join(map(str, modes))} is not supported, need one of {', '.join(_MODES)}"
        raise EncoderLoadError(msg)
    return str(modes[0])


def _default_prompt(config: dict[str, Any]) -> str:
    """Return the prompt that sentence-transformers would put before every text."""
    name = config.get("default_prompt_name")
    return str(config.get("prompts", {}).get(name, "")) if name else ""
