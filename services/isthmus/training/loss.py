"""Symmetric InfoNCE with several captions a photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

__all__ = ["symmetric_info_nce"]


def symmetric_info_nce(
    images: torch.Tensor, texts: torch.Tensor, *, codes: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the mean of the image-to-text and the text-to-image contrastive loss of a batch of pairs.

        L = 1/2 mean_i [ -log softmax_j(x_i y_j / t)_i - log softmax_j(x_j y_i / t)_i ]

    (InfoNCE, van den Oord et al. 2018, eq. 4, in the symmetric form of CLIP, Radford et al. 2021, figure 3.) Pairs of
    one code describe the same thing: they are no negatives of one another and are left out of each other's sums.

    Args:
        images: (n, k), rows unit-norm.
        texts: (n, k), rows unit-norm; row i belongs to image i.
        codes: (n,) integers; equal codes are the same thing.
        temperature: t, above 0.
    """
    scores = images @ texts.T / temperature
    siblings = codes[:, None] == codes[None, :]
    siblings.fill_diagonal_(fill_value=False)
    scores = scores.masked_fill(siblings, float("-inf"))
    labels = torch.arange(len(scores))
    return 0.5 * (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels))
