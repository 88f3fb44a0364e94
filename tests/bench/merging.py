"""Which merge keeps matches on top while the query's own modality keeps its share: `python -m tests.bench.merging`.

Mixed R@1 alone can be bought by hiding the query's own modality. So every candidate is swept over an offset on the own
modality's scores and read where own answers fill 30 % of the first ten. Ten splits of 250 CLIP pairs, 125 to calibrate
on and 125 to judge, mean of the ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from isthmus.core import Modality
from isthmus.core.aligners import FitOptions, FitPairs, Label, fit_artefact, load_aligner
from isthmus.core.calibration import fit_calibration
from tests.harness.shared import SHARED_DATA

__all__ = ["CANDIDATES", "CLIP_COCO", "MergeFigures", "judged"]

CLIP_COCO: Final = SHARED_DATA / "clip_coco" / "clip_vitb16_coco_val2017_250.npz"
SHARE: Final = 0.30
SPLITS: Final = 10

_OFFSETS: Final = np.arange(-6.0, 12.0, 0.05)
_DEPTH: Final = 10
_SPACE: Final = "clip-vitb16@00112233445566aa"

Scores: TypeAlias = NDArray[np.float64]
Candidate: TypeAlias = Callable[["Split", Modality], tuple[Scores, Scores]]


@dataclass(frozen=True, kw_only=True)
class MergeFigures:
    """Figures of the queries of one modality."""

    mixed_r1: float
    """At an own-modality share of .30 of the first ten."""
    cross_r1: float
    """Among the other modality alone."""


@dataclass(frozen=True)
class Split:
    """One half to calibrate on, one to judge."""

    fit: Mapping[Modality, NDArray[np.float32]]
    test: Mapping[Modality, NDArray[np.float32]]

    def impostors(self, query: Modality, item: Modality) -> Scores:
        """Return cosines of the calibration half, matches and identities at minus infinity."""
        scores = (self.fit[query] @ self.fit[item].T).astype(np.float64)
        np.fill_diagonal(scores, -np.inf)
        return scores

    def judged(self, query: Modality, item: Modality) -> Scores:
        """Return cosines of the judged half."""
        return (self.test[query] @ self.test[item].T).astype(np.float64)


def raw(split: Split, query: Modality) -> tuple[Scores, Scores]:
    """Merge by the cosine."""
    return 20 * split.judged(query, query), 20 * split.judged(query, query.other)


def plain_z(split: Split, query: Modality) -> tuple[Scores, Scores]:
    """Merge by z over all impostors."""

    def z(item: Modality) -> Scores:
        known = split.impostors(query, item)
        known = known[np.isfinite(known)]
        return _scaled(split.judged(query, item), known)

    return z(query), z(query.other)


def tail_matched(split: Split, query: Modality) -> tuple[Scores, Scores]:
    """Merge by z over best impostors."""

    def z(item: Modality) -> Scores:
        return _scaled(split.judged(query, item), split.impostors(query, item).max(axis=1))

    return z(query), z(query.other)


def per_query_tail(split: Split, query: Modality) -> tuple[Scores, Scores]:
    """Take the location from the query's own five nearest in the calibration half."""

    def z(item: Modality) -> Scores:
        scores = split.judged(query, item) - _nearest(split.test[query] @ split.fit[item].T, 5)[:, None]
        best = split.impostors(query, item).max(axis=1)
        return _scaled(scores, best - best.mean())

    return z(query), z(query.other)


def log_tail(split: Split, query: Modality) -> tuple[Scores, Scores]:
    """Merge by z over best impostors, its tail by its logarithm."""
    own, cross = tail_matched(split, query)
    return _bent(own), _bent(cross)


def csls_tail(split: Split, query: Modality) -> tuple[Scores, Scores]:
    """Merge CSLS scores by z over best impostors."""

    def z(item: Modality) -> Scores:
        known = split.impostors(query, item)
        known = known - 0.5 * (_nearest(known, 10)[:, None] + _nearest(known.T, 10)[None, :])
        scores = split.judged(query, item)
        scores -= 0.5 * _nearest(split.test[query] @ split.fit[item].T, 10)[:, None]
        scores -= 0.5 * _nearest(split.test[item] @ split.fit[query].T, 10)[None, :]
        return _scaled(scores, known.max(axis=1))

    return z(query), z(query.other)


def shipped(split: Split, query: Modality) -> tuple[Scores, Scores]:
    """Merge as Isthmus does: fitted calibration."""
    return _served(split, query, hubness=False)


def shipped_with_offsets(split: Split, query: Modality) -> tuple[Scores, Scores]:
    """Merge as Isthmus does with a hubness correction: item offsets, query locations, fitted calibration."""
    return _served(split, query, hubness=True)


CANDIDATES: Final[Mapping[str, Candidate]] = {
    "raw cosine": raw,
    "z, all impostors": plain_z,
    "z, best impostors": tail_matched,
    "z, the query's own tail": per_query_tail,
    "z, best impostors, CSLS": csls_tail,
    "z, best impostors, log tail": log_tail,
    "shipped": shipped,
    "shipped, hubness corrected": shipped_with_offsets,
}


def judged(candidate: Candidate) -> dict[Modality, MergeFigures]:
    """Return a candidate's figures by query modality."""
    found = {}
    for query in Modality:
        curve = np.zeros((len(_OFFSETS), 2))
        cross_r1 = 0.0
        for split in _splits():
            own, cross = candidate(split, query)
            np.fill_diagonal(own, -np.inf)
            curve += _curve(own, cross) / SPLITS
            cross_r1 += float((cross.argmax(axis=1) == np.arange(len(cross))).mean()) / SPLITS
        order = np.argsort(curve[:, 1], kind="stable")
        mixed_r1 = float(np.interp(SHARE, curve[order, 1], curve[order, 0]))
        found[query] = MergeFigures(mixed_r1=mixed_r1, cross_r1=cross_r1)
    return found


def _splits() -> Iterator[Split]:
    with np.load(CLIP_COCO) as stored:
        vectors = {Modality.IMAGE: stored["image"], Modality.TEXT: stored["text"]}
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(vectors[Modality.IMAGE]))
        fit, test = np.array_split(order, 2)
        yield Split({m: rows[fit] for m, rows in vectors.items()}, {m: rows[test] for m, rows in vectors.items()})


def _served(split: Split, query: Modality, *, hubness: bool) -> tuple[Scores, Scores]:
    pairs = FitPairs(
        images=split.fit[Modality.IMAGE], texts=split.fit[Modality.TEXT], image_space=_SPACE, text_space=_SPACE
    )
    artefact = fit_artefact(
        "identity", pairs, label=Label(aligner_id="a", created_by="a bench"), options=FitOptions(hubness=hubness)
    )
    aligner = load_aligner(artefact)
    keys = [str(row) for row in range(len(pairs.images))]
    calibration = fit_calibration(
        aligner.item_rows(pairs.images, Modality.IMAGE),
        aligner.item_rows(pairs.texts, Modality.TEXT),
        image_keys=keys,
        text_keys=keys,
        image_queries=aligner.query_rows(pairs.images, Modality.IMAGE),
        text_queries=aligner.query_rows(pairs.texts, Modality.TEXT),
    )
    asked = aligner.query_rows(split.test[query], query)
    own, cross = (
        calibration.merge_scores(asked @ aligner.item_rows(split.test[item], item).T, query=query, item=item)
        for item in (query, query.other)
    )
    return own, cross


def _curve(own: Scores, cross: Scores) -> Scores:
    """Return (offsets, 2): mixed R@1 and own share of the first ten."""
    match = np.diag(cross)
    leads = cross.argmax(axis=1) == np.arange(len(cross))
    own_top, cross_top = (-np.sort(-scores, axis=1)[:, :_DEPTH] for scores in (own, cross))
    points = []
    for offset in _OFFSETS:
        merged = np.concatenate([own_top - offset, cross_top], axis=1)
        first = np.argsort(-merged, axis=1, kind="stable")[:, :_DEPTH]
        points.append([(leads & (own_top[:, 0] - offset <= match)).mean(), (first < _DEPTH).mean()])
    return np.array(points)


def _scaled(scores: Scores, impostors: Scores) -> Scores:
    scaled: Scores = (scores - impostors.mean()) / impostors.std()
    return scaled


def _nearest(scores: NDArray[np.floating], count: int) -> Scores:
    mean: Scores = np.sort(scores, axis=1)[:, -count:].mean(axis=1, dtype=np.float64)
    return mean


def _bent(z: Scores) -> Scores:
    return np.where(z > 0, 0.5 * np.log1p(np.maximum(z, 0) / 0.5), z)


def main() -> None:
    """Print the table: image / text queries."""
    print(f"{'merge':<30}{'mixed R@1 at share .30':>26}{'cross-modal R@1':>20}")
    for name, candidate in CANDIDATES.items():
        image, text = judged(candidate).values()
        print(f"{name:<30}{f'{image.mixed_r1:.3f} / {text.mixed_r1:.3f}':>26}", end="")
        print(f"{f'{image.cross_r1:.3f} / {text.cross_r1:.3f}':>20}")


if __name__ == "__main__":
    main()
