"""Fixed statistics of a protein's residues, independent of training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ppi_train.models.packed import Packed
from ppi_train.models.v3.attention_pool import Scratch

END = 50
"""Number of residues at each end that get a mean of their own."""
N_MOMENTS = 5
COMPONENTS = 48
"""Number of leading principal components of the residues, whose covariances are used."""
LAG = 4
"""Distance in residues of the lagged covariance: about a turn of a helix."""
_EVERY = 8
"""The components are fitted on every 8th residue."""


class ResidueStatistics(nn.Module):
    """Residue moments, and lagged covariances of the leading components.

    The covariances are those of the components with themselves `LAG` residues on.

    The moments describe a protein's composition, the covariances its order and variation along the chain.

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
        """Fits the leading principal components of standardised residues, each of deviation 1."""
        count, total, products = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        origin: Tensor | None = None
        for chunk in proteins:
            values = chunk.values[::_EVERY].float()
            # Relative to a point among them: far from zero, rounding the squares would hide the differences.
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
        sizes, axes = (tensor[..., -self.components.shape[1] :] for tensor in (sizes, axes))
        axes = axes * torch.where(sizes > 1e-6, sizes.rsqrt(), 0.0)
        self.centre.copy_(origin + mean.to(origin))
        self.components.copy_(scale[:, None] * axes)

    @torch.no_grad()
    def forward(self, proteins: Packed) -> Tensor:
        """Statistics (n, count) float32: the moments, then the covariances."""
        found = proteins.values.new_empty(len(proteins), self.count, dtype=torch.float32)
        shift = self.centre @ self.components
        with torch.autocast(found.device.type, enabled=False):
            for row, residues in zip(found, Scratch(proteins), strict=True):
                row[self.n_moments :] = lagged_covariances(residues @ self.components - shift).flatten()
                _write_moments(residues, row[: self.n_moments].view(N_MOMENTS, -1))
        return found

    def of_residues(self, residues: Tensor) -> Tensor:
        """Statistics (count,) of one protein (l, d), differentiable in its residues."""
        mean = residues.mean(dim=0)
        # Not at zero, where the square root has no derivative.
        deviation = ((residues - mean).square().mean(dim=0) + 1e-12).sqrt()
        ends = residues[:END].mean(dim=0), residues[-END:].mean(dim=0)
        covariances = lagged_covariances((residues - self.centre) @ self.components)
        return torch.cat([mean, residues.amax(dim=0), deviation, *ends, covariances.flatten()])


def lagged_covariances(components: Tensor) -> Tensor:
    """Lagged covariances (p, p) of components (l, p).

    Zero for a short protein.
    """
    centred = components - components.mean(dim=0)
    if len(centred) <= 2 * LAG:
        return centred.new_zeros(centred.shape[1], centred.shape[1])
    return centred[:-LAG].t() @ centred[LAG:] / len(centred)


def _write_moments(residues: Tensor, found: Tensor) -> None:
    """Writes mean, maximum, deviation and both ends' means, (5, d).

    This overwrites the residues.
    """
    torch.mean(residues, dim=0, out=found[0])
    torch.amax(residues, dim=0, out=found[1])
    torch.mean(residues[:END], dim=0, out=found[3])
    torch.mean(residues[-END:], dim=0, out=found[4])
    # Many times faster than `torch.std`; last, since it overwrites the residues.
    torch.mean(residues.sub_(found[0]).square_(), dim=0, out=found[2])
    found[2].sqrt_()
