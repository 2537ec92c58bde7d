"""Fixed numbers of a protein's residues: what a model can know of it before it has learned anything."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ppi_train.models.attention_pool import Scratch
from ppi_train.models.packed import Packed

END = 50
"""Residues of either end with a mean of their own."""
N_MOMENTS = 5
COMPONENTS = 48
"""Leading components of the residues, of which the covariances are taken."""
LAG = 4
"""Residues between the two that covary: about a turn of a helix."""
_EVERY = 8
"""One residue in so many tells the components."""


class ResidueStatistics(nn.Module):
    """Moments of each number, and covariances of the leading components with themselves `LAG` residues on.

    The moments tell what a protein is made of, the covariances in what order and how it varies along the
    chain.

    Args:
        input_dim: Numbers of a residue, d.
    """

    centre: Tensor
    components: Tensor

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.n_moments = N_MOMENTS * input_dim
        width = min(COMPONENTS, input_dim)
        self.count = self.n_moments + width**2
        self.register_buffer("centre", torch.zeros(input_dim))
        self.register_buffer("components", torch.zeros(input_dim, width))

    @torch.no_grad()
    def fit(self, proteins: Iterable[Packed]) -> None:
        """Takes the leading principal components of standardised residues, each of deviation 1."""
        count, total, products = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        origin: Tensor | None = None
        for some in proteins:
            values = some.values[::_EVERY].float()
            # From a point among them, since sums of squares far from zero would lose the differences.
            origin = values.mean(dim=0) if origin is None else origin
            values = values - origin
            count += len(values)
            total = total + values.sum(dim=0).double()
            products = products + (values.t() @ values).double()
        assert origin is not None
        mean = total / count
        covariance = products / count - mean.outer(mean)
        deviation = covariance.diag().clamp(min=0).sqrt()
        scale = torch.where(deviation > 1e-8, 1 / deviation, 0.0)
        sizes, axes = torch.linalg.eigh(covariance * scale.outer(scale))
        sizes, axes = (one[..., -self.components.shape[1] :] for one in (sizes, axes))
        axes = axes * torch.where(sizes > 1e-6, sizes.rsqrt(), 0.0)
        self.centre.copy_(origin + mean.to(origin))
        self.components.copy_(scale[:, None] * axes)

    @torch.no_grad()
    def forward(self, proteins: Packed) -> Tensor:
        """(n, count) float32: first the moments, then the covariances."""
        found = proteins.values.new_empty(len(proteins), self.count, dtype=torch.float32)
        shift = self.centre @ self.components
        with torch.autocast(found.device.type, enabled=False):
            for row, residues in zip(found, Scratch(proteins), strict=True):
                row[self.n_moments :] = lagged_covariances(residues @ self.components - shift).flatten()
                _write_moments(residues, row[: self.n_moments].view(N_MOMENTS, -1))
        return found

    def of_residues(self, residues: Tensor) -> Tensor:
        """The same (count,) of one protein (l, d), by operations that have a gradient for its residues."""
        mean = residues.mean(dim=0)
        # Not from zero, where the root has no slope.
        deviation = ((residues - mean).square().mean(dim=0) + 1e-12).sqrt()
        ends = residues[:END].mean(dim=0), residues[-END:].mean(dim=0)
        covariances = lagged_covariances((residues - self.centre) @ self.components)
        return torch.cat([mean, residues.amax(dim=0), deviation, *ends, covariances.flatten()])


def lagged_covariances(components: Tensor) -> Tensor:
    """The covariances (p, p) of components (l, p) with those `LAG` residues on; zero for a short protein."""
    centred = components - components.mean(dim=0)
    if len(centred) <= 2 * LAG:
        return centred.new_zeros(centred.shape[1], centred.shape[1])
    return centred[:-LAG].t() @ centred[LAG:] / len(centred)


def _write_moments(residues: Tensor, found: Tensor) -> None:
    """Mean, maximum, deviation, and the means of both ends, (5, d); the residues are lost by it."""
    torch.mean(residues, dim=0, out=found[0])
    torch.amax(residues, dim=0, out=found[1])
    torch.mean(residues[:END], dim=0, out=found[3])
    torch.mean(residues[-END:], dim=0, out=found[4])
    # Many times faster than `torch.std`; last, since it overwrites the residues.
    torch.mean(residues.sub_(found[0]).square_(), dim=0, out=found[2])
    found[2].sqrt_()
