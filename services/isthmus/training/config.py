"""What a training takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isthmus.encoders import EMBEDDED

__all__ = ["HeadsConfig", "TrainAlignerConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsConfig:
    """Shape of the heads and how they are trained; the defaults were tuned on held-out train photos of Flickr8k.

    Raises:
        ValueError: A number is out of its bounds.
    """

    dimension: int = 256
    """Length of an aligned vector."""
    hidden: int = 480
    """Width of each head's hidden layer; 0 leaves the linear map alone."""
    epochs: int = 24
    """Passes over the captions."""
    batch_count: int = 512
    """Pairs in a batch; every other pair of the batch is a negative."""
    learning_rate: float = 1e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 0.05
    """AdamW's, on every parameter."""
    temperature: float = 0.05
    """Of the contrastive loss; fixed."""
    image_dropout: float = 0.7
    """Share of an image embedding's components that are dropped: the best guard against learning photos by heart."""
    text_dropout: float = 0.0
    """The same for texts."""
    hidden_dropout: float = 0.3
    """The same for hidden units."""
    noise: float = 0.3
    """Standard deviation of noise on standardised embeddings."""
    average_decay: float = 0.99
    """Of the running average of the weights, which is what is judged and kept."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        least_one = {"dimension": self.dimension, "epochs": self.epochs, "batch_count": self.batch_count}
        for name, value in least_one.items():
            if value < 1:
                msg = f"{name} must be at least 1"
                raise ValueError(msg)
        for name in ("image_dropout", "text_dropout", "hidden_dropout", "average_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                msg = f"{name} must be in [0, 1)"
                raise ValueError(msg)
        if min(self.hidden, self.weight_decay, self.noise) < 0 or min(self.learning_rate, self.temperature) <= 0:
            msg = "hidden, weight_decay and noise must not be negative; learning_rate and temperature must be above 0"
            raise ValueError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values for a manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainAlignerConfig:
    """One run of `isthmus train aligner`.

    Raises:
        ValueError: `held_out_share` is out of its bounds.
    """

    data: Sequence[Path]
    """Parquet files, or folders of them, with a column `image` and one of `captions`, `caption`, `text`."""
    aligner_id: str
    """Name of the aligner, `[a-z0-9][a-z0-9_-]{0,62}`."""
    image_encoder: str = EMBEDDED
    """`embedded`, a local folder or a hub id."""
    text_encoder: str = EMBEDDED
    """`embedded`, a local folder or a hub id."""
    cache_dir: Path | None = None
    """Folder for converted weights; unset means the encoders' own default."""
    seed: int = 0
    """Of everything random."""
    held_out_share: float = 0.1
    """Share of pair keys, chosen by their hash, that the heads never see: they choose the epoch, fit the calibration
    and give the report."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    """Shape and training of the heads."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not 0.0 < self.held_out_share <= 0.5:  # noqa: PLR2004 - more than half would be training on the rest
            msg = "held_out_share must be above 0 and at most 0.5"
            raise ValueError(msg)
