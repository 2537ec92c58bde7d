"""The layers of `contact_map`.

They lead from two proteins' residues to a map of cells, and from a map to one number.

Shapes: n pairs, padded to i residues of a and j of b, c channels, d numbers of a residue.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, max_pool2d

from ppi_train.models.residue_model import recomputed

_BLOCK_CELLS = 65_536
"""Cells whose differences are in memory at once: d floats each."""


class PairConvolution(nn.Module):
    """A 1x1 convolution over features of all residue pairs.

    The features are |a - b| and a * b; their 2 d channels are never all in memory.

    Args:
        inputs: Width of a residue's state, d.
        channels: c.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        bound = (2 * inputs) ** -0.5
        self.difference = nn.Parameter(torch.empty(channels, inputs).uniform_(-bound, bound))
        self.product = nn.Parameter(torch.empty(channels, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, a_nid: Tensor, b_njd: Tensor) -> Tensor:
        """Residues of both sides -> cells (n, c, i, j)."""
        n, rows, _ = a_nid.shape
        # sum over d of w_cd a_id b_jd is a matrix product with b for each channel's weighted a.
        weighted = (a_nid[:, None] * self.product[:, None]).flatten(1, 2)
        products = (weighted @ b_njd.transpose(1, 2)).view(n, -1, rows, b_njd.shape[1])
        step = max(1, _BLOCK_CELLS // (n * b_njd.shape[1]))
        a_ndi, b_ndj = a_nid.transpose(1, 2).contiguous(), b_njd.transpose(1, 2).contiguous()
        differences: list[Tensor] = [
            recomputed(self._differences, a_ndi[:, :, start : start + step], b_ndj)
            for start in range(0, rows, step)
        ]
        cells: Tensor = products + torch.cat(differences, dim=2)
        return cells + self.bias[:, None, None]

    def _differences(self, a_ndi: Tensor, b_ndj: Tensor) -> Tensor:
        cells = (a_ndi[:, :, :, None] - b_ndj[:, :, None]).abs().flatten(2)
        convolved: Tensor = self.difference @ cells
        return convolved.view(*convolved.shape[:2], a_ndi.shape[2], -1)


class MapNorm(nn.Module):
    """Batch normalisation of maps (n, c, i, j) that ignores padding.

    In training it uses the statistics of the current maps and returns them, for `follow`: a forward pass
    that is recomputed for its gradient must not change any state. A single cell has no deviation; for it,
    and in evaluation, the running statistics are used.
    """

    running_mean: Tensor
    running_variance: Tensor
    _MOMENTUM, _EPSILON = 0.1, 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))

    def forward(self, x: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Normalised maps, and the mean and variance (2, c) used.

        Args:
            x: (n, c, i, j).
            own: (n, 1, i, j), 1 within a map and 0 beyond; None: no padding.
        """
        mean, variance = self._statistics(x, own)
        scale = self.weight * (variance + self._EPSILON).rsqrt()
        shift = self.bias - mean * scale
        return x * scale[:, None, None] + shift[:, None, None], torch.stack([mean, variance]).detach()

    def _statistics(self, x: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        count = x[:, 0].numel() if own is None else int(own.sum())
        if not self.training or count < 2:
            return self.running_mean, self.running_variance
        if own is None:
            variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
            return mean, variance
        mean = (x * own).sum(dim=(0, 2, 3), dtype=torch.float32) / count
        deviation = (x - mean[:, None, None]) * own
        return mean, deviation.square().sum(dim=(0, 2, 3), dtype=torch.float32) / count

    @torch.no_grad()
    def follow(self, statistics: Tensor) -> None:
        """Moves the running mean and variance towards those of a training batch."""
        for running, seen in zip((self.running_mean, self.running_variance), statistics, strict=True):
            running.lerp_(seen, self._MOMENTUM)


class SymmetricConvolution(nn.Module):
    """A convolution to one channel, equal for a map and its transpose.

    Args:
        channels: c.
        width: Odd.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        bound = (channels * width**2) ** -0.5
        self.weight = nn.Parameter(torch.empty(1, channels, width, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(1).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, c, i, j) -> (n, 1, i, j).

        The input must be zero beyond a map's end.
        """
        kernel = ((self.weight + self.weight.transpose(2, 3)) / 2).flip(2, 3)
        # Each cell's contributions to its neighbours, summed: with one output channel, the matrix product is
        # all of the arithmetic, and its forward and backward are several times faster than `conv2d` on a CPU.
        given = kernel[0].flatten(1).t() @ x.flatten(2)
        width = kernel.shape[-1]
        return fold(given, x.shape[2:], width, padding=width // 2) + self.bias


class AboveMeanPool(nn.Module):
    """Pools a contact map to the mean of its cells above average.

    Cells count less towards the ends of the proteins, by a bell of learned width and depth; then each
    square of `pool_width` becomes its largest cell; of what is left, how far the cells above the mean
    (plus a learned multiple of the variance) are above it, on average.

    Args:
        pool_width: Odd; 1 leaves out the squares.
    """

    def __init__(self, pool_width: int) -> None:
        super().__init__()
        self.pool_width = pool_width
        # The authors start at 1 and 0, where both derivatives are zero and the bell is never learned.
        self.floor = nn.Parameter(torch.tensor(0.9))
        self.narrowness = nn.Parameter(torch.tensor(0.1))
        self.variances = nn.Parameter(torch.tensor(0.0))

    def forward(self, contacts_nij: Tensor, lengths_a: Tensor, lengths_b: Tensor) -> Tensor:
        """Pools maps to numbers (n,).

        The maps are zero in their padding; the lengths of their sides, (n,), are on the same device.
        """
        rows, columns = contacts_nij.shape[1:]
        floor = self.floor.clamp(0, 1)
        bells = self._bell(lengths_a, rows)[:, :, None] * self._bell(lengths_b, columns)[:, None]
        weighted = contacts_nij * ((1 - floor) * bells + floor)
        if self.pool_width > 1:
            weighted = max_pool2d(weighted, self.pool_width, padding=self.pool_width // 2)
            # The number of squares must not depend on how long other proteins of the batch are.
            lengths_a, lengths_b = (
                (lengths - 1) // self.pool_width + 1 for lengths in (lengths_a, lengths_b)
            )
        own = within(lengths_a, weighted.shape[1], lengths_b, weighted.shape[2])
        return self._above_mean(weighted, own, (lengths_a * lengths_b).float())

    def _bell(self, lengths: Tensor, longest: int) -> Tensor:
        middle = (lengths[:, None] + 1) / 2
        place = torch.arange(1, longest + 1, device=lengths.device)
        return torch.exp(-self.narrowness.clamp(min=0) * ((place - middle) / middle) ** 2)

    def _above_mean(self, x: Tensor, own: Tensor, count: Tensor) -> Tensor:
        x = x.float() * own
        mean = x.sum(dim=(1, 2)) / count
        variance = ((x - mean[:, None, None]) * own).square().sum(dim=(1, 2)) / count
        level = mean + self.variances.clamp(min=0) * variance
        above = (x - level[:, None, None]).relu() * own
        pooled = above.sum(dim=(1, 2)) / ((above > 0).sum(dim=(1, 2)) + 1)
        # A single cell is never above its mean; its own value is the result.
        return torch.where(count == 1, mean, pooled)


def within(lengths_a: Tensor, rows: int, lengths_b: Tensor, columns: int) -> Tensor:
    """A mask (n, rows, columns) of the cells that are not padding.

    1 in the cells of each map, 0 in its padding.
    """
    a, b = (
        torch.arange(longest, device=lengths.device) < lengths[:, None]
        for lengths, longest in ((lengths_a, rows), (lengths_b, columns))
    )
    return (a[:, :, None] & b[:, None]).float()
