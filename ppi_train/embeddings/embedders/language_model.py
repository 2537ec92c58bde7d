"""The language model behind `protein_lm`.

A recurrent network that predicts the next residue.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ppi_train.embeddings.embedders.tokens import SEPARATOR, VOCABULARY

TOKEN_DIM = 64


class CausalLstm(nn.Module):
    """A causal LSTM over residues.

    One wide layer embeds as well as three narrow ones at the same cost, and trains faster. What else
    was tried, convolutions, both directions, masking and contrast, is in docs/experiments.md.

    Args:
        hidden_dim: Width of a layer, h.
        num_layers: Layers; from the second on, each adds to the one below.
    """

    def __init__(self, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.hidden_dim, self.num_layers = hidden_dim, num_layers
        self.tokens = nn.Embedding(VOCABULARY, TOKEN_DIM)
        widths = [TOKEN_DIM] + [hidden_dim] * (num_layers - 1)
        self.layers = nn.ModuleList(nn.LSTM(width, hidden_dim, batch_first=True) for width in widths)
        self.next_residue = nn.Linear(hidden_dim, VOCABULARY)

    def states(self, tokens: Tensor) -> list[Tensor]:
        """States (n, T, h) of each layer.

        A state depends on its own residue and those before it.

        Args:
            tokens: (n, T) int64; tokens right of a protein's end do not affect states left of it.
        """
        below = self.tokens(tokens)
        found: list[Tensor] = []
        for layer in self.layers:
            above, _ = layer(below)
            below = above + below if found else above
            found.append(below)
        return found

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (n, T, VOCABULARY) of the token that follows each one."""
        logits: Tensor = self.next_residue(self.states(tokens)[-1])
        return logits

    def loss(self, windows: Tensor) -> Tensor:
        """Mean cross-entropy of next-residue prediction, in nats per residue.

        Each token of (n, T + 1) is predicted from those before.
        """
        logits, wanted = self(windows[:, :-1]), windows[:, 1:]
        return cross_entropy(
            logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=SEPARATOR, reduction="mean"
        )
