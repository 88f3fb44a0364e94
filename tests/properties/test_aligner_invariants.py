"""What must hold of every aligner and of the merge, for any pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.core import Modality, canonical
from isthmus.core.aligners import FITTED_METHODS, Aligner, FitOptions, FitPairs, Label, fit_artefact, load_aligner
from isthmus.core.aligners.shift import fit_shift
from isthmus.core.aligners.spectral import fit_spectral
from isthmus.core.aligners.transport import transport_plan
from isthmus.core.calibration import fit_calibration
from isthmus.core.metrics import cross_modal_recall

SPACE = "clip@00112233445566aa"
LABEL = Label(aligner_id="a", created_by="a test")
EXACT = frozenset({"identity", "shift", "center", "standardize"})


@st.composite
def pair_sets(draw: st.DrawFn, *, least: int = 70, most: int = 140, positive: bool = False) -> FitPairs:
    """Pairs with any gap, noise and dimension; with `positive` all similarities are above 0."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(least, most))
    dimension = draw(st.integers(12, 40))
    meaning = rng.normal(size=(count, dimension))
    gap = draw(st.floats(0.0, 3.0)) * rng.normal(size=dimension)
    noise = draw(st.floats(0.0, 2.0))
    images = meaning + noise * rng.normal(size=meaning.shape) + gap
    texts = meaning + noise * rng.normal(size=meaning.shape) - gap
    if positive:
        images, texts = np.abs(images) + 0.01, np.abs(texts) + 0.01
    return FitPairs(images=canonical(images), texts=canonical(texts), image_space=SPACE, text_space=SPACE)


def fitted(method: str, pairs: FitPairs, **options: Any) -> Aligner:
    """Fit and load."""
    if method in {"cca", "spectral"}:
        options["dimension"] = 8
    return load_aligner(fit_artefact(method, pairs, label=LABEL, options=FitOptions(**options)))


@settings(deadline=None)
@given(pairs=pair_sets())
def test_identity_is_exact(pairs: FitPairs) -> None:
    """Not one bit changes."""
    aligner = fitted("identity", pairs)
    assert all((aligner.align(pairs.vectors(m), m) == pairs.vectors(m)).all() for m in Modality)


@pytest.mark.parametrize("hubness", [False, True])
@pytest.mark.parametrize("method", FITTED_METHODS)
@settings(max_examples=8, deadline=None)
@given(pairs=pair_sets(), cut=st.integers(1, 60))
def test_no_row_depends_on_its_batch(method: str, *, hubness: bool, pairs: FitPairs, cut: int) -> None:
    """However a batch is split, and in whatever order its rows come: the same rows, bit for bit without a product."""
    aligner = fitted(method, pairs, hubness=hubness)
    bound = 0.0 if method in EXACT and not hubness else 1e-5  # 5e-6 measured, transport
    for modality in Modality:
        x = pairs.vectors(modality)
        whole = aligner.item_rows(x, modality)
        parts = np.concatenate([aligner.item_rows(x[:cut], modality), aligner.item_rows(x[cut:], modality)])
        assert np.abs(parts - whole).max() <= bound
        assert np.abs(aligner.item_rows(x[::-1], modality)[::-1] - whole).max() <= bound
        assert (aligner.item_rows(x, modality) == whole).all()
        assert np.abs(np.linalg.norm(aligner.align(x, modality), axis=1) - 1.0).max() < 1e-3


@settings(deadline=None)
@given(pairs=pair_sets())
def test_centring_sets_the_gap_to_zero_before_rows_are_scaled(pairs: FitPairs) -> None:
    """The artefact's means are the means of what it was fitted on."""
    tensors = fit_artefact("center", pairs, label=LABEL).tensors
    for modality in Modality:
        left = pairs.vectors(modality).astype(np.float64) - tensors[f"{modality}.mean"]
        assert np.abs(left.mean(axis=0)).max() < 1e-6


@settings(deadline=None)
@given(pairs=pair_sets(), strength=st.floats(0.0, 1.0))
def test_a_shift_closes_its_share_of_the_gap_before_rows_are_scaled(pairs: FitPairs, strength: float) -> None:
    """(1 - s) of the vector between the centroids is left; at s = 0 the aligner returns its input."""
    tensors = fit_shift(pairs, strength=strength).tensors()
    mean = {modality: pairs.vectors(modality).mean(axis=0, dtype=np.float64) for modality in Modality}
    left = [mean[modality] - tensors[f"{modality}.mean"] for modality in Modality]
    whole = mean[Modality.IMAGE] - mean[Modality.TEXT]
    assert np.abs(left[0] - left[1] - (1.0 - strength) * whole).max() < 1e-6
    aligner = fitted("shift", pairs, strength=0.0)
    assert np.abs(aligner.align(pairs.images, Modality.IMAGE) - pairs.images).max() < 1e-3  # rows are float16 unit


def dense_spectrum(pairs: FitPairs, lift: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Second route: eigenvectors of the whole symmetric normalised adjacency, 2n x 2n, turned into those of D^-1 A."""
    w = pairs.images.astype(np.float64) @ pairs.texts.astype(np.float64).T + lift
    count = len(w)
    adjacency = np.block([[np.zeros((count, count)), w], [w.T, np.zeros((count, count))]])
    degree = adjacency.sum(axis=1)
    values, vectors = scipy.linalg.eigh(adjacency / np.sqrt(degree[:, None] * degree[None, :]))
    order = np.argsort(-values)
    return values[order], vectors[:, order] / np.sqrt(degree)[:, None]


@settings(max_examples=8, deadline=None)
@given(pairs=pair_sets(least=80, most=500, positive=True), lift=st.sampled_from([0.0, 0.3]))
def test_the_closed_form_is_the_dense_eigen_solution(pairs: FitPairs, lift: float) -> None:
    """Spectrum and eigenvectors agree to 1e-8 up to sign, and the out-of-sample rule returns F on fitted rows."""
    found = fit_spectral(pairs, dimension=6, lift=lift)
    values, vectors = dense_spectrum(pairs, lift)
    assert np.abs(found.sigma - values[1:7]).max() < 1e-8
    # Eigenvectors of values that nearly coincide are any basis of their plane: only separate ones have a direction.
    gaps = np.minimum(values[:6] - values[1:7], values[1:7] - values[2:8])
    count = len(pairs.images)
    for k in np.flatnonzero(gaps > 1e-5):
        dense = vectors[:, k + 1]
        closed = np.concatenate([found.coordinates(pairs.vectors(modality), modality)[:, k] for modality in Modality])
        dense, closed = dense / np.linalg.norm(dense), closed / np.linalg.norm(closed)
        assert min(np.abs(dense - closed).max(), np.abs(dense + closed).max()) < 1e-8
        assert len(closed) == 2 * count


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(5, 60), columns=st.integers(5, 60), eta=st.sampled_from([0.0, 1.0])
)
def test_a_transport_plan_meets_its_marginals(seed: int, rows: int, columns: int, eta: float) -> None:
    """Every row and column carries its mass, and nothing is negative."""
    rng = np.random.default_rng(seed)
    plan = transport_plan(rng.normal(size=(rows, 8)), rng.normal(size=(columns, 8)) + 1.0, eta=eta)
    assert (plan.coupling >= -1e-15).all()
    assert plan.marginal_error < 1e-9  # 2e-15 measured
    assert np.abs(plan.coupling.sum() - 1.0) < 1e-9


@settings(max_examples=10, deadline=None)
@given(pairs=pair_sets(), method=st.sampled_from(["identity", "center", "cca"]))
def test_a_fitted_merge_never_changes_a_ranking_inside_one_modality(pairs: FitPairs, method: str) -> None:
    """Cross-modal recall by merge scores is cross-modal recall by cosine, to the last query."""
    aligner = fitted(method, pairs)
    vectors = {modality: aligner.align(pairs.vectors(modality), modality) for modality in Modality}
    keys = [str(number) for number in range(len(pairs.images))]
    calibration = fit_calibration(vectors[Modality.IMAGE], vectors[Modality.TEXT], image_keys=keys, text_keys=keys)
    for query in Modality:
        for item in Modality:
            scores = vectors[query] @ vectors[item].T
            merged = calibration.merge_scores(scores, query=query, item=item)
            order = np.argsort(scores, axis=1, kind="stable")
            assert (np.diff(np.take_along_axis(merged, order, axis=1), axis=1) >= 0).all()


@settings(max_examples=10, deadline=None)
@given(pairs=pair_sets(), seed=st.integers(0, 2**32 - 1))
def test_permuted_pairs_drop_recall_to_chance(pairs: FitPairs, seed: int) -> None:
    """Recall is a matter of who belongs to whom, not of the cloud."""
    count = len(pairs.images)
    codes = np.arange(count)
    mixed_up = np.random.default_rng(seed).permutation(count)
    found = cross_modal_recall(pairs.images, pairs.texts[mixed_up], query_codes=codes, item_codes=codes)
    assert found.r1 < 0.2  # chance is below 1/70
