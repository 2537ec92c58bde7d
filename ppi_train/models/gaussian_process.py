"""A Gaussian process as output layer, for distance-aware uncertainty.

After Liu et al. 2020 ("Simple and principled uncertainty estimation with deterministic deep learning via
distance awareness", SNGP): random Fourier features approximate the kernel, a linear map of these is the
mean, and Laplace's approximation gives the covariance of its weights.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn


class FeaturePosterior(nn.Module):
    """Distance of an input from the training data, as a deviation.

    It is the posterior deviation of a logit linear in random features.

    The precision of the weights is the sum over an epoch of p (1 - p) f f^T, with f the features of a
    training pair and p its probability at that time. The first step of the next epoch resets it.
    It is part of the weights, so that a run resumed in the middle of an epoch gives the same result.

    Args:
        inputs: Width of the input, h.
        features: Number of random features; more approximate the kernel better.
        length_scale: Distance over which the kernel falls to exp(-1/2).
        ridge: Precision of the weights before any data.
    """

    frequencies: Tensor
    phases: Tensor
    precision: Tensor
    whole: Tensor

    def __init__(self, inputs: int, *, features: int, length_scale: float, ridge: float = 1.0) -> None:
        super().__init__()
        self.ridge = ridge
        self.register_buffer("frequencies", torch.randn(inputs, features) / length_scale)
        self.register_buffer("phases", torch.rand(features) * 2 * math.pi)
        self.register_buffer("precision", torch.zeros(features, features))
        # Whether the precision covers a whole epoch; the next training step then resets it.
        self.register_buffer("whole", torch.tensor(False))

    def train(self, mode: bool = True) -> Self:
        if self.training and not mode:
            self.whole.fill_(True)
        return super().train(mode)

    def features(self, x: Tensor) -> Tensor:
        """Random features (m, f), float32, of inputs (m, h).

        Their length is 1 on average.
        """
        with torch.autocast(x.device.type, enabled=False):
            return torch.cos(x.float() @ self.frequencies + self.phases) * math.sqrt(2 / len(self.phases))

    @torch.no_grad()
    def learn(self, features: Tensor, logits: Tensor) -> None:
        """Adds a training batch's pairs to the precision."""
        if self.whole:
            self.precision.zero_()
            self.whole.fill_(False)
        probabilities = torch.sigmoid(logits)
        seen = features * (probabilities * (1 - probabilities)).sqrt()[:, None]
        with torch.autocast(features.device.type, enabled=False):
            self.precision.addmm_(seen.t(), seen)

    @torch.no_grad()
    def deviation(self, features: Tensor) -> Tensor:
        """The standard deviation (m,) of the logits of random features (m, f)."""
        before = self.ridge * torch.eye(len(self.precision), dtype=torch.float64, device=features.device)
        lower: Tensor = torch.linalg.cholesky(self.precision.double() + before)
        # f^T (L L^T)^-1 f is the squared length of L^-1 f.
        spread: Tensor = torch.linalg.solve_triangular(lower, features.double().t(), upper=False)
        return spread.square().sum(dim=0).sqrt().float()


class GaussianOutput(FeaturePosterior):
    """Logits and their deviations.

    The arguments are those of `FeaturePosterior`.
    """

    def __init__(self, inputs: int, *, features: int, length_scale: float, ridge: float = 1.0) -> None:
        super().__init__(inputs, features=features, length_scale=length_scale, ridge=ridge)
        self.weight = nn.Parameter(torch.zeros(features, 1))

    def mean(self, features: Tensor) -> Tensor:
        """Logits (m,) of random features (m, f)."""
        with torch.autocast(features.device.type, enabled=False):
            return (features @ self.weight).squeeze(1)
