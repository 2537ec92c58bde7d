"""`pooled_mlp`: one vector a protein, a small encoder, and an MLP over symmetric features of the pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppi_train.models.base import PairModel
from ppi_train.models.registry import register


@register("pooled_mlp")
class PooledMlp(PairModel):
    """Scores a pair from a + b, |a - b| and a * b of its encoded proteins.

    Each of the three is the same, bit for bit, with a and b exchanged, and so is the score.

    Args:
        input_dim: Numbers in a protein's embedding.
        hidden_dim: Width of the encoder and of the head.
        num_layers: Hidden layers of the encoder.
        dropout: Share of activations dropped in training.
        input_dropout: Share of the embedding's dimensions that a training batch does not see.
    """

    def __init__(
        self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float, input_dropout: float
    ) -> None:
        super().__init__(input_dim)
        self.input_dropout = input_dropout
        layers: list[nn.Module] = []
        for width in [input_dim] + [hidden_dim] * (num_layers - 1):
            layers += [nn.Linear(width, hidden_dim), nn.GELU(), nn.Dropout(dropout)]
        self.encoder = nn.Sequential(*layers, nn.LayerNorm(hidden_dim))
        self.head = nn.Sequential(
            nn.Linear(3 * hidden_dim, hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden_dim, 1)
        )

    def encode(self, proteins: Tensor) -> Tensor:
        features = self.standardise(proteins)
        if self.encoder.training and self.input_dropout:
            # One mask for the whole batch: as good as one a protein, and a thousand times fewer draws.
            kept = torch.rand(features.shape[-1], device=features.device) >= self.input_dropout
            features = features * (kept / (1 - self.input_dropout))
        states: Tensor = self.encoder(features)
        return states

    def score(self, state_a: Tensor, state_b: Tensor) -> Tensor:
        both = torch.cat([state_a + state_b, (state_a - state_b).abs(), state_a * state_b], dim=-1)
        logits: Tensor = self.head(both).squeeze(-1)
        return logits
