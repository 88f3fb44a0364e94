"""Closed-form CCA against SciPy's generalised eigenproblem."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from isthmus.training.cca import fit_cca
from tests.unit.training.conftest import MakeData


def test_the_maps_give_the_canonical_correlations(make_data: MakeData) -> None:
    """Second route: eigenvalues of Cxy (Cy + q)^-1 Cyx v = s^2 (Cx + r) v; projections correlate by s alone."""
    pairs = make_data(noise=0.8).pairs
    fitted = fit_cca(pairs.images, pairs.texts, owners=pairs.owners, dimension=6, image_ridge=1e-5, text_ridge=1e-5)
    x = (pairs.images - fitted.image_mean).astype(np.float64)
    y = (pairs.texts - fitted.text_mean).astype(np.float64)
    cx = x.T @ x / len(x) + 1e-5 * np.eye(40)
    cy = y.T @ y / len(y) + 1e-5 * np.eye(24)
    cxy = x[pairs.owners].T @ y / len(y)
    squared = scipy.linalg.eigh(cxy @ np.linalg.solve(cy, cxy.T), cx, eigvals_only=True)[::-1][:6]
    # Both maps carry the weight s, so their cross-covariance is diagonal with s^3.
    cross = fitted.image_weight.T.astype(np.float64) @ cxy @ fitted.text_weight.astype(np.float64)
    assert np.diag(cross) == pytest.approx(squared**1.5, abs=1e-5)
    assert np.abs(cross - np.diag(np.diag(cross))).max() < 1e-5


def test_a_constant_component_does_no_harm(make_data: MakeData) -> None:
    """The ridge keeps a singular covariance invertible."""
    pairs = make_data().pairs
    images = pairs.images.copy()
    images[:, 3] = 0.25
    fitted = fit_cca(images, pairs.texts, owners=pairs.owners, dimension=8)
    assert np.isfinite(fitted.image_weight).all()
