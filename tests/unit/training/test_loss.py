"""The contrastive loss against a loop, and its treatment of siblings."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from isthmus.training.loss import symmetric_info_nce


def unit_rows(count: int, seed: int) -> torch.Tensor:
    """Return random unit rows."""
    return F.normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def test_the_loss_is_the_formula() -> None:
    """Second route: plain loops over both directions, with siblings left out of the sums."""
    x, y = unit_rows(6, 1), unit_rows(6, 2)
    codes = [0, 1, 1, 2, 3, 3]
    total = 0.0
    for i in range(6):
        others = [j for j in range(6) if j == i or codes[j] != codes[i]]
        positive = float(x[i] @ y[i]) / 0.2
        total += math.log(sum(math.exp(float(x[i] @ y[j]) / 0.2) for j in others)) - positive
        total += math.log(sum(math.exp(float(x[j] @ y[i]) / 0.2) for j in others)) - positive
    found = symmetric_info_nce(x, y, codes=torch.tensor(codes), temperature=0.2)
    assert np.isclose(float(found), total / 12)


def test_a_batch_of_one_thing_has_no_loss() -> None:
    """Captions of one photo are no negatives of one another: nothing is left to tell apart."""
    loss = symmetric_info_nce(unit_rows(4, 1), unit_rows(4, 2), codes=torch.zeros(4), temperature=0.1)
    assert float(loss) == 0.0


def test_the_loss_falls_as_pairs_agree() -> None:
    """Perfect pairs lose least, permuted ones most."""
    x = unit_rows(8, 3)
    codes = torch.arange(8)
    perfect = symmetric_info_nce(x, x, codes=codes, temperature=0.1)
    permuted = symmetric_info_nce(x, x.roll(1, 0), codes=codes, temperature=0.1)
    assert float(perfect) < float(permuted)


def test_gradients_reach_both_towers_and_are_finite() -> None:
    """Masked entries give no NaN on the way back."""
    x, y = unit_rows(5, 1).requires_grad_(), unit_rows(5, 2).requires_grad_()
    symmetric_info_nce(x, y, codes=torch.tensor([0, 0, 1, 2, 2]), temperature=0.1).backward()  # type: ignore[no-untyped-call]
    for tensor in (x, y):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().sum() > 0
