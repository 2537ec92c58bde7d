"""`pair_transformer`: attention within each protein, then over the residues of the pair.

The architecture of TUnA (Ko et al. 2024, "TUnA: an uncertainty-aware transformer model for sequence-based
protein-protein interaction prediction"), built from its description; docs/design/models.md says what differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ppi_train.errors import ConfigError
from ppi_train.models.base import Packed
from ppi_train.models.ensemble import GaussianOutput
from ppi_train.models.residue_model import Chosen, ResidueModel, canonical_pairs, in_groups, recomputed
from ppi_train.models.v3.layers import EncoderLayer, SpectralLinear

if TYPE_CHECKING:
    from ppi_train.models.pair_transformer import PairTransformerOptions

_GROUP_ROWS = 16_384
"""Residues of pairs scored at once, padding included."""


class PairTransformer(ResidueModel):
    """The transformer pair model (TUnA).

    Encoding costs the square of a protein's length, scoring the square of a pair's.

    Args:
        input_dim: Numbers in a residue's embedding, d.
        options: Hyper-parameters; the width of a residue's state is h.

    Raises:
        ConfigError: the heads do not divide the width.
    """

    encoder: nn.ModuleDict

    def __init__(self, input_dim: int, options: PairTransformerOptions) -> None:
        super().__init__(input_dim, max_residues=options.max_residues)
        hidden_dim, heads = options.hidden_dim, options.heads
        if hidden_dim % heads:
            raise ConfigError(
                "the heads of attention do not divide the width of a residue's state",
                got=f"hidden_dim={hidden_dim}, heads={heads}",
                expected="a multiple of heads for hidden_dim",
            )

        def layer() -> EncoderLayer:
            return EncoderLayer(hidden_dim, heads=heads, inner=4 * hidden_dim, dropout=options.dropout)

        self.encoder = nn.ModuleDict(
            {"project": SpectralLinear(input_dim, hidden_dim), "within_protein": layer()}
        )
        self.over_pair = layer()
        self.output = GaussianOutput(
            hidden_dim, features=options.random_features, length_scale=math.sqrt(hidden_dim)
        )

    def encode_residues(self, values: Tensor, lengths: Sequence[int]) -> Tensor:
        projected = self.encoder["project"](self.standardise(values))
        states: Packed = self.encoder["within_protein"](_packed(projected, lengths))
        return states.values

    def score_members(self, state_a: Packed | Chosen, state_b: Packed | Chosen) -> Tensor:
        return self.output.mean(self._features(state_a, state_b))[:, None]

    def score_with_uncertainty(
        self, state_a: Packed | Chosen, state_b: Packed | Chosen
    ) -> tuple[Tensor, Tensor]:
        """Logits (m,) and their posterior deviations (m,) of the Gaussian process.

        The probability that takes both into account is sigmoid(logit / sqrt(1 + pi/8 * deviation**2)).
        """
        features = self._features(state_a, state_b)
        return self.output.mean(features), self.output.deviation(features)

    def losses(self, proteins: Packed, pairs: Tensor, targets: Tensor) -> Tensor:
        """The cross entropies (m,), in nats.

        In training the pairs are also added to the Gaussian process.
        """
        states = self.encode(proteins)
        features = self._features(self.select(states, pairs[:, 0]), self.select(states, pairs[:, 1]))
        logits = self.output.mean(features)
        if self.training:
            self.output.observe(features, logits)
        return binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def _features(self, state_a: Packed | Chosen, state_b: Packed | Chosen) -> Tensor:
        """Random features (m, f) of the pairs' vectors."""
        pairs = canonical_pairs(state_a, state_b)

        def pooled(group: list[int]) -> Tensor:
            chosen = [pairs[number][:2] for number in group]
            result: Tensor = recomputed(self._pool, *(state for pair in chosen for state in pair))
            return result

        sizes = [len(a) + len(b) for a, b, _ in pairs]
        vectors = in_groups(sizes, lambda group: list(pooled(group)), budget=_GROUP_ROWS)
        return self.output.features(torch.stack(vectors))

    def _pool(self, *states: Tensor) -> Tensor:
        """Pools the states of n pairs to vectors (n, h).

        Takes the states of a, b, a, b ... of the pairs.

        Neither attention nor the mean depends on order: both orders of a pair give the same vector, except
        for dropout. So the maximum over the orders is taken in training only.
        """
        pairs = list(zip(states[::2], states[1::2], strict=True))
        orders = [pairs, [(b, a) for a, b in pairs]] if self.training else [pairs]
        return torch.stack([self._mean_over_pair(order) for order in orders]).amax(dim=0)

    def _mean_over_pair(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        lengths = [len(a) + len(b) for a, b in pairs]
        rows = _packed(torch.cat([state for pair in pairs for state in pair]), lengths)
        seen: Packed = self.over_pair(rows)
        return torch.stack([states.mean(dim=0) for states in seen.values.split(lengths)])


def _packed(values: Tensor, lengths: Sequence[int]) -> Packed:
    return Packed(values, torch.tensor([0, *lengths]).cumsum(0))
