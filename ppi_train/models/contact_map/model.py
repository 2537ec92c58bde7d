"""The layers of `contact_map`.

They lead from two proteins' residues to a map of cells, and from a map to one number.

Shapes: n pairs, padded to i residues of a and j of b, c channels, d numbers of a residue.

`contact_map`: predicts residue contacts, and from them whether two proteins interact.

The architecture of D-SCRIPT (Sledzieski et al. 2021, "D-SCRIPT translates genome to phenome with
sequence-based, structure-aware, genome-scale predictions of protein-protein interactions"), built from its
description; docs/design/models.md says what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, fold, max_pool2d, relu

from ppi_train.models.base import Packed
from ppi_train.models.contact_map.cells import Cells, PairConvolution
from ppi_train.models.dropout import dropout
from ppi_train.models.ensemble import FeaturePosterior
from ppi_train.models.residue_model import Chosen, ResidueModel, canonical_pairs, in_groups
from ppi_train.models.trained_state import TrainedState

if TYPE_CHECKING:
    from ppi_train.models.contact_map import ContactMapOptions


class MapNorm(TrainedState):
    """Batch normalisation of maps (n, c, i, j) that ignores padding.

    In training it uses the statistics of the current maps and returns them, for `see`: a forward pass
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
        scale, shift, seen = self._scaling(*self._statistics(x, own))
        return x * scale[:, None, None] + shift[:, None, None], seen

    def of_cells(self, cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
        """The scale and shift (c,) that normalise cells, and the mean and variance (2, c) used."""
        if not self.training or cells.n_cells < 2:
            return self._scaling(self.running_mean.clone(), self.running_variance.clone())  # they will change
        return self._scaling(cells.mean, cells.variance)

    def _scaling(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale = self.weight * (variance + self._EPSILON).rsqrt()
        return scale, self.bias - mean * scale, torch.stack([mean, variance]).detach()

    def _statistics(self, x: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        count = x[:, 0].numel() if own is None else int(own.sum())
        if not self.training or count < 2:
            return self.running_mean.clone(), self.running_variance.clone()
        if own is None:
            variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
            return mean, variance
        mean = (x * own).sum(dim=(0, 2, 3), dtype=torch.float32) / count
        deviation = (x - mean[:, None, None]) * own
        return mean, deviation.square().sum(dim=(0, 2, 3), dtype=torch.float32) / count

    @torch.no_grad()
    def learn(self, seen: Tensor) -> None:
        """Moves the running mean and variance towards those (2, c) of a training batch."""
        for running, statistic in zip((self.running_mean, self.running_variance), seen, strict=True):
            running.lerp_(statistic.to(running.device), self._MOMENTUM)


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

    def forward(self, cells: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Normalised maps -> (n, 1, i, j).

        Args:
            cells: (n, c + 1, i, j), the values of `Cells`.
            scale, shift: (c,), which normalise them; this is a part of the same product.
        """
        kernel = ((self.weight + self.weight.transpose(2, 3)) / 2).flip(2, 3)
        # Each cell's contributions to its neighbours, summed: with one output channel, the matrix product is
        # all of the arithmetic, and its forward and backward are several times faster than `conv2d` on a CPU.
        taps = kernel[0].flatten(1).t()
        taps = torch.cat([taps * scale, (taps @ shift)[:, None]], dim=1)
        given = torch.bmm(taps.to(cells.dtype).expand(len(cells), -1, -1), cells.flatten(2))
        width = kernel.shape[-1]
        return fold(given, cells.shape[2:], width, padding=width // 2) + self.bias


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


_GROUP_CELLS = 2**18
"""Map cells computed at once, padding included: some 50 MB per layer. A single map may be larger."""


class ContactMap(ResidueModel):
    """The contact-map pair model (D-SCRIPT).

    Encoding costs time linear in a protein's length, scoring the product of two lengths.

    The uncertainty of a score measures how much a pair's map differs from those of training, in its pooled
    value and its mean: the deviation of a Gaussian process over these two.

    Args:
        input_dim: Numbers in a residue's embedding, d.
        options: Hyper-parameters; the width of a residue's state is h.
    """

    MIDDLE = 0.5
    """The pooled contact at which the probability is one half."""
    _FIRST_SLOPE = 20.0
    _RANDOM_FEATURES = 256

    def __init__(self, input_dim: int, options: ContactMapOptions) -> None:
        super().__init__(input_dim, max_residues=options.max_residues)
        self.dropout, self.sparsity = options.dropout, options.sparsity
        self.encoder = nn.Linear(input_dim, options.hidden_dim)
        self.cells = PairConvolution(options.hidden_dim, options.channels)
        self.norm_cells, self.norm_contacts = MapNorm(options.channels), MapNorm(1)
        self.convolution = SymmetricConvolution(options.channels, options.width)
        self.pool = AboveMeanPool(options.pool_width)
        self.slope = nn.Parameter(torch.tensor(self._FIRST_SLOPE))
        # Both inputs are in units of a logit, so that 1 is a small distance.
        self.posterior = FeaturePosterior(2, features=self._RANDOM_FEATURES, length_scale=1.0)

    def encode_residues(self, values: Tensor, lengths: Sequence[int]) -> Tensor:  # noqa: ARG002 - each by itself
        states = relu(self.encoder(self.standardise(values)))
        return dropout(states, self.dropout, self.encoder.training)

    def score_members(self, state_a: Packed | Chosen, state_b: Packed | Chosen) -> Tensor:
        return self._logits(self._pooled(state_a, state_b)[:, 0])[:, None]

    def score_with_uncertainty(
        self, state_a: Packed | Chosen, state_b: Packed | Chosen
    ) -> tuple[Tensor, Tensor]:
        pooled = self._pooled(state_a, state_b)
        return self._logits(pooled[:, 0]), self.posterior.deviation(self._summary(pooled))

    def losses(self, proteins: Packed, pairs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy plus sparsity loss of each pair (m,).

        The cross entropy is in nats; `sparsity` is the weight of the map's mean.
        """
        states = self.encode(proteins)
        pooled = self._pooled(self.select(states, pairs[:, 0]), self.select(states, pairs[:, 1]))
        logits = self._logits(pooled[:, 0])
        if self.training:
            self.posterior.observe(self._summary(pooled), logits)
        entropies = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (1 - self.sparsity) * entropies + self.sparsity * pooled[:, 1]

    @torch.no_grad()
    def contacts(self, proteins: Packed, pairs: Tensor) -> list[Tensor]:
        """The contact maps of m pairs, between 0 and 1.

        Each is (residues of a, residues of b), within the limit of `max_residues`.
        """
        states = self.encode(proteins)
        chosen = canonical_pairs(self.select(states, pairs[:, 0]), self.select(states, pairs[:, 1]))
        maps = [self._map(*_padded([(a, b)]))[0][0] for a, b, _ in chosen]
        return [
            contact_map.t() if pair[2] else contact_map
            for contact_map, pair in zip(maps, chosen, strict=True)
        ]

    @torch.no_grad()
    def explain(self, proteins: Packed, pairs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """A residue's weight is its highest contact probability with the partner.

        Weights are 0 beyond `max_residues`.
        """
        maps = self.contacts(proteins, pairs)
        explained = list(zip(maps, proteins.lengths[pairs.cpu()].tolist(), strict=True))
        weights_a, weights_b = (
            [self._spread(cells.amax(dim=1 - side), sizes[side]) for cells, sizes in explained]
            for side in (0, 1)
        )
        return weights_a, weights_b

    def _spread(self, weights: Tensor, length: int) -> Tensor:
        whole = weights.new_zeros(length)
        whole[self.kept_residues(length).to(whole.device)] = weights
        return whole

    def _logits(self, pooled: Tensor) -> Tensor:
        return self.slope.clamp(min=0) * (pooled - self.MIDDLE)

    @torch.no_grad()
    def _summary(self, pooled: Tensor) -> Tensor:
        """Random features (m, f) of pooled values and map means (m, 2)."""
        means = torch.logit(pooled[:, 1].float(), eps=1e-6)
        return self.posterior.features(torch.stack([self._logits(pooled[:, 0].float()), means], dim=1))

    def _pooled(self, state_a: Packed | Chosen, state_b: Packed | Chosen) -> Tensor:
        """The pooled value and the mean of each pair's map, (m, 2)."""
        pairs = canonical_pairs(state_a, state_b)

        def of_group(group: list[int]) -> list[Tensor]:
            chosen = [pairs[number][:2] for number in group]
            results, *statistics = self._pool(chosen)
            if self.training:
                for norm, seen in zip((self.norm_cells, self.norm_contacts), statistics, strict=True):
                    norm.see(seen)
            return list(results)

        # The first of a pair is the longer one: its square bounds the number of cells, padding included.
        sizes = [len(a) ** 2 for a, _, _ in pairs]
        return torch.stack(in_groups(sizes, of_group, budget=_GROUP_CELLS))

    def _pool(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled and mean contact (n, 2) of n pairs' states, and statistics of both norms."""
        a, b, lengths_a, lengths_b = _padded(pairs)
        contacts, seen_cells, seen_contacts = self._map(a, b, lengths_a, lengths_b)
        means = contacts.sum(dim=(1, 2)) / (lengths_a * lengths_b)
        return (
            torch.stack([self.pool(contacts, lengths_a, lengths_b), means], dim=1),
            seen_cells,
            seen_contacts,
        )

    def _map(
        self, a: Tensor, b: Tensor, lengths_a: Tensor, lengths_b: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Contacts (n, i, j) and the statistics of both norms.

        Contacts are zero in the padding.
        """
        own = None
        if bool((lengths_a < a.shape[1]).any() or (lengths_b < b.shape[1]).any()):
            own = within(lengths_a, a.shape[1], lengths_b, b.shape[1])[:, None]
        cells = self.cells(a, b, list(zip(lengths_a.tolist(), lengths_b.tolist(), strict=True)))
        scale, shift, seen_cells = self.norm_cells.of_cells(cells)
        contacts, seen_contacts = self.norm_contacts(self.convolution(cells.values, scale, shift), own)
        contacts = torch.sigmoid(contacts.float())
        return (contacts if own is None else contacts * own).squeeze(1), seen_cells, seen_contacts


def _padded(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pads both sides of n pairs.

    Returns the sides, (n, longest, h) each, and their lengths, (n,) each.
    """
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    a, b = (nn.utils.rnn.pad_sequence(side, batch_first=True) for side in sides)
    lengths_a, lengths_b = (torch.tensor([len(state) for state in side], device=a.device) for side in sides)
    return a, b, lengths_a, lengths_b
