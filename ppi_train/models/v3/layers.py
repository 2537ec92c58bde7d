"""The layers of v3.

Fixed statistics of a protein's residues, independent of training.

Similarity of two proteins as separate evidence for their interaction.

Transformer layers whose linear maps have a largest singular value of 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    linear,
    normalize,
    scaled_dot_product_attention,
    silu,
)

from ppi_train.models.base import Packed
from ppi_train.models.dropout import dropout
from ppi_train.models.trained_state import TrainedState
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


_FIRST_WEIGHT = 0.3
_SHIFTS = (1, 2, 3, 5, 8)
_AT_ONCE = 64


class SimilarityExpert(nn.Module):
    """A logit from the cosine of two proteins' fixed features.

    The cosine is in units of its deviation over unrelated proteins.

    It has two parameters, and a loss of its own, as the members of an ensemble have: trained together with
    networks that have memorised the training proteins, it would learn to contribute nothing.

    Args:
        inputs: Features of a protein, s.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.weight = nn.Parameter(torch.tensor(_FIRST_WEIGHT))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(0.0))

    def fit(self, features: Tensor) -> None:
        """Fits the cosine's mean and deviation on shuffled pairs of proteins.

        The features are (n, s).
        """
        sketch = self.sketch(features)
        cosines = torch.cat([(sketch * sketch.roll(shift, dims=0)).sum(dim=1) for shift in _SHIFTS])
        deviation = cosines.std(correction=0)
        self.mean.copy_(cosines.mean())
        # Without any variation of the cosine the evidence is zero.
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation, 0.0))

    def sketch(self, features: Tensor) -> Tensor:
        """Normalised features (n, s), by which pairs are compared."""
        return normalize(features, dim=1)

    def forward(self, sketch_a: Tensor, sketch_b: Tensor) -> Tensor:
        """Evidence (m,) that is added to the logits of m pairs."""
        return self._evidence((sketch_a * sketch_b).sum(dim=1))

    def block(self, sketches_a: Tensor, sketches_b: Tensor) -> Tensor:
        """Evidence (n, m) of all n x m pairs."""
        return self._evidence(sketches_a @ sketches_b.t())

    def losses(self, sketch: Tensor, pairs: Tensor, targets: Tensor) -> Tensor:
        """The expert's own cross entropies (m,) of pairs (m, 2).

        The pairs are rows of a sketch (n, s).

        The bias is used in this loss only: the evidence added to the logits must not encode the share of
        positives, which the networks have learned.
        """
        cosines = _cosines(sketch.detach(), pairs)
        logits = self._evidence(cosines) + self.bias
        return binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def _evidence(self, cosines: Tensor) -> Tensor:
        return self.weight * self.scale * (cosines - self.mean)


def _cosines(sketch: Tensor, pairs: Tensor) -> Tensor:
    """Cosines (m,) of pairs (m, 2), a few at a time in memory that stays in the processor's cache."""
    cosines = sketch.new_empty(len(pairs))
    a, b = (sketch.new_empty(min(_AT_ONCE, len(pairs)), sketch.shape[1]) for _ in range(2))
    for found, few in zip(cosines.split(_AT_ONCE), pairs.split(_AT_ONCE), strict=True):
        # Not `sketch[few]`, which takes several times as long.
        for side, rows in zip((a, b), few.unbind(1), strict=True):
            torch.index_select(sketch, 0, rows, out=side[: len(few)])
        torch.sum(a[: len(few)].mul_(b[: len(few)]), dim=1, out=found)
    return cosines


class SpectralLinear(TrainedState):
    """A linear map divided by its largest singular value.

    Spectral normalisation, Miyato et al. 2018.

    The value is tracked by power iteration, one step of which follows each optimiser step and is not part of
    the forward pass: a pass that is recomputed for its gradient must use the same weights.

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

    def after_step(self) -> None:
        if self.training:  # a frozen encoder is not
            self.settle()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the map: (..., inputs) -> (..., outputs)."""
        value = self.left @ (self.weight @ self.right)
        return linear(x, self.weight / value, self.bias)


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
