"""`pooled_mlp`: an ensemble of MLPs over pooled protein embeddings.

The members see symmetric features of the pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ppi_train.models.ensemble import MemberEncoder
from ppi_train.models.pair_head import EnsembleModel, MemberPairHead

if TYPE_CHECKING:
    from ppi_train.models.pooled_mlp import PooledMlpOptions


class PooledMlp(EnsembleModel):
    """An ensemble of `MemberEncoder` networks with a `MemberPairHead`.

    Args:
        input_dim: Numbers in a protein's embedding.
        options: Hyper-parameters.
    """

    def __init__(self, input_dim: int, options: PooledMlpOptions) -> None:
        super().__init__(input_dim, options.members * options.hidden_dim)
        self.encoder = MemberEncoder(
            input_dim,
            members=options.members,
            hidden_dim=options.hidden_dim,
            num_layers=options.num_layers,
            dropout=options.dropout,
            input_dropout=options.input_dropout,
        )
        self.head = MemberPairHead(
            members=options.members,
            hidden_dim=options.hidden_dim,
            head_dim=options.head_dim,
            dropout=options.dropout,
        )

    def encode(self, proteins: Tensor) -> Tensor:
        """Features (n, d) -> states (n, members * hidden_dim + 1)."""
        return self.with_offsets(self.encoder(self.standardise(proteins)))

    def forward(self, proteins: Tensor, pairs: Tensor) -> Tensor:
        return self.head.of_pairs(self.encoder(self.standardise(proteins)), pairs)
