"""Parts of models that give an uncertainty: ensembles and Gaussian processes.

The members of an ensemble are small networks that are computed in one pass. Each is initialised, regularised
and trained independently, so that their mean is more accurate than each, and their spread measures the
uncertainty (Lakshminarayanan et al. 2017, deep ensembles).

The Gaussian process is an output layer, for distance-aware uncertainty. After Liu et al. 2020 ("Simple and
principled uncertainty estimation with deterministic deep learning via distance awareness", SNGP): random
Fourier features approximate the kernel, a linear map of these is the mean, and Laplace's approximation gives
the covariance of its weights.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from ppi_train.models.device import product_dtype
from ppi_train.models.dropout import dropout, product_without
from ppi_train.models.trained_state import TrainedState


class FeaturePosterior(TrainedState):
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
    def observe(self, features: Tensor, logits: Tensor) -> None:
        """Adds a training batch's pairs to the precision."""
        probabilities = torch.sigmoid(logits)
        self.see(features * (probabilities * (1 - probabilities)).sqrt()[:, None])

    @torch.no_grad()
    def learn(self, seen: Tensor) -> None:
        """Adds weighted features (m, f) to the precision."""
        if self.whole:
            self.precision.zero_()
            self.whole.fill_(False)
        seen = seen.to(self.precision.device)
        with torch.autocast(seen.device.type, enabled=False):
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


class MemberLinear(nn.Module):
    """A linear map for each of k members.

    Args:
        members: k.
        inputs, outputs: Widths of one member's map.
    """

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.members = members
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        # Flat, as vectors are neither decayed nor shrunk.
        self.bias = nn.Parameter(torch.empty(members * outputs).uniform_(-bound, bound))

    def forward(self, x_kni: Tensor) -> Tensor:
        """(k, n, inputs) -> (k, n, outputs)."""
        return torch.baddbmm(self.bias.view(self.members, 1, -1), x_kni, self.weight)


class MemberEncoder(nn.Module):
    """Encodes protein features into one normalised state per member.

    Args:
        inputs: Numbers of a protein, d.
        members: k.
        hidden_dim: Width of a member's state, h.
        num_layers: Hidden layers.
        dropout: Share of activations dropped in training.
        input_dropout: Share of the inputs that a member does not see in a training batch.
    """

    def __init__(
        self,
        inputs: int,
        *,
        members: int,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
        input_dropout: float,
    ) -> None:
        super().__init__()
        self.members, self.hidden_dim = members, hidden_dim
        self.dropout, self.input_dropout = dropout, input_dropout
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(inputs, members * hidden_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members * hidden_dim).uniform_(-bound, bound))
        self.layers = nn.ModuleList(
            MemberLinear(members, hidden_dim, hidden_dim) for _ in range(num_layers - 1)
        )
        self.gain = nn.Parameter(torch.ones(members * hidden_dim))
        self.shift = nn.Parameter(torch.zeros(members * hidden_dim))

    def forward(self, features: Tensor, more: Tensor | None = None) -> Tensor:
        """Computes the members' states.

        Args:
            features: (n, d).
            more: (n, k * h), further inputs of the first layer, already weighted.

        Returns:
            (n, k * h), the members' states concatenated.
        """
        first = self._first(features, self.bias if more is None else self.bias + more)
        states = dropout(gelu(first), self.dropout, self.training)
        for layer in self.layers:
            members = layer(states.view(len(features), self.members, -1).transpose(0, 1))
            states = dropout(gelu(members), self.dropout, self.training).transpose(0, 1).flatten(1)
        normal = layer_norm(states.view(-1, self.hidden_dim), (self.hidden_dim,)).view_as(states)
        return normal * self.gain + self.shift

    def _first(self, features: Tensor, more: Tensor) -> Tensor:
        """The first map (n, k * h) of features (n, d), in training without the dropped inputs.

        One mask per member for a whole batch: as good as one per protein, a thousand times fewer draws, and
        what is dropped need not be multiplied.
        """
        if not (self.training and self.input_dropout):
            return torch.addmm(more, features, self.weight)
        draws = torch.rand(len(self.weight), self.members, device=self.weight.device)
        x_dn = features.t().to(product_dtype(features), memory_format=torch.contiguous_format)
        return product_without(
            x_dn.expand(self.members, -1, -1),
            self.weight.view(len(self.weight), self.members, -1).transpose(0, 1),
            (draws < self.input_dropout).t(),
            self.input_dropout,
        ).add_(more)
