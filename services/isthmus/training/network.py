"""The heads while they learn, in torch, and how they become the numpy heads that are served."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from numpy.typing import NDArray
from torch import nn

from isthmus.core.aligners.heads import Head
from isthmus.training.config import HeadsConfig

__all__ = ["TrainableHead"]


class TrainableHead(nn.Module):
    """A linear map with a one-layer perceptron beside it, on standardised inputs.

    The perceptron starts at zero, so that training starts from the linear map given.

    Args:
        mean: (d,) what inputs are centred by.
        scale: What they are divided by, above 0.
        weight: (d, k) linear map that the head starts from, for centred inputs.
        dropout: Share of input components that are dropped in training.
        config: Shape and training of the heads.
    """

    mean: torch.Tensor

    def __init__(
        self,
        *,
        mean: NDArray[np.float32],
        scale: float,
        weight: NDArray[np.float32],
        dropout: float,
        config: HeadsConfig,
    ) -> None:
        super().__init__()
        raw, aligned = weight.shape
        self.scale = scale
        self.noise = config.noise
        self.register_buffer("mean", torch.from_numpy(mean))
        self.input_dropout = nn.Dropout(dropout)
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.linear = nn.Linear(raw, aligned)
        self.hidden = nn.Linear(raw, config.hidden) if config.hidden else None
        self.output = nn.Linear(config.hidden, aligned, bias=False) if config.hidden else None
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight.T * scale))
            self.linear.bias.zero_()
            if self.output is not None:
                self.output.weight.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, d) raw embeddings to (n, k) unit rows."""
        x = (x - self.mean) / self.scale
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        x = self.input_dropout(x)
        y = self.linear(x)
        if self.hidden is not None and self.output is not None:
            y = y + self.output(self.hidden_dropout(F.gelu(self.hidden(x))))
        return F.normalize(y.float(), dim=1)

    def served(self) -> Head:
        """Return the head for raw inputs: mean and scale folded into its weights and biases."""
        mean = self.mean.double().numpy()
        weight, bias = _folded(self.linear, mean, self.scale)
        if self.hidden is None or self.output is None:
            return Head.linear(weight, bias)
        hidden_weight, hidden_bias = _folded(self.hidden, mean, self.scale)
        return Head(
            weight=weight,
            bias=bias,
            hidden_weight=hidden_weight,
            hidden_bias=hidden_bias,
            output_weight=self.output.weight.detach().numpy().astype(np.float32),
        )


def _folded(
    layer: nn.Linear, mean: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return W/s and b - W m / s, so that they do to x what the layer does to (x - m) / s."""
    weight = layer.weight.detach().double().numpy() / scale
    bias = layer.bias.detach().double().numpy() - weight @ mean
    return weight.astype(np.float32), bias.astype(np.float32)
