"""Pools the states of a protein's residues to one vector."""

from __future__ import annotations

import torch
from torch import Tensor

TERMINAL_WINDOW = 50
"""Residues at each end that get a mean of their own: localisation signals are there."""
PARTS = ("maximum", "deviation", "head", "tail")


def pooled_dimension(layers: int, width: int) -> int:
    """Width of the output of `pool`."""
    return (layers + len(PARTS)) * width


def pool(layers: list[Tensor], lengths: Tensor) -> Tensor:
    """Pools the states of all layers to one vector per protein.

    The mean of each layer; of the last also maximum, deviation, and the mean of either end.

    Args:
        layers: States (n, T, h) of each layer.
        lengths: (n,) how many of them, from the left, are a protein's residues.

    Returns:
        (n, (len(layers) + 4) * h).
    """
    last = layers[-1]
    place = torch.arange(last.shape[1], device=last.device)
    inside = place < lengths[:, None]
    means = [_mean(states, inside) for states in layers]
    squares = _mean((last - means[-1][:, None]) ** 2, inside)
    return torch.cat(
        [
            *means,
            last.masked_fill(~inside[..., None], -torch.inf).amax(dim=1),
            squares.sqrt(),
            _mean(last, inside & (place < TERMINAL_WINDOW)),
            _mean(last, inside & (place >= lengths[:, None] - TERMINAL_WINDOW)),
        ],
        dim=1,
    )


def _mean(states: Tensor, chosen: Tensor) -> Tensor:
    """Mean (n, h) of the chosen residues' states.

    Takes states (n, T, h) and a mask (n, T) with at least one residue per row.
    """
    weights = chosen.to(states.dtype)
    return torch.einsum("nth,nt->nh", states, weights) / weights.sum(dim=1, keepdim=True)
