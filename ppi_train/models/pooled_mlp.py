"""`pooled_mlp`: an ensemble of MLPs over pooled protein embeddings.

The members see symmetric features of the pair.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ppi_train.models.ensemble import EnsembleModel, MemberEncoder, MemberPairHead
from ppi_train.models.registry import register


@register("pooled_mlp")
class PooledMlp(EnsembleModel):
    """An ensemble of `MemberEncoder` networks with a `MemberPairHead`.

    Args:
        input_dim: Numbers in a protein's embedding.
        hidden_dim: Width of a member's state.
        head_dim: Width of the hidden layer that scores a pair.
        num_layers: Hidden layers of the encoder.
        dropout: Share of activations dropped in training.
        input_dropout: Share of the embedding's dimensions that a training batch does not see.
        members: Networks whose mean is the score.
    """

    BATCH_SIZE: ClassVar[int] = 1024

    def __init__(
        self,
        input_dim: int,
        *,
        hidden_dim: int = 128,
        head_dim: int = 32,
        num_layers: int = 1,
        dropout: float = 0.3,
        input_dropout: float = 0.5,
        members: int = 4,
    ) -> None:
        super().__init__(input_dim)
        self.encoder = MemberEncoder(
            input_dim,
            members=members,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            dropout=dropout,
            input_dropout=input_dropout,
        )
        self.head = MemberPairHead(members=members, hidden_dim=hidden_dim, head_dim=head_dim, dropout=dropout)

    def encode(self, proteins: Tensor) -> Tensor:
        """Features (n, d) -> states (n, members * hidden_dim)."""
        states: Tensor = self.encoder(self.standardise(proteins))
        return states
