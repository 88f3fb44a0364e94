"""Optimal transport: carry one modality onto the other by a plan that keeps neighbours together.

In mini-batches of images and texts a plan g between them is found that minimises

    <g, M> + eta * Omega(g),   g 1 = a,  g^T 1 = b,   M the squared Euclidean distances, a and b uniform,

Omega the Laplacian regularisation of Flamary et al. 2014 ("Optimal transport with Laplacian regularization"), by
conditional gradient (POT, `ot.da.emd_laplace`). Each moved row x_i then belongs at its barycentre T(x_i) = sum_j g_ij
y_j / sum_j g_ij, and any row x is carried by the displacements T(x_i) - x_i of its nearest fitted rows, weighted by how
much nearer they are than the next one: one neighbour alone carries its own noise (Ferradans et al. 2014 take one; the
smoothing is ours). Pairing is not used, and only one side moves: moving both fully would only swap them. (Role, Meyer
and Amblard 2025, arXiv:2505.03703, as told second-hand: a reconstruction.)

Tensors: `anchor` (n, d) and `displacement` (n, d), float16.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.artefact import TENSORS_MAX_BYTES, Artefact
from isthmus.core.aligners.base import Aligner, checked_rows, require_one_space, unit_rows
from isthmus.core.aligners.fitted import FitResult, checked_strength
from isthmus.core.aligners.pairs import FitPairs, require_pairs
from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import ArtefactError, OptionError
from isthmus.core.modality import Modality
from isthmus.core.pot import load_pot

__all__ = ["TRANSPORT_NEIGHBOURS", "TransportAligner", "TransportFit", "fit_transport", "transport_plan"]

TRANSPORT_NEIGHBOURS: Final = 50

_BATCH_DEFAULT: Final = 250
_ANCHORS_MAX: Final = 5_000
_ITERATIONS_MAX: Final = 20
_TOLERANCE: Final = 1e-6
_ETA: Final = 1.0
_ALPHA: Final = 0.5
_GRAPH_NEIGHBOURS: Final = 3
_BLOCK_ROWS: Final = 512
_WEIGHT_MIN: Final = 1e-12
_BYTES_KEPT_FREE: Final = 1 << 21
"""Of the artefact's limit, for its header and the samples of a hubness correction."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One mini-batch's plan."""

    coupling: NDArray[np.float64]
    """g, (n, m), at least 0."""
    iterations: int
    """Steps of the conditional gradient."""
    converged: bool
    """Whether it stopped because nothing improved."""

    @property
    def marginal_error(self) -> float:
        """Return the larger L1 distance of a marginal to the uniform one."""
        rows, columns = self.coupling.shape
        return max(
            float(np.abs(self.coupling.sum(axis=1) - 1.0 / rows).sum()),
            float(np.abs(self.coupling.sum(axis=0) - 1.0 / columns).sum()),
        )


@dataclass(frozen=True, kw_only=True)
class TransportFit(FitResult):
    """Where the moved rows were, where they are carried, and how well the plans were solved."""

    method: ClassVar[str] = "transport"
    anchor: NDArray[np.float64]
    """(n, d), fitted rows of the moved modality."""
    displacement: NDArray[np.float64]
    """(n, d)."""
    moved: Modality
    strength: float
    batch_count: int
    iterations: int
    """Most steps of a batch."""
    converged: bool
    """Whether every batch stopped because nothing improved."""
    marginal_error: float
    """Largest L1 distance of a plan's marginal to the uniform one."""

    @property
    def dimension(self) -> int:
        """Length of an aligned vector."""
        return int(self.anchor.shape[1])

    def tensors(self) -> Mapping[str, NDArray[np.float16]]:
        """Return anchors and displacements."""
        return {
            "anchor": self.anchor.astype(np.float16),
            "displacement": (self.strength * self.displacement).astype(np.float16),
        }

    def settings(self) -> dict[str, Any]:
        """Return what was moved and how the plans were solved."""
        return {
            "moved": self.moved.value,
            "strength": self.strength,
            "neighbours": TRANSPORT_NEIGHBOURS,
            "batches": self.batch_count,
            "iterations": self.iterations,
            "converged": self.converged,
            "marginal_error": self.marginal_error,
        }


class TransportAligner(Aligner):
    """x' = unit(x + sum_i w_i D_i) on the moved side, over the nearest 50 anchors; the other side stays as it is."""

    method: ClassVar[str] = "transport"

    def __init__(self, artefact: Artefact) -> None:
        super().__init__(artefact)
        require_one_space(self.image_space, self.text_space, method=self.method)
        shapes = {name: value.shape for name, value in self._tensors.items()}
        count = shapes.get("anchor", (0,))[0]
        if not count or shapes != dict.fromkeys(("anchor", "displacement"), (count, self.dimension)):
            msg = f"tensors: transport needs anchor and displacement of one shape and dimension {self.dimension}"
            raise ArtefactError(msg)
        try:
            self._moved = Modality(str(artefact.manifest.settings.get("moved")))
        except ValueError as error:
            msg = "manifest: settings.moved must be a modality"
            raise ArtefactError(msg) from error
        # float64: weights are differences of cosines, which rounding in float32 would swamp where all rows are alike.
        self._anchor = self._tensors["anchor"].astype(np.float64)
        self._displacement = self._tensors["displacement"].astype(np.float32)

    def raw_dimension(self, modality: Modality) -> int:  # noqa: ARG002 - the same for both
        """Return the dimension of the one raw space."""
        return self.dimension

    def align(self, x: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Carry the rows of `x`, (n, d) float32, when they are of the moved modality, and scale to unit length.

        Raises:
            ShapeError: `x` is not (n, d) with the dimension of the raw space.
        """
        rows = checked_rows(x, self.dimension)
        if modality is not self._moved:
            return unit_rows(rows, fallback=rows)
        moved = np.empty_like(rows)
        for start in range(0, len(rows), _BLOCK_ROWS):
            checkpoint()
            block = rows[start : start + _BLOCK_ROWS]
            moved[start : start + len(block)] = block + self._carry(block)
        return unit_rows(moved, fallback=rows)

    def _carry(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = rows @ self._anchor.T
        depth = min(TRANSPORT_NEIGHBOURS, scores.shape[1] - 1)
        if depth < 1:
            return np.broadcast_to(self._displacement[0], rows.shape)
        nearest = np.argpartition(-scores, depth, axis=1)[:, : depth + 1]
        found = np.take_along_axis(scores, nearest, axis=1)
        # The farthest of them weighs nothing, so a row near the edge of two neighbourhoods does not jump.
        weights = found - found.min(axis=1, keepdims=True) + _WEIGHT_MIN
        weights /= weights.sum(axis=1, keepdims=True)
        carried: NDArray[np.float32] = np.einsum(
            "nk,nkd->nd", weights.astype(np.float32), self._displacement[nearest], optimize=True
        )
        return carried


def fit_transport(
    pairs: FitPairs,
    *,
    moved: Modality = Modality.TEXT,
    strength: float = 1.0,
    batch_count: int = _BATCH_DEFAULT,
    eta: float = _ETA,
    seed: int = 0,
) -> TransportFit:
    """Find a plan for each mini-batch and the displacements that follow from it.

    Args:
        pairs: Of one raw space; at least 52. At most 5,000 rows a modality are used, chosen by the seed, fewer where
            the artefact would pass its limit.
        moved: The modality that is carried onto the other.
        strength: Share of the way, in [0, 1].
        batch_count: Rows a modality in a plan, at least 52: memory grows with its square, time faster.
        eta: Weight of the regularisation, at least 0.
        seed: Of the choice of rows and batches.

    Raises:
        SpacesMismatchError: The raw spaces are different.
        NotEnoughItemsError: There are too few pairs.
        OptionError: A number is out of bounds.
    """
    require_one_space(pairs.image_space, pairs.text_space, method=TransportFit.method)
    least = TRANSPORT_NEIGHBOURS + 2
    if batch_count < least or eta < 0.0:
        msg = f"transport: batch_count must be at least {least}, eta at least 0"
        raise OptionError(msg)
    checked_strength(strength)
    require_pairs(pairs, least, method=TransportFit.method, remedy="add pairs")
    rng = np.random.default_rng(seed)
    dimension = pairs.images.shape[1]
    room = (TENSORS_MAX_BYTES - _BYTES_KEPT_FREE) // (2 * 2 * dimension)
    count = min(len(pairs.images), len(pairs.texts), _ANCHORS_MAX, room)
    source, target = (
        pairs.vectors(modality)[rng.permutation(len(pairs.vectors(modality)))[:count]].astype(np.float64)
        for modality in (moved, moved.other)
    )
    displacement = np.empty_like(source)
    plans = []
    edges = np.linspace(0, count, max(1, round(count / batch_count)) + 1).astype(int)
    for start, stop in itertools.pairwise(edges):
        checkpoint()
        x, y = source[start:stop], target[start:stop]
        plan = transport_plan(x, y, eta=eta)
        mass = plan.coupling.sum(axis=1, keepdims=True)
        displacement[start:stop] = plan.coupling @ y / mass - x
        plans.append((plan.iterations, plan.converged, plan.marginal_error))
    return TransportFit(
        anchor=source,
        displacement=displacement,
        moved=moved,
        strength=strength,
        batch_count=len(plans),
        iterations=max(iterations for iterations, _, _ in plans),
        converged=all(converged for _, converged, _ in plans),
        marginal_error=max(error for _, _, error in plans),
    )


def transport_plan(x: NDArray[np.float64], y: NDArray[np.float64], *, eta: float = _ETA) -> Plan:
    """Return the Laplacian-regularised plan between two equally weighted sets of rows.

    Args:
        x: (n, d) float64; n at least 4.
        y: (m, d) float64; m at least 4.
        eta: Weight of the regularisation, at least 0.

    Numerics: the cost is divided by its mean, so that `eta` and the stopping rule mean the same at any scale.
    """
    ot = load_pot()
    cost = ot.dist(x, y, metric="sqeuclidean")
    scale = max(float(cost.mean()), np.finfo(np.float64).tiny)
    unit = scale**0.5
    smoothness = _Smoothness(x / unit, y / unit)
    coupling, log = ot.optim.cg(
        np.full(len(x), 1.0 / len(x)),
        np.full(len(y), 1.0 / len(y)),
        cost / scale,
        reg=eta,
        f=smoothness.value,
        df=smoothness.gradient,
        numItermax=_ITERATIONS_MAX,
        stopThr=_TOLERANCE,
        stopThr2=_TOLERANCE,
        log=True,
    )
    iterations = len(log["loss"]) - 1
    return Plan(coupling=np.asarray(coupling), iterations=iterations, converged=iterations < _ITERATIONS_MAX)


class _Smoothness:
    """Omega(g): how little neighbours are torn apart, as in POT's `ot.da.emd_laplace` with `reg="pos"`.

    Its own solver is the same conditional gradient, but nobody can give that up between two steps.

    Args:
        x: (n, d) float64.
        y: (m, d) float64.
    """

    def __init__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        self._x, self._y = x, y
        self._x_laplacian, self._y_laplacian = _laplacian(x), _laplacian(y)
        self._x_gram, self._y_gram = x @ x.T, y @ y.T

    def value(self, coupling: NDArray[np.float64]) -> float:
        """Return Omega(g)."""
        checkpoint()
        of_x = self._y.T @ coupling.T @ self._x_laplacian @ coupling @ self._y
        of_y = self._x.T @ coupling @ self._y_laplacian @ coupling.T @ self._x
        return float(_ALPHA * np.trace(of_x) + (1.0 - _ALPHA) * np.trace(of_y))

    def gradient(self, coupling: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return its gradient, (n, m)."""
        checkpoint()
        x_twice, y_twice = self._x_laplacian + self._x_laplacian.T, self._y_laplacian + self._y_laplacian.T
        gradient: NDArray[np.float64] = _ALPHA * (x_twice @ coupling @ self._y_gram)
        gradient += (1.0 - _ALPHA) * (self._x_gram @ coupling @ y_twice)
        return gradient


def _laplacian(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Laplacian of the graph that joins each row with its nearest three, (n, n)."""
    from sklearn.neighbors import kneighbors_graph  # noqa: PLC0415 - a second of import that no searcher needs

    graph = kneighbors_graph(rows, n_neighbors=_GRAPH_NEIGHBOURS).toarray()
    graph = (graph + graph.T) / 2.0
    laplacian: NDArray[np.float64] = np.diag(graph.sum(axis=0)) - graph
    return laplacian
