"""Judge aligners on a collection's held-out pairs: one that is there, or every method, fitted for the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np

from isthmus.alignment.jobs import StopSignal
from isthmus.alignment.pages import comparison_page
from isthmus.core.aligners import Artefact, FitOptions, Label
from isthmus.core.details import DetailRequest
from isthmus.core.errors import CoreError
from isthmus.core.guard import GuardLimits
from isthmus.core.recipe import RawPairs, Verification, fit_and_judge, verify_artefact
from isthmus.runtime.base.guard import GuardTerms

__all__ = ["CollectionVerification", "Comparison", "compare_methods", "verify_on"]

_CREATED_BY: Final = "isthmus CompareAligners"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionVerification:
    """What a collection's held-out pairs say of an aligner."""

    method: str
    aligner: str
    """`aligner_id@revision`; empty for one that was fitted for a comparison and is not kept."""
    found: Verification
    page: str = ""
    """HTML; empty where it was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a collection's held-out pairs say of several methods."""

    judged: Sequence[CollectionVerification]
    refused: Sequence[tuple[str, str]]
    """Methods that could not be fitted, each with the reason."""
    page: str = ""
    """HTML; empty where it was not asked for."""

    @property
    def best(self) -> str:
        """The method of the highest nDCG@10 over both modalities among those that keep the guard; empty for none."""
        passed = {one.method: _ndcg(one.found) for one in self.judged if one.found.guard.ok}
        return max(passed, key=passed.__getitem__, default="")


def verify_on(
    pairs: RawPairs,
    artefact: Artefact,
    *,
    active: Artefact | None,
    guard: GuardTerms,
    seed: int,
    page_subject: str = "",
    details: DetailRequest | None = None,
) -> CollectionVerification:
    """Judge an aligner on the pairs that a fit to this collection would hold out.

    Args:
        pairs: Of a collection.
        artefact: To judge.
        active: The collection's aligner, which it is judged against; itself when it is the active one already.
        guard: What it may cost the collection.
        seed: Of the bootstrap.
        page_subject: Name of the collection on a page for people; empty for no page.
        details: Which slices and what gain to look at beside; the gain is judged over all of `pairs`.

    Raises:
        NotEnoughItemsError: There are too few pairs.
        OptionError: The slices cannot be cut.
        LeakError: One photo is on both sides of the split.
        SpacesMismatchError: The collection is of other raw spaces.
    """
    learned, judged = pairs.split()
    limits = GuardLimits(**asdict(guard))
    found = verify_artefact(
        artefact,
        judged,
        learned=learned,
        baseline=active,
        limits=limits,
        seed=seed,
        details=None if details is None else replace(details, searched=pairs),
    )
    page = ""
    if page_subject:
        named = {artefact.manifest.aligner_id: (artefact, found)}
        page = comparison_page(page_subject, pairs, named, refused={}, active=active, seed=seed)
    return CollectionVerification(method=artefact.manifest.method, aligner=artefact.space, found=found, page=page)


def compare_methods(
    pairs: RawPairs,
    methods: Sequence[str],
    *,
    options: FitOptions,
    active: Artefact | None,
    guard: GuardTerms,
    stop: StopSignal,
    page_subject: str = "",
) -> Comparison:
    """Fit methods to the same pairs and judge all on the same others; nothing is kept.

    Args:
        pairs: Of a collection.
        methods: Of FITTED_METHODS, or RECALIBRATE, which keeps the maps of `active`.
        options: Of all fits; each method takes those that it has.
        active: The collection's aligner, which all are judged against.
        guard: What an aligner may cost the collection.
        stop: Looked at between any two methods.
        page_subject: Name of the collection on a page for people; empty for no page.

    Raises:
        NotEnoughItemsError: There are too few pairs for any method.
        LeakError: One photo is on both sides of the split.
    """
    pairs.split()  # whatever is wrong with the pairs themselves is wrong for every method
    limits = GuardLimits(**asdict(guard))
    judged: dict[str, tuple[Artefact, Verification]] = {}
    refused: list[tuple[str, str]] = []
    for method in methods:
        stop.check()
        label = Label(aligner_id=method, created_by=_CREATED_BY, seed=options.seed)
        try:
            judged[method] = fit_and_judge(
                method, pairs, label=label, options=options, on_top_of=active, baseline=active, limits=limits
            )
        except CoreError as error:
            refused.append((method, str(error)))
    page = ""
    if page_subject:
        stop.check()
        page = comparison_page(page_subject, pairs, judged, refused=dict(refused), active=active, seed=options.seed)
    found = [CollectionVerification(method=method, aligner="", found=one) for method, (_, one) in judged.items()]
    return Comparison(judged=found, refused=refused, page=page)


def _ndcg(found: Verification) -> float:
    return float(np.mean([found.after["mixed"][f"{query}_query"]["ndcg10"] for query in ("image", "text")]))
