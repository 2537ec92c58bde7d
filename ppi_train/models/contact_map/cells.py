"""The cells of a map: what two residues have in common, and in what they differ, by channel.

Forward and backward go through blocks of cells that stay in the processor's cache. The differences of a
cell are computed in both and kept in neither: of a cell only its channels are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppi_train.models.device import product_dtype

BLOCK_CELLS = {"cpu": 4096}
"""Cells whose differences are in memory at once, by the type of the device: h numbers each."""
_BLOCK_ELSEWHERE = 65_536


class Cells(NamedTuple):
    """The channels of n maps' cells.

    Attributes:
        values: (n, c + 1, i, j), zero beyond a map's end. The last channel is one within the map.
        mean, variance: (c,) float32 of each channel, over the cells of all maps.
        n_cells: The number of these.
    """

    values: Tensor
    mean: Tensor
    variance: Tensor
    n_cells: int


class PairConvolution(nn.Module):
    """A 1x1 convolution over features of all residue pairs, and a rectifier.

    The features are |a - b| and a * b; their 2 h channels are never all in memory.

    Args:
        inputs: Width of a residue's state, h.
        channels: c.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        bound = (2 * inputs) ** -0.5
        self.difference = nn.Parameter(torch.empty(channels, inputs).uniform_(-bound, bound))
        self.product = nn.Parameter(torch.empty(channels, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, a_nih: Tensor, b_njh: Tensor, sizes: Sequence[tuple[int, int]]) -> Cells:
        """The cells of both sides' residues, whose maps are of these sizes."""
        kind = a_nih.device.type
        dtype = product_dtype(a_nih)
        states = a_nih.transpose(1, 2), b_njh.transpose(1, 2)
        given = (part.to(dtype) for part in (*states, self.difference, self.product, self.bias))
        with torch.autocast(kind, enabled=False):
            values, mean, variance = _Cells.apply(*(part.contiguous() for part in given), sizes)  # type: ignore[no-untyped-call]
        return Cells(values, mean, variance, sum(rows * columns for rows, columns in sizes))


class _Block(NamedTuple):
    """Rows of a map: the states of both sides, (h, r) and (h, j), and which of all cells they are."""

    a: Tensor
    b: Tensor
    map: int
    rows: slice
    columns: slice

    def of(self, maps: Tensor) -> Tensor:
        """The block's part (c, r, j) of all maps (n, more than c, i, j), without the last channel."""
        return maps[self.map, :-1, self.rows, self.columns]


def _blocks(a_nhi: Tensor, b_nhj: Tensor, sizes: Sequence[tuple[int, int]]) -> Iterator[_Block]:
    cells = BLOCK_CELLS.get(a_nhi.device.type, _BLOCK_ELSEWHERE)
    for number, (length, width) in enumerate(sizes):
        step, columns = max(1, cells // width), slice(width)
        for start in range(0, length, step):
            rows = slice(start, min(start + step, length))
            yield _Block(a_nhi[number, :, rows], b_nhj[number, :, columns], number, rows, columns)


class _Differences:
    """The differences (h, r, j) of a block's residues, in memory that is used again for the next block."""

    def __init__(self, like: Tensor) -> None:
        self._like, self._memory = like, like.new_empty(0)

    def of(self, block: _Block) -> Tensor:
        shape = (len(block.a), block.a.shape[1], block.b.shape[1])
        needed = shape[0] * shape[1] * shape[2]
        if needed > len(self._memory):
            self._memory = self._like.new_empty(needed)
        return torch.sub(block.a[:, :, None], block.b[:, None], out=self._memory[:needed].view(shape))


class _Cells(torch.autograd.Function):
    """relu(difference @ |a - b| + product @ (a * b) + bias), with the mean and variance of its channels.

    The second product is that of b with a's states, weighted for each channel: no cell needs a * b.
    """

    @staticmethod
    def forward(
        ctx: Any,
        a_nhi: Tensor,
        b_nhj: Tensor,
        difference_ch: Tensor,
        product_ch: Tensor,
        bias: Tensor,
        sizes: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        channels = len(bias)
        values = a_nhi.new_zeros(len(sizes), channels + 1, a_nhi.shape[2], b_nhj.shape[2])
        sums = torch.zeros(2, channels, dtype=torch.float64, device=a_nhi.device)
        differences = _Differences(a_nhi)
        wide = torch.promote_types(a_nhi.dtype, torch.float32)
        for block in _blocks(a_nhi, b_nhj, sizes):
            cells = torch.addmm(bias[:, None], difference_ch, differences.of(block).abs_().flatten(1))
            part = block.of(values)
            cells.view(-1, part.shape[2]).addmm_(_weighted(block, product_ch), block.b)
            part.copy_(cells.relu_().view(part.shape))
            values[block.map, -1, block.rows, block.columns] = 1
            cells = cells.to(wide)
            sums += torch.stack([cells.sum(dim=1), cells.square().sum(dim=1)])
        mean, squares = sums / sum(rows * columns for rows, columns in sizes)
        variance = (squares - mean.square()).clamp(min=0)
        mean, variance = mean.to(wide), variance.to(wide)
        ctx.save_for_backward(a_nhi, b_nhj, difference_ch, product_ch, values, mean)
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)
        return values, mean, variance

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> Any:
        of_values, of_mean, of_variance = given
        a_nhi, b_nhj, difference_ch, product_ch, values, mean = ctx.saved_tensors
        line = _line(mean, of_mean, of_variance, ctx.sizes)
        start, slope = (part.to(values.dtype)[:, None, None] for part in line)
        of_a, of_b, of_bias = torch.zeros_like(a_nhi), torch.zeros_like(b_nhj), torch.zeros_like(mean)
        of_difference, of_product = mean.new_zeros(2, *difference_ch.shape)
        differences = _Differences(a_nhi)
        with torch.autocast(values.device.type, enabled=False):
            for block in _blocks(a_nhi, b_nhj, ctx.sizes):
                cells = block.of(values)
                gradient = torch.addcmul(start, slope, cells)
                if of_values is not None:
                    gradient += block.of(of_values)
                gradient = torch.ops.aten.threshold_backward(gradient, cells, 0).flatten(1)
                of_bias += gradient.sum(dim=1)
                of_block_a, of_block_b = of_a[block.map, :, block.rows], of_b[block.map, :, block.columns]
                of_channels = gradient.view(-1, block.b.shape[1])
                of_weighted = (of_channels @ block.b.t()).view(len(product_ch), -1, len(block.a))
                of_product += (of_weighted * block.a.t()).sum(dim=1)
                of_block_a += (of_weighted * product_ch[:, None]).sum(dim=0).t()
                of_block_b.addmm_(_weighted(block, product_ch).t(), of_channels)
                apart = differences.of(block)
                signs = apart.sgn()
                of_difference += gradient @ apart.abs_().flatten(1).t()
                signs *= (difference_ch.t() @ gradient).view(signs.shape)
                of_block_a += signs.sum(dim=2)
                of_block_b -= signs.sum(dim=1)
        of_weights = (part.to(values.dtype) for part in (of_difference, of_product, of_bias))
        return of_a, of_b, *of_weights, None


def _weighted(block: _Block, product_ch: Tensor) -> Tensor:
    """The states of a, weighted for each channel: (c * r, h)."""
    return (product_ch[:, None] * block.a.t()).flatten(0, 1)


def _line(
    mean: Tensor, of_mean: Tensor | None, of_variance: Tensor | None, sizes: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """What mean and variance add to the gradient of a cell x: (start, slope) of start + slope * x."""
    count = sum(rows * columns for rows, columns in sizes)
    slope = torch.zeros_like(mean) if of_variance is None else 2 * of_variance / count
    start = -slope * mean
    return (start if of_mean is None else start + of_mean / count), slope
