"""Each fitted method against a second route, and what each refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import Ridge

from isthmus.core import (
    InvalidVectorError,
    Modality,
    NotEnoughItemsError,
    ShapeError,
    SpacesMismatchError,
    canonical,
)
from isthmus.core.aligners import (
    FITTED_METHODS,
    Artefact,
    FitOptions,
    FitPairs,
    Label,
    fit_artefact,
    load_aligner,
)
from isthmus.core.aligners.cca import fit_cca
from isthmus.core.aligners.pairs import require_one_revision
from isthmus.core.aligners.procrustes import fit_procrustes
from isthmus.core.aligners.ridge import fit_ridge
from isthmus.core.aligners.spectral import fit_spectral
from isthmus.core.aligners.standardize import fit_standardize
from isthmus.core.aligners.transport import fit_transport, transport_plan
from isthmus.core.errors import ArtefactError, DegreesError, OptionError
from tests.unit.core.conftest import SPACE, Pairs, as_fit_pairs, recall

OTHER_SPACE = "minilm@ffeeddccbbaa9988"
LABEL = Label(aligner_id="a", created_by="a test")
ONE_SPACE_METHODS = ("identity", "shift", "center", "standardize", "spectral", "transport")


def two_spaces(pairs: FitPairs, *, dimension: int) -> FitPairs:
    """Turn the texts into another raw space of another dimension."""
    turn = np.random.default_rng(3).normal(size=(pairs.texts.shape[1], dimension))
    return replace(pairs, texts=canonical(pairs.texts @ turn), text_space=OTHER_SPACE)


@pytest.mark.parametrize("method", ["shift", "center", "standardize", "procrustes", "transport"])
def test_strength_zero_changes_no_direction(pairs: FitPairs, method: str) -> None:
    """At strength 0 every method that has a strength returns its input, scaled to unit length."""
    aligner = load_aligner(fit_artefact(method, pairs, label=LABEL, options=FitOptions(strength=0.0)))
    for modality in Modality:
        x = pairs.vectors(modality)
        unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        assert np.abs(aligner.align(x, modality) - unit).max() < 1e-6  # 6e-8 measured


@pytest.mark.parametrize("method", ["shift", "center", "standardize", "transport"])
def test_more_strength_closes_more_of_the_gap(pairs: FitPairs, method: str) -> None:
    """The distance of the centroids falls with the strength."""
    gaps = []
    for strength in (0.0, 0.5, 1.0):
        aligner = load_aligner(fit_artefact(method, pairs, label=LABEL, options=FitOptions(strength=strength)))
        centroids = [aligner.align(pairs.vectors(modality), modality).mean(axis=0) for modality in Modality]
        gaps.append(float(np.linalg.norm(centroids[0] - centroids[1])))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.2 * gaps[0]  # standardize .05, transport .12 of 1.3 measured


def test_standardize_gives_every_component_one_spread(pairs: FitPairs) -> None:
    """Before rows are scaled to unit length, means are 0 and deviations 1."""
    found = fit_standardize(pairs)
    for modality in Modality:
        z = (pairs.vectors(modality) - found.mean[modality]) / found.deviation[modality]
        assert np.abs(z.mean(axis=0)).max() < 1e-6
        assert np.abs(z.std(axis=0) - 1.0).max() < 1e-4


def test_procrustes_finds_a_planted_rotation(make_pairs: Callable[..., Pairs]) -> None:
    """Texts that are turned images of another dimension are turned back."""
    images = make_pairs(count=300).images
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(30, 24)))[0]  # (30, 24), orthonormal columns
    centred = images - images.mean(axis=0)
    pairs = FitPairs(
        images=images, texts=(centred @ turn.T).astype(np.float32), image_space=SPACE, text_space=OTHER_SPACE
    )
    found = fit_procrustes(pairs)
    assert found.residual < 1e-10
    assert np.abs(found.rotation - turn.T).max() < 1e-6
    assert np.abs(found.rotation @ found.rotation.T - np.eye(24)).max() < 1e-10


def test_cca_gives_the_canonical_correlations(pairs: FitPairs) -> None:
    """Second route: the generalised eigenproblem Cxy (Cy + q)^-1 Cyx v = s^2 (Cx + r) v."""
    two = two_spaces(pairs, dimension=18)
    found = fit_cca(two, dimension=6, ridge=0.01)
    x, y = two.matched()
    x, y = x - two.images.mean(axis=0, dtype=np.float64), y - y.mean(axis=0)
    cx, cy, cxy = x.T @ x / len(x), y.T @ y / len(y), x.T @ y / len(x)
    cx += 0.01 * np.trace(cx) / len(cx) * np.eye(len(cx))
    cy += 0.01 * np.trace(cy) / len(cy) * np.eye(len(cy))
    squared = scipy.linalg.eigh(cxy @ np.linalg.solve(cy, cxy.T), cx, eigvals_only=True)[::-1][:6]
    assert found.correlation == pytest.approx(np.sqrt(squared), abs=1e-8)


def test_ridge_solves_the_normal_equations(pairs: FitPairs) -> None:
    """Second route: scikit-learn's ridge, with the penalty in its units."""
    two = two_spaces(pairs, dimension=18)
    found = fit_ridge(two, penalty=0.3)
    x, y = two.matched()
    x, y = x - two.images.mean(axis=0, dtype=np.float64), y - y.mean(axis=0)
    alpha = 0.3 * np.trace(y.T @ y) / y.shape[1]
    assert np.abs(found.weight - Ridge(alpha=alpha, fit_intercept=False).fit(y, x).coef_).max() < 1e-10


def test_ridge_penalises_more_where_pairs_are_noise(make_pairs: Callable[..., Pairs]) -> None:
    """Cross-validation sees that noise predicts nothing."""
    clean = two_spaces(as_fit_pairs(make_pairs(noise=0.1)), dimension=18)
    noise = replace(clean, texts=canonical(np.random.default_rng(0).normal(size=clean.texts.shape)))
    assert fit_ridge(clean).error < 0.7
    assert fit_ridge(noise).error > 0.9
    assert fit_ridge(noise).penalty > 10 * fit_ridge(clean).penalty


def test_spectral_names_parts_without_an_edge(pairs: FitPairs) -> None:
    """Two groups whose similarities are all zero between them make two parts."""
    rng = np.random.default_rng(0)
    rows = np.abs(rng.normal(size=(60, 24))).astype(np.float32)
    rows[:30, 12:] = 0.0
    rows[30:, :12] = 0.0
    found = fit_spectral(
        replace(pairs, images=canonical(rows), texts=canonical(rows), owners=np.arange(60)), dimension=5
    )
    assert found.part_count == 2
    assert found.sigma[0] == pytest.approx(1.0, abs=1e-9)


def test_spectral_lifts_similarities_that_sum_below_zero(pairs: FitPairs) -> None:
    """Centred vectors have degrees below 0: lifted by default, refused with the remedy when told not to lift."""
    centred = replace(
        pairs,
        images=canonical(pairs.images - pairs.images.mean(axis=0)),
        texts=canonical(pairs.texts - pairs.texts.mean(axis=0)),
    )
    assert fit_spectral(centred, dimension=10).lift > 0.5  # .95 measured
    with pytest.raises(DegreesError, match="name a larger lift"):
        fit_spectral(centred, dimension=10, lift=0.0)


def test_a_transport_plan_says_how_it_was_solved(pairs: FitPairs) -> None:
    """Iterations, convergence and the error of the marginals are in the result and in the artefact."""
    found = fit_transport(pairs, batch_count=100)
    assert (found.batch_count, found.converged) == (2, True)
    assert 0 < found.iterations < 20
    assert found.marginal_error < 1e-9
    assert found.seal(pairs, label=LABEL).manifest.settings["marginal_error"] == found.marginal_error


def test_without_regularisation_the_plan_is_the_best_assignment() -> None:
    """Second route: SciPy's Hungarian algorithm, for equal numbers and uniform weights."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 5))
    plan = transport_plan(x, y, eta=0.0)
    rows, columns = linear_sum_assignment(np.square(x[:, None] - y[None]).sum(axis=2))
    assert (plan.coupling.argmax(axis=1)[rows] == columns).all()


def test_two_raw_spaces_are_joined(pairs: FitPairs) -> None:
    """Ridge, cca and procrustes map two dimensions into one space, where captions find their images."""
    two = two_spaces(pairs, dimension=18)
    for method in ("ridge", "cca", "procrustes"):
        assert recall(two, fit_artefact(method, two, label=LABEL)) > 0.15, method  # .28 to .49; chance is .005


@pytest.mark.parametrize("method", ONE_SPACE_METHODS)
def test_methods_of_one_space_refuse_two(pairs: FitPairs, method: str) -> None:
    """What compares raw vectors of both modalities says that it needs one raw space, and what to use instead."""
    with pytest.raises(SpacesMismatchError, match=f"{method}: needs .* one raw space; got two, which ridge"):
        fit_artefact(method, replace(pairs, text_space=OTHER_SPACE), label=LABEL, options=FitOptions(dimension=None))


@pytest.mark.parametrize(
    ("method", "count", "least"), [("spectral", 119, 120), ("cca", 9, 10), ("transport", 51, 52), ("center", 1, 2)]
)
def test_too_few_pairs_are_refused_with_the_number_needed(
    make_pairs: Callable[..., Pairs], method: str, count: int, least: int
) -> None:
    """Twice as many pairs as dimensions for a method of k dimensions; the message says how many and what else helps."""
    options = FitOptions(dimension=5) if method == "cca" else FitOptions()
    few = as_fit_pairs(make_pairs(count=count, dimension=64))
    with pytest.raises(NotEnoughItemsError, match=f"{count} pairs to fit on, at least {least}|needs {least} vectors"):
        fit_artefact(method, few, label=LABEL, options=options)
    fit_artefact(method, as_fit_pairs(make_pairs(count=least, dimension=64)), label=LABEL, options=options)


def test_procrustes_between_two_spaces_needs_twice_the_smaller_dimension(make_pairs: Callable[..., Pairs]) -> None:
    """With fewer pairs directions would be turned that nothing is known of."""
    few = two_spaces(as_fit_pairs(make_pairs(count=35)), dimension=18)
    with pytest.raises(NotEnoughItemsError, match="35 pairs to fit on, at least 36; add pairs, or fit ridge or cca"):
        fit_procrustes(few)


@pytest.mark.parametrize(("value", "problem"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "zero length")])
def test_bad_rows_are_named(pairs: FitPairs, value: float, problem: str) -> None:
    """The error says which array, which row, what is wrong and what to do."""
    texts = pairs.texts.copy()
    texts[7] = value
    with pytest.raises(InvalidVectorError, match=f"texts: row 7 .*{problem}.*; leave the item out"):
        replace(pairs, texts=texts)


def test_a_missing_modality_is_refused(pairs: FitPairs) -> None:
    """No texts at all, and no key with both: each says what pairs are."""
    with pytest.raises(NotEnoughItemsError, match="texts: there are none"):
        replace(pairs, texts=pairs.texts[:0], owners=pairs.owners[:0])
    with pytest.raises(NotEnoughItemsError, match="give an image and its text the same key"):
        FitPairs.by_key(
            pairs.images[:2],
            pairs.texts[:2],
            image_keys=["a", None],
            text_keys=["b", ""],
            image_space=SPACE,
            text_space=SPACE,
        )


def test_mixed_encoder_revisions_are_refused() -> None:
    """Vectors of two revisions have no common mean."""
    assert require_one_revision([SPACE, SPACE], modality=Modality.IMAGE) == SPACE
    with pytest.raises(SpacesMismatchError, match="images: embeddings of 2 encoder revisions; embed all"):
        require_one_revision([SPACE, OTHER_SPACE], modality=Modality.IMAGE)
    with pytest.raises(NotEnoughItemsError):
        require_one_revision([], modality=Modality.IMAGE)


def test_owners_must_be_rows_of_images(pairs: FitPairs) -> None:
    """An owner beyond the images, and one owner too few, are refused."""
    with pytest.raises(ShapeError, match="owners"):
        replace(pairs, owners=pairs.owners + 1)
    with pytest.raises(ShapeError, match="owners"):
        replace(pairs, owners=pairs.owners[:-1])
    with pytest.raises(ShapeError, match="images"):
        replace(pairs, images=pairs.images[0])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("heads", FitOptions(), "method: must be one of identity"),
        ("ridge", FitOptions(strength=0.5), "strength: ridge has none; shift"),
        ("center", FitOptions(dimension=4), "dimension: center has none; cca, spectral have"),
        ("cca", FitOptions(by_sigma=True), "by_sigma: cca has none; spectral has"),
        ("center", FitOptions(strength=1.5), "strength: must be from 0"),
        ("spectral", FitOptions(dimension=24), "dimension: must be from 1 to 23"),
        ("spectral", FitOptions(dimension=2, lift=-1.0), "lift: must be at least 0"),
        ("cca", FitOptions(dimension=25), "dimension: must be from 1 to 24"),
    ],
)
def test_options_out_of_bounds_are_refused(pairs: FitPairs, method: str, options: FitOptions, message: str) -> None:
    """An option that a method does not have is refused, never ignored."""
    with pytest.raises(OptionError, match=message):
        fit_artefact(method, pairs, label=LABEL, options=options)


def test_numbers_of_single_methods_are_bounded(pairs: FitPairs) -> None:
    """Penalty, ridge, batch and regularisation each have a least value."""
    for refused in (
        lambda: fit_ridge(pairs, penalty=0.0),
        lambda: fit_cca(pairs, ridge=0.0),
        lambda: fit_transport(pairs, batch_count=51),
        lambda: fit_transport(pairs, eta=-1.0),
        lambda: fit_procrustes(replace(pairs, text_space=OTHER_SPACE), strength=0.5),
    ):
        with pytest.raises(OptionError):
            refused()


@pytest.mark.parametrize("method", FITTED_METHODS)
def test_fitting_twice_gives_equal_bytes(pairs: FitPairs, method: str) -> None:
    """Same pairs, same seed: the same artefact, so the same revision."""
    options = FitOptions(dimension=10 if method in {"cca", "spectral"} else None, hubness=True)
    one, other = (fit_artefact(method, pairs, label=LABEL, options=options) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("method", FITTED_METHODS)
def test_a_flipped_bit_is_found(pairs: FitPairs, method: str) -> None:
    """One bit anywhere in either file: refused, never applied."""
    options = FitOptions(dimension=10 if method in {"cca", "spectral"} else None)
    manifest, tensors = fit_artefact(method, pairs, label=LABEL, options=options).to_bytes()
    rng = np.random.default_rng(0)
    for data, join in (
        (manifest, lambda damaged: (damaged, tensors)),
        (tensors, lambda damaged: (manifest, damaged)),
    ):
        for place in rng.integers(len(data), size=8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << int(rng.integers(8))
            with pytest.raises(ArtefactError):
                Artefact.from_bytes(*join(bytes(damaged)))
