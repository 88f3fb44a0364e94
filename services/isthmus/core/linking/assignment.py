"""One-to-one links of the greatest total weight, in blocks of bounded size.

The links fall into connected components, which do not affect one another: each is an assignment problem of its own,
solved exactly by shortest augmenting paths on the sparse graph (Jonker and Volgenant 1987, LAPJVsp in SciPy). As many
links as possible are made, and of all such choices the one of the greatest total weight: on a complete graph that is
the Hungarian assignment.

A component of more items than a block may have is split by weight (ours): its heavier half of the links is assigned
first, in the same way, and then the rest among the items that are still free. What is certain is thus decided before
what is not. Each block takes at most (items x items) steps, and memory only for its links.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from isthmus.core.checkpoint import checkpoint

__all__ = ["BLOCK_ITEMS", "assign"]

BLOCK_ITEMS: Final = 8_192
"""Images and texts of a component that is solved as a whole."""


def assign(
    images: NDArray[np.intp],
    texts: NDArray[np.intp],
    weights: NDArray[np.float64],
    *,
    block_items: int = BLOCK_ITEMS,
) -> NDArray[np.intp]:
    """Choose links so that no image and no text is in two.

    Args:
        images: (e,) row of the image of each possible link.
        texts: (e,) row of its text; no link twice.
        weights: (e,) finite.
        block_items: Components of more items than this are split.

    Returns:
        Places of the chosen links, ascending.
    """
    chosen: list[NDArray[np.intp]] = []
    taken_images = np.zeros(int(images.max(initial=-1)) + 1, dtype=bool)
    taken_texts = np.zeros(int(texts.max(initial=-1)) + 1, dtype=bool)
    waiting = [np.arange(len(weights))]
    while waiting:
        links = waiting.pop()
        links = links[~(taken_images[images[links]] | taken_texts[texts[links]])]
        for block in _components(images, texts, links):
            checkpoint()
            items = len(np.unique(images[block])) + len(np.unique(texts[block]))
            if items <= block_items or len(block) == 1:
                found = block[_solved(images[block], texts[block], weights[block])]
                taken_images[images[found]] = True
                taken_texts[texts[found]] = True
                chosen.append(found)
            else:
                # A stack: the heavier half, pushed last, is done with before the lighter one is looked at again.
                order = block[np.argsort(weights[block], kind="stable")]
                waiting += [order[: len(order) // 2], order[len(order) // 2 :]]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.intp)


def _components(images: NDArray[np.intp], texts: NDArray[np.intp], links: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return the links of each connected component."""
    if not len(links):
        return []
    _, left = np.unique(images[links], return_inverse=True)
    _, right = np.unique(texts[links], return_inverse=True)
    left_count, count = int(left.max()) + 1, int(left.max() + right.max()) + 2
    graph = csr_array((np.ones(len(links)), (left, right + left_count)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    own = labels[left]
    order = np.argsort(own, kind="stable")
    return np.split(links[order], np.flatnonzero(np.diff(own[order])) + 1)


def _solved(images: NDArray[np.intp], texts: NDArray[np.intp], weights: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the places of the links of the best assignment of one block."""
    _, left = np.unique(images, return_inverse=True)
    _, right = np.unique(texts, return_inverse=True)
    rows, columns = int(left.max()) + 1, int(right.max()) + 1
    costs = weights.max() - weights + 1.0
    # Every image also has a place of its own to stay free, dearer than any rearrangement of links could be.
    free = (costs.max() + 1.0) * (min(rows, columns) + 1)
    graph = csr_array(
        (
            np.concatenate([costs, np.full(rows, free)]),
            (np.concatenate([left, np.arange(rows)]), np.concatenate([right, columns + np.arange(rows)])),
        ),
        shape=(rows, columns + rows),
    )
    matched_rows, matched_columns = min_weight_full_bipartite_matching(graph)
    partner = np.full(rows, -1)
    partner[matched_rows] = matched_columns
    return np.flatnonzero(partner[left] == right)
