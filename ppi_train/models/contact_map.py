"""`contact_map`: predicts residue contacts, and from them whether two proteins interact.

The architecture of D-SCRIPT (Sledzieski et al. 2021, "D-SCRIPT translates genome to phenome with
sequence-based, structure-aware, genome-scale predictions of protein-protein interactions"), built from its
description; docs/models.md says what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, dropout, relu

from ppi_train.models.contact_layers import (
    AboveMeanPool,
    MapNorm,
    PairConvolution,
    SymmetricConvolution,
    within,
)
from ppi_train.models.gaussian_process import FeaturePosterior
from ppi_train.models.packed import Packed
from ppi_train.models.registry import register
from ppi_train.models.residue_model import Chosen, ResidueModel, canonical_pairs, in_groups, recomputed

_GROUP_CELLS = 2**18
"""Map cells computed at once, padding included: some 50 MB per layer. A single map may be larger."""


@register("contact_map")
class ContactMap(ResidueModel):
    """The contact-map pair model (D-SCRIPT).

    Encoding costs time linear in a protein's length, scoring the product of two lengths.

    The uncertainty of a score measures how much a pair's map differs from those of training, in its pooled
    value and its mean: the deviation of a Gaussian process over these two.

    Args:
        input_dim: Numbers in a residue's embedding, d.
        hidden_dim: Width of a residue's state, h.
        dropout: Share of a state dropped in training.
        sparsity: Share of the loss that is the mean of the map; the rest is the cross entropy.
        max_residues: See `ResidueModel`.
        channels, width: Sizes of the two convolutions.
        pool_width: See `AboveMeanPool`.
    """

    BATCH_SIZE: ClassVar[int] = 16

    MIDDLE = 0.5
    """The pooled contact at which the probability is one half."""
    _FIRST_SLOPE = 20.0
    _RANDOM_FEATURES = 256

    def __init__(
        self,
        input_dim: int,
        *,
        hidden_dim: int = 100,
        dropout: float = 0.5,
        sparsity: float = 0.65,
        max_residues: int = 800,
        channels: int = 50,
        width: int = 7,
        pool_width: int = 9,
    ) -> None:
        super().__init__(input_dim, max_residues=max_residues)
        self.dropout, self.sparsity = dropout, sparsity
        self.encoder = nn.Linear(input_dim, hidden_dim)
        self.cells = PairConvolution(hidden_dim, channels)
        self.norm_cells, self.norm_contacts = MapNorm(channels), MapNorm(1)
        self.convolution = SymmetricConvolution(channels, width)
        self.pool = AboveMeanPool(pool_width)
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
            self.posterior.learn(self._summary(pooled), logits)
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
        lengths = proteins.lengths[pairs.cpu()].tolist()
        weights_a = [
            self._spread(contact_map.amax(dim=1), a)
            for contact_map, (a, _) in zip(maps, lengths, strict=True)
        ]
        weights_b = [
            self._spread(contact_map.amax(dim=0), b)
            for contact_map, (_, b) in zip(maps, lengths, strict=True)
        ]
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
            results, *statistics = recomputed(self._pool, *(state for pair in chosen for state in pair))
            if self.training:
                for norm, seen in zip((self.norm_cells, self.norm_contacts), statistics, strict=True):
                    norm.follow(seen)
            return list(results)

        # The first of a pair is the longer one: its square bounds the number of cells, padding included.
        sizes = [len(a) ** 2 for a, _, _ in pairs]
        return torch.stack(in_groups(sizes, of_group, budget=_GROUP_CELLS))

    def _pool(self, *states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled and mean contact (n, 2), and statistics of both norms.

        Takes the states of a, b, a, b ... of the pairs.
        """
        a, b, lengths_a, lengths_b = _padded(list(zip(states[::2], states[1::2], strict=True)))
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
        cells, seen_cells = self.norm_cells(relu(self.cells(a, b)), own)
        if own is not None:
            cells = cells * own
        contacts, seen_contacts = self.norm_contacts(self.convolution(cells), own)
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
