"""Transformer layers whose linear maps have a largest singular value of 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear, normalize, scaled_dot_product_attention, silu

from ppi_train.models.packed import Packed


class SpectralLinear(nn.Module):
    """A linear map divided by its largest singular value.

    Spectral normalisation, Miyato et al. 2018.

    The value is tracked by power iteration, one step of which is `settle`, and not part of the forward
    pass: a pass that is recomputed for its gradient must use the same weights.

    Args:
        inputs, outputs: Widths.
    """

    left: Tensor
    right: Tensor
    _FIRST_TURNS = 15

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("left", normalize(torch.randn(outputs), dim=0))
        self.register_buffer("right", normalize(torch.randn(inputs), dim=0))
        for _ in range(self._FIRST_TURNS):
            self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Runs one step of power iteration."""
        self.right.copy_(normalize(self.weight.t() @ self.left, dim=0))
        self.left.copy_(normalize(self.weight @ self.right, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the map: (..., inputs) -> (..., outputs)."""
        value = self.left @ (self.weight @ self.right)
        return linear(x, self.weight / value, self.bias)


def settle(module: nn.Module) -> None:
    """Runs one step of power iteration in each trained spectral map."""
    for submodule in module.modules():
        if isinstance(submodule, SpectralLinear) and submodule.training:
            submodule.settle()


class EncoderLayer(nn.Module):
    """A transformer encoder layer with spectral normalisation.

    Attention among the rows of each item, then two maps for each row; normalised after each.

    Args:
        width: Width of a row, h.
        heads: Attention heads; must divide the width.
        inner: Width between the two maps.
        dropout: Share of activations dropped in training. Attention weights are not dropped: fused kernels
            on a CPU cannot, and a pair of 512 residues each would take 8 million draws.
    """

    def __init__(self, width: int, *, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (SpectralLinear(width, width) for _ in range(4))
        self.widen, self.narrow = SpectralLinear(width, inner), SpectralLinear(inner, width)
        self.norm_attention, self.norm_maps = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Packed) -> Packed:
        """Transforms rows (sum of the lengths, h) within each item."""
        rows = x.values
        rows = self.norm_attention(rows + self._dropped(self.out(self._attend(x))))
        inner = self._dropped(silu(self.widen(rows)))
        return Packed(self.norm_maps(rows + self._dropped(self.narrow(inner))), x.offsets)

    def _attend(self, x: Packed) -> Tensor:
        padded = [
            Packed(projection(x.values), x.offsets).padded()
            for projection in (self.query, self.key, self.value)
        ]
        own = padded[0][1]
        # (n, longest, h) -> (n, heads, longest, h / heads)
        query, key, value = (states.unflatten(2, (self.heads, -1)).transpose(1, 2) for states, _ in padded)
        mask = None if bool(own.all()) else own[:, None, None, :]
        seen = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return seen.transpose(1, 2).flatten(2)[own]

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)
