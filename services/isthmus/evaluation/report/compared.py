"""From a comparison of methods to the contents of its report."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.gap import Corpus, measure_gap
from isthmus.core.modality import Modality
from isthmus.core.recipe import RawPairs, Verification
from isthmus.evaluation.report.contents import MethodOutcome, ReportContents, View

__all__ = ["compared_contents"]


def compared_contents(
    subject: str,
    pairs: RawPairs,
    judged: Mapping[str, tuple[Artefact, Verification]],
    *,
    refused: Mapping[str, str],
    baseline: Artefact | None = None,
    all_pairs: bool = False,
    seed: int = 0,
) -> ReportContents:
    """Measure the held-out pairs before and after the best method.

    The best is the one of the highest nDCG@10 among those that the guard lets pass; where it lets none pass, among all
    that change anything, and the page says that it is refused.

    Args:
        subject: Name of the file or the collection.
        pairs: Everything, as it was given to `fit_and_judge`.
        judged: Artefact and verification by method.
        refused: Why a method could not be fitted.
        baseline: The aligner that is active now, which all were judged against.
        all_pairs: Nothing was learned from these pairs: all of them were judged on.
        seed: Of every sample, split and bootstrap.

    Raises:
        CoreError: The pairs cannot be split or measured.
    """
    learned, held = (None, pairs) if all_pairs else pairs.split()
    held = held.with_keys(set(held.paired_keys))
    methods = tuple(MethodOutcome(name=name, found=found) for name, (_, found) in judged.items())
    methods += tuple(MethodOutcome(name=name, problem=problem) for name, problem in refused.items())
    ranked = sorted(
        (one for one in methods if one.found is not None),
        key=lambda one: (bool(one.passed), one.passed or one.name != "identity", one.quality),
        reverse=True,
    )
    chosen = ranked[0] if ranked else None
    return ReportContents(
        subject=subject,
        before=_view(held, through=baseline, seed=seed),
        aligner="" if baseline is None else baseline.manifest.aligner_id,
        after=None if chosen is None else _view(held, through=judged[chosen.name][0], seed=seed),
        chosen=chosen,
        methods=methods,
        learned_pair_count=None if learned is None else len(learned.paired_keys),
    )


def _view(pairs: RawPairs, *, through: Artefact | None, seed: int) -> View:
    """Look at pairs as the encoders made them, or through an aligner."""
    images, texts = pairs.images, pairs.texts
    if through is not None:
        aligner = load_aligner(through)
        images, texts = aligner.align(images, Modality.IMAGE), aligner.align(texts, Modality.TEXT)
    gap = measure_gap(images, texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys, seed=seed)
    corpus = Corpus.of(images, texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)
    return View.of(corpus, gap=gap)
