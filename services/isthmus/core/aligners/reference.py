"""What an aligner remembers of its fit, so that drift can be judged later: the clouds it saw, and how a probe did.

Tensors, for each modality of raw dimension d, with r directions:

    drift.{modality}.mean        (d,)      float32
    drift.{modality}.directions  (r, d)    float16
    drift.{modality}.covariance  (r, r)    float32
    drift.{modality}.figures     (5,)      float32: pair keys, mean_noise, spread, rest, covariance_noise
    drift.probe                  (4,)      float32: gallery, pair keys, recall@10 of image and of text queries

They change nothing that an aligner does. An artefact from before they were kept has none, and its drift is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import ArtefactError
from isthmus.core.gap.drift import CloudStatistics
from isthmus.core.modality import Modality

if TYPE_CHECKING:
    from isthmus.core.aligners.artefact import Tensor, Tensors

__all__ = ["FitReference", "ProbeRecall", "without_reference"]

_PREFIX: Final = "drift."
_PROBE: Final = f"{_PREFIX}probe"
_FIGURES: Final = ("key_count", "mean_noise", "spread", "rest", "covariance_noise")
_PARTS: Final = ("mean", "directions", "covariance", "figures")
_RANKS: Final = {"mean": 1, "directions": 2, "covariance": 2, "figures": 1}


@dataclass(frozen=True, kw_only=True)
class ProbeRecall:
    """How often held-out pairs find each other across the modalities, in galleries of one size."""

    gallery_count: int
    """Pair keys a gallery; figures of another size are not comparable."""
    pair_count: int
    """Pair keys in all galleries."""
    image_query: float
    """Recall@10 of images asking for their text, in [0, 1]."""
    text_query: float
    """Recall@10 of texts asking for their image, in [0, 1]."""

    @property
    def recall(self) -> float:
        """The mean of both directions."""
        return (self.image_query + self.text_query) / 2.0


@dataclass(frozen=True, kw_only=True)
class FitReference:
    """The state of the world at the fit."""

    clouds: Mapping[Modality, CloudStatistics]
    """Raw vectors that it was fitted to."""
    probe: ProbeRecall | None = None
    """On pairs that it was not fitted to; None when they were too few."""

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """Return the tensors by name."""
        tensors: dict[str, NDArray[Any]] = {}
        for modality, cloud in self.clouds.items():
            base = f"{_PREFIX}{modality}"
            tensors[f"{base}.mean"] = cloud.mean.astype(np.float32)
            tensors[f"{base}.directions"] = cloud.directions.astype(np.float16)
            tensors[f"{base}.covariance"] = cloud.covariance.astype(np.float32)
            tensors[f"{base}.figures"] = np.array([getattr(cloud, name) for name in _FIGURES], dtype=np.float32)
        if (probe := self.probe) is not None:
            figures = (probe.gallery_count, probe.pair_count, probe.image_query, probe.text_query)
            tensors[_PROBE] = np.array(figures, dtype=np.float32)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> FitReference | None:
        """Read it from the tensors of an artefact; None when they hold none.

        Names that a later version adds under the prefix are passed over.

        Raises:
            ArtefactError: A part is missing, or their shapes do not fit together.
        """
        if not any(name.startswith(_PREFIX) for name in tensors):
            return None
        clouds = {modality: _cloud(tensors, modality) for modality in Modality}
        probe = tensors.get(_PROBE)
        if probe is None:
            return cls(clouds=clouds)
        if probe.shape != (4,):
            msg = f"tensors: {_PROBE} must hold 4 numbers"
            raise ArtefactError(msg)
        gallery, pairs, image, text = (float(value) for value in probe)
        return cls(
            clouds=clouds,
            probe=ProbeRecall(gallery_count=int(gallery), pair_count=int(pairs), image_query=image, text_query=text),
        )


def without_reference(tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors that the aligner itself is made of."""
    return {name: value for name, value in tensors.items() if not name.startswith(_PREFIX)}


def _cloud(tensors: Tensors, modality: Modality) -> CloudStatistics:
    found = {part: tensors.get(f"{_PREFIX}{modality}.{part}") for part in _PARTS}
    parts = {part: value.astype(np.float32) for part, value in found.items() if value is not None}
    if parts.keys() != set(_PARTS) or any(value.ndim != _RANKS[part] for part, value in parts.items()):
        msg = f"tensors: needs {', '.join(f'{_PREFIX}{modality}.{part}' for part in _PARTS)}, or none of them"
        raise ArtefactError(msg)
    dimension, rank = len(parts["mean"]), len(parts["directions"])
    if (
        parts["directions"].shape[1] != dimension
        or parts["covariance"].shape != (rank, rank)
        or len(parts["figures"]) != len(_FIGURES)
    ):
        msg = f"tensors: the shapes of {_PREFIX}{modality} do not fit together"
        raise ArtefactError(msg)
    figures = dict(zip(_FIGURES, (float(value) for value in parts["figures"]), strict=True))
    return CloudStatistics(
        key_count=int(figures["key_count"]),
        mean=parts["mean"],
        mean_noise=figures["mean_noise"],
        spread=figures["spread"],
        directions=parts["directions"],
        covariance=parts["covariance"],
        rest=figures["rest"],
        covariance_noise=figures["covariance_noise"],
    )
