"""Watch: what a sample of a collection's pairs says of the aligner that is active, and when that asks for a re-fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner, FitReference, ProbeRecall
from isthmus.core.canonical import canonical
from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.gap import PAIRS_MIN, CloudDrift, Moved, cloud_drift
from isthmus.core.modality import Modality
from isthmus.core.probe import probe_recall
from isthmus.core.raw_pairs import RawPairs
from isthmus.core.reference import first_of_pairs

__all__ = ["Breach", "WatchFigures", "WatchLimits", "find_breaches", "watch_pairs"]

_SURE: Final = 3.0
"""Standard errors that a fall of the probe's recall must be above: it is asked again and again."""


@dataclass(frozen=True, kw_only=True)
class WatchFigures:
    """One look at a collection. What is unknown is None or absent, never 0."""

    pair_count: int
    """Pair keys looked at."""
    image_count: int
    text_count: int
    raw_gap: float | None = None
    """Distance of the two centroids, raw; None for two raw spaces."""
    aligned_gap: float | None = None
    """The same in the aligner's space; None without one."""
    drift: Mapping[Modality, CloudDrift] = field(default_factory=dict)
    """Since the fit; empty when the aligner remembers none."""
    probe: ProbeRecall | None = None
    """Of held-out pairs now; None when they fill no gallery."""
    fit_probe: ProbeRecall | None = None
    """The same at the fit."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: `pairs`, `gap`, `drift`, `probe`, `fit_probe`; null and absent are unknown."""
        return {
            "pairs": self.pair_count,
            "images": self.image_count,
            "texts": self.text_count,
            "gap": {"raw": self.raw_gap, "aligned": self.aligned_gap},
            "drift": {
                modality.value: {"pairs": one.key_count, "mean": _moved(one.mean), "spectrum": _moved(one.spectrum)}
                for modality, one in self.drift.items()
            },
            "probe": _probe_document(self.probe),
            "fit_probe": _probe_document(self.fit_probe),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """

        def moved(entry: Mapping[str, float]) -> Moved:
            return Moved(distance=entry["distance"], noise_floor=entry["noise_floor"], share=entry["share"])

        def probe(entry: Mapping[str, Any] | None) -> ProbeRecall | None:
            if entry is None:
                return None
            return ProbeRecall(
                gallery_count=entry["gallery"],
                pair_count=entry["pairs"],
                image_query=entry["image_query"],
                text_query=entry["text_query"],
            )

        return cls(
            pair_count=document["pairs"],
            image_count=document["images"],
            text_count=document["texts"],
            raw_gap=document["gap"]["raw"],
            aligned_gap=document["gap"]["aligned"],
            drift={
                Modality(name): CloudDrift(
                    key_count=one["pairs"], mean=moved(one["mean"]), spectrum=moved(one["spectrum"])
                )
                for name, one in document["drift"].items()
            },
            probe=probe(document["probe"]),
            fit_probe=probe(document["fit_probe"]),
        )

    @property
    def recall_drop(self) -> float | None:
        """How far the probe's recall has fallen since the fit; negative when it rose."""
        if self.probe is None or self.fit_probe is None:
            return None
        return self.fit_probe.recall - self.probe.recall


@dataclass(frozen=True, kw_only=True)
class WatchLimits:
    """From where a re-fit is proposed: what has moved must be large, and it must be no noise.

    Defaults as measured with the shipped encoders on Flickr8k's dev split, fit on 128 to 750 photos (docs/adr/0024):
    against another sample of the same photos the mean never moved beyond .104 of the spread nor 1.43 noise floors, the
    spectrum never beyond 1.27 floors; COCO photos move the mean by .28 and 2.9, blurred photos by .55 and 7.5.
    """

    mean_share: float = 0.15
    """Of a modality's spread that its mean has moved."""
    mean_floors: float = 2.0
    """Noise floors that the same distance must be."""
    spectrum_share: float = 0.4
    """Of the covariance's norm that it has changed."""
    spectrum_floors: float = 1.5
    """Noise floors that the same distance must be."""
    recall_drop: float = 0.05
    """That the probe's recall@10 has fallen, a difference of two shares in [0, 1]; and by three standard errors."""


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A limit that is passed."""

    cause: str
    """mean, spectrum or probe_recall."""
    subject: str
    """Which modality has moved furthest; empty for the probe."""
    figure: float
    limit: float


def watch_pairs(pairs: RawPairs, aligner: Aligner | None) -> WatchFigures:
    """Look at a sample of pairs.

    The probe is asked with the pairs that a fit to this collection holds out. An aligner that was fitted elsewhere, on
    another split, may have seen some of them.

    Args:
        pairs: Raw embeddings; items without a counterpart are left out.
        aligner: The active one, if any.

    Raises:
        NotEnoughItemsError: There are fewer than 16 pairs.
    """
    paired = pairs.with_keys(set(pairs.paired_keys))
    if (count := len(paired.paired_keys)) < PAIRS_MIN:
        msg = f"pairs: {count} pair keys have items of both modalities, at least {PAIRS_MIN}; add pairs"
        raise NotEnoughItemsError(msg)
    rows, keys = first_of_pairs(paired)
    reference = None if aligner is None else aligner.reference
    one_space = pairs.image_space == pairs.text_space
    return WatchFigures(
        pair_count=len(keys),
        image_count=len(paired.images),
        text_count=len(paired.texts),
        raw_gap=_gap(rows) if one_space else None,
        aligned_gap=None if aligner is None else _gap({m: aligner.align(found, m) for m, found in rows.items()}),
        drift={} if reference is None else _drift(reference, paired),
        probe=_probe(aligner, rows, keys, paired.held_out_keys, reference)
        if aligner is not None or one_space
        else None,
        fit_probe=None if reference is None else reference.probe,
    )


def find_breaches(found: WatchFigures, limits: WatchLimits) -> tuple[Breach, ...]:
    """Return the limits that are passed, one a cause, of the modality that has moved furthest."""
    means = [
        Breach(cause="mean", subject=modality.value, figure=one.mean.share, limit=limits.mean_share)
        for modality, one in found.drift.items()
        if one.mean.share >= limits.mean_share and one.mean.floors >= limits.mean_floors
    ]
    spectra = [
        Breach(cause="spectrum", subject=modality.value, figure=one.spectrum.share, limit=limits.spectrum_share)
        for modality, one in found.drift.items()
        if one.spectrum.share >= limits.spectrum_share and one.spectrum.floors >= limits.spectrum_floors
    ]
    breaches = [max(some, key=lambda one: one.figure) for some in (means, spectra) if some]
    drop = found.recall_drop
    if drop is not None and drop >= limits.recall_drop and drop >= _SURE * _standard_error(found):
        breaches.append(Breach(cause="probe_recall", subject="", figure=drop, limit=limits.recall_drop))
    return tuple(breaches)


def _probe_document(one: ProbeRecall | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "gallery": one.gallery_count,
        "pairs": one.pair_count,
        "image_query": one.image_query,
        "text_query": one.text_query,
    }


def _moved(one: Moved) -> dict[str, float]:
    return asdict(one) | {"floors": one.floors}


def _gap(rows: Mapping[Modality, NDArray[np.float32]]) -> float:
    image, text = (rows[modality].mean(axis=0, dtype=np.float64) for modality in Modality)
    return float(np.linalg.norm(image - text))


def _drift(reference: FitReference, paired: RawPairs) -> dict[Modality, CloudDrift]:
    given = ((Modality.IMAGE, paired.images, paired.image_keys), (Modality.TEXT, paired.texts, paired.text_keys))
    return {
        modality: cloud_drift(reference.clouds[modality], canonical(rows), np.array(keys))
        for modality, rows, keys in given
    }


def _probe(
    aligner: Aligner | None,
    rows: Mapping[Modality, NDArray[np.float32]],
    keys: list[str],
    held_out_keys: frozenset[str],
    reference: FitReference | None,
) -> ProbeRecall | None:
    chosen = [row for row, key in enumerate(keys) if key in held_out_keys]
    gallery = None if reference is None or reference.probe is None else reference.probe.gallery_count
    try:
        return probe_recall(
            aligner,
            {modality: found[chosen] for modality, found in rows.items()},
            [keys[row] for row in chosen],
            gallery_count=gallery,
        )
    except NotEnoughItemsError:
        return None


def _standard_error(found: WatchFigures) -> float:
    """Return that of the fall: of each side the larger of binomial spread and one pair's worth."""
    squared = 0.0
    for one in (found.probe, found.fit_probe):
        if one is not None:
            squared += max(one.recall * (1.0 - one.recall), 1.0 / one.pair_count) / one.pair_count
    return float(np.sqrt(squared))
