"""How many labelled photos each aligner needs: `python -m tests.bench --only few_labels`, about half an hour.

Fitted on 50, 200, 1,000 and 6,000 photos of Flickr8k's train split with their captions, three draws each, and judged on
the dev split, 1,000 photos with 5,000 captions, none of which takes part in a fit. What is fitted is what `isthmus
align fit` makes of so many pairs: where there are 64 of them for it, a quarter calibrates the merge and the rest is
fitted on; below that the merge is estimated from the train photos and captions without their keys, as a searcher does
with items that nobody labelled.

Two settings:

- `raw`: EfficientNet-Lite0 photos (1,280 components) and MiniLM captions (384). Methods that compare raw vectors of
  both modalities refuse two spaces with their typed error.
- `shared`: the same photos and captions in the space of the shipped heads (256), where every method is at home. The
  heads have seen the train photos, so a fit sees a gap that is narrower than the one it is judged on.

Each is held by the guard against what would be served without it: `none` (in `raw` the query's own modality alone, in
`shared` the heads' vectors under an estimated merge), and `shipped`, the shipped heads with their own calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from isthmus.alignment.artefact_store import SHIPPED_FOLDER
from isthmus.core import Modality
from isthmus.core.aligners import (
    FITTED_METHODS,
    Artefact,
    FitOptions,
    IdentityAligner,
    Label,
    add_hubness_correction,
    load_aligner,
)
from isthmus.core.errors import CoreError
from isthmus.core.gap import Corpus
from isthmus.core.guard import judge_guard
from isthmus.core.held_out import QueryFigures, judge_queries, summarise
from isthmus.core.keys import key_codes
from isthmus.core.recipe import RawPairs, fit_calibrated, served_rows
from isthmus.training import EmbeddedData, TrainAlignerConfig, TrainingDataError, train_on_embeddings
from isthmus.training.loop import EmbeddedPairs
from tests.bench.record import Figure
from tests.harness.flickr8k import embedded, raw_pairs

__all__ = ["Run", "Setting", "measure", "runs", "settings", "table"]

COUNTS: Final = (50, 200, 1_000, 6_000)
SEEDS: Final = (0, 1, 2)

_HEADS: Final = "heads"
_COUNTS: Final = " / ".join(f"{count:,}" for count in COUNTS)

METHODS: Final[Mapping[str, Sequence[str]]] = {"raw": (*FITTED_METHODS, _HEADS), "shared": FITTED_METHODS}
"""By setting; in `shared` heads would be trained on what heads made."""
_UNLABELLED_SEED: Final = 7


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where fits and judgements take place."""

    name: str
    train: RawPairs
    test: RawPairs
    baselines: Mapping[str, Artefact | None]
    """What each fit is held against, by name."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One fit, judged."""

    setting: str
    method: str
    hubness: bool
    photos: int
    seed: int
    refused: str = ""
    """Why there was nothing to judge; empty when there was."""
    figures: Mapping[str, Any] | None = None
    passed: Mapping[str, bool] | None = None
    """By baseline, whether the guard lets it pass."""
    reasons: Mapping[str, list[str]] | None = None


def settings() -> list[Setting]:
    """Return both, embeddings kept outside the checkout."""
    train, test = raw_pairs(embedded("train")), raw_pairs(embedded("dev"))
    overlap = set(train.paired_keys) & set(test.paired_keys)
    assert not overlap, f"{len(overlap)} photos are in both splits"
    shipped = Artefact.load(SHIPPED_FOLDER / "flickr8k-heads")
    aligned = [_aligned(pairs, shipped) for pairs in (train, test)]
    at_home = IdentityAligner.fit_pairs(aligned[0].fit_pairs(), label=_label("identity", 0)).with_findings(
        calibration=shipped.manifest.calibration, report={}
    )
    return [
        Setting(name="raw", train=train, test=test, baselines={"none": None, "shipped": shipped}),
        Setting(name="shared", train=aligned[0], test=aligned[1], baselines={"none": None, "shipped": at_home}),
    ]


def runs(setting: Setting, methods: Iterable[str]) -> Iterator[Run]:
    """Fit and judge every method on every count of photos, draw by draw."""
    judge = _Judge(setting)
    keys = np.array(setting.train.paired_keys)
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(keys))
        for method in methods:
            for count in COUNTS:
                learned = setting.train.with_keys(set(keys[order[:count]].tolist()))
                for hubness in (False, True):
                    run = Run(setting=setting.name, method=method, hubness=hubness, photos=count, seed=seed)
                    try:
                        artefact = _fit(method, learned, seed=seed, hubness=hubness)
                    except (CoreError, TrainingDataError) as error:
                        yield replace(run, refused=f"{type(error).__name__}: {error}")
                    else:
                        yield judge.judged(run, artefact)


class _Judge:
    """Judges on the test split; what the baselines give is worked out once."""

    def __init__(self, setting: Setting) -> None:
        self._test = setting.test
        self._corpus = Corpus.of(
            setting.test.images,
            setting.test.texts,
            image_keys=setting.test.image_keys,
            text_keys=setting.test.text_keys,
        )
        order = np.random.default_rng(_UNLABELLED_SEED).permutation(len(setting.train.texts))
        self._unlabelled = replace(
            setting.train,
            texts=setting.train.texts[order],
            image_keys=[None] * len(setting.train.images),
            text_keys=[None] * len(order),
        )
        self._before = {name: self._served(baseline) for name, baseline in setting.baselines.items()}

    def judged(self, run: Run, artefact: Artefact) -> Run:
        """Return the run with its figures and verdicts."""
        after = self._served(artefact)
        verdicts = {name: judge_guard(before, after, corpus=self._corpus) for name, before in self._before.items()}
        return replace(
            run,
            figures=summarise(after, pair_count=len(self._corpus.paired_keys)),
            passed={name: found.ok for name, found in verdicts.items()},
            reasons={name: list(found.reasons) for name, found in verdicts.items()},
        )

    def _served(self, artefact: Artefact | None) -> dict[Modality, QueryFigures]:
        aligner = None if artefact is None else load_aligner(artefact)
        return judge_queries(served_rows(aligner, self._test, codes=self._corpus.codes, seen=self._unlabelled))


def _fit(method: str, learned: RawPairs, *, seed: int, hubness: bool) -> Artefact:
    """Return what so many labelled photos give.

    Raises:
        CoreError: The method does not take them.
    """
    options = FitOptions(hubness=hubness, seed=seed)
    if method != _HEADS:
        return fit_calibrated(method, learned, label=_label(method, seed), options=options)
    artefact = _trained(learned, seed)
    return add_hubness_correction(artefact, learned.fit_pairs(), seed=seed) if hubness else artefact


def _trained(learned: RawPairs, seed: int) -> Artefact:
    """Return heads trained as `isthmus train aligner` trains them."""
    photos = learned.fit_pairs()
    (codes,) = key_codes(learned.image_keys)
    data = EmbeddedData(
        pairs=EmbeddedPairs(images=photos.images, texts=photos.texts, owners=photos.owners, codes=codes),
        pair_keys=[str(key) for key in learned.image_keys],
        image_space=learned.image_space,
        text_space=learned.text_space,
    )
    return train_on_embeddings(data, config=TrainAlignerConfig(data=(), aligner_id=_HEADS, seed=seed))


def _aligned(pairs: RawPairs, artefact: Artefact) -> RawPairs:
    aligner = load_aligner(artefact)
    return replace(
        pairs,
        images=aligner.align(pairs.images, Modality.IMAGE),
        texts=aligner.align(pairs.texts, Modality.TEXT),
        image_space=artefact.space,
        text_space=artefact.space,
    )


def _label(method: str, seed: int) -> Label:
    return Label(aligner_id=method, created_by="a bench", seed=seed)


def measure(address: str) -> list[Figure]:
    """Return one line a method: t2i R@1 by photos fitted on, and from how many on the guard lets it pass.

    The whole table is printed as Markdown, for docs/methods.md; the mesh has no part in it.
    """
    found = [run for setting in settings() for run in runs(setting, METHODS[setting.name])]
    print(table(found))
    figures = []
    for (setting, method, hubness), own in _grouped(found).items():
        recalls = [_mean(own[count], lambda figures: figures["recall"]["t2i"]["r1"]) for count in COUNTS]
        name = f"{setting}: {method}{' with hubness correction' if hubness else ''}, t2i R@1 from {_COUNTS} photos"
        figures.append(Figure(name, " / ".join(recalls), parts=f"passes against shipped from {_passes(own)}"))
    return figures


def table(found: Iterable[Run]) -> str:
    """Return a Markdown table: means over the draws, by photos fitted on; `-` where it was refused."""
    columns = ("t2i R@1", "t2i R@10", "i2t R@1", "mixed R@10", "nDCG@10", "own share")
    lines = [f"| aligner, {_COUNTS} photos | {' | '.join(columns)} | passes: none | passes: shipped |"]
    lines.append("|---" * (len(columns) + 3) + "|")
    readers: tuple[Callable[[Mapping[str, Any]], float], ...] = (
        lambda figures: figures["recall"]["t2i"]["r1"],
        lambda figures: figures["recall"]["t2i"]["r10"],
        lambda figures: figures["recall"]["i2t"]["r1"],
        lambda figures: _both(figures, "r10"),
        lambda figures: _both(figures, "ndcg10"),
        lambda figures: _both(figures, "own_share"),
    )
    for (setting, method, hubness), own in _grouped(found).items():
        cells = [" / ".join(_mean(own[count], read) for count in COUNTS) for read in readers]
        verdicts = [_passes(own, baseline=name) for name in ("none", "shipped")]
        lines.append(f"| {setting}: {method}{', hubness' if hubness else ''} | {' | '.join([*cells, *verdicts])} |")
    refused = {(run.setting, run.method, run.refused) for run in found if run.refused}
    return "\n".join([*lines, "", *(f"- {setting}: {method}: {why}" for setting, method, why in sorted(refused))])


def _grouped(found: Iterable[Run]) -> dict[tuple[str, str, bool], dict[int, list[Run]]]:
    grouped: dict[tuple[str, str, bool], dict[int, list[Run]]] = {}
    for run in found:
        own = grouped.setdefault((run.setting, run.method, run.hubness), {count: [] for count in COUNTS})
        own[run.photos].append(run)
    return grouped


def _mean(found: Iterable[Run], read: Callable[[Mapping[str, Any]], float]) -> str:
    values = [read(run.figures) for run in found if run.figures is not None]
    return f"{np.mean(values):.3f}".lstrip("0") if values else "-"


def _both(figures: Mapping[str, Any], key: str) -> float:
    return float(np.mean([figures["mixed"][f"{query}_query"][key] for query in Modality]))


def _passes(own: Mapping[int, list[Run]], *, baseline: str = "shipped") -> str:
    """Say of how many draws the guard lets it pass, by photos fitted on."""
    passed = [sum(bool(run.passed and run.passed[baseline]) for run in own[count]) for count in COUNTS]
    return " / ".join(f"{one} of {len(own[count])}" for one, count in zip(passed, COUNTS, strict=True))
