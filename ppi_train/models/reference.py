"""What a model says of a single protein, whoever its partner is, and how it is taken off the scores.

Of proteins that a model was trained on it knows how often each interacts. Of others it does not: there a
quarter of the variance of its logits comes from single proteins, and where both classes have as many pairs
of each protein, as in the gold standards, all of that is noise. Averaging the logits of a protein with a few
reference proteins measures it. They must be proteins that the model was not trained on, since those it was
trained on say something else; no label of theirs is needed. This is the normalisation of scores by a cohort
known from speaker verification (Auckenthaler, Carey & Lloyd-Thomas 2000, "Score normalization for
text-independent speaker verification systems").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

REFERENCES = 128
"""Number of reference proteins: twice as many gain less than .001 of AUROC."""


class Reference(nn.Module):
    """States of the reference proteins, and the share of the mean logit with them that is taken off.

    All are buffers, part of the weights of a checkpoint. Without reference proteins the share is 0.

    Args:
        width: Numbers of a protein's state, h.
    """

    states: Tensor
    middle: Tensor
    share: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("states", torch.zeros(REFERENCES, width))
        self.register_buffer("middle", torch.tensor(0.0))
        self.register_buffer("share", torch.tensor(0.0))

    @torch.no_grad()
    def take(self, states: Tensor, block: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Takes states (n, h) of n proteins, each as often as the others if there are too few.

        Args:
            block: The logits (n, m) of n x m pairs of states.
        """
        self.states.copy_(states[torch.arange(REFERENCES, device=states.device) % len(states)])
        self.middle.zero_()
        self.middle.copy_(self.means(self.states, block).mean())

    def means(self, states: Tensor, block: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The mean logits (n,) with the reference proteins, relative to those of these among themselves."""
        return block(states, self.states).mean(dim=1) - self.middle

    def offsets(self, states: Tensor, block: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What is taken off all logits of each protein, (n,)."""
        if not self.share:
            return states.new_zeros(len(states))
        return self.share * self.means(states, block)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Loads weights; those of a version without reference proteins take nothing off.

        A share that is not one is an error of the weights, as a wrong shape is.
        """
        own = {prefix + name: torch.zeros_like(buffer) for name, buffer in self.named_buffers()}
        if not own.keys() & state_dict.keys():
            state_dict.update(own)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if not 0 <= self.share <= 1:
            errors: list[str] = rest[-1]
            errors.append(f"{prefix}share is {self.share.item()}, and must be from 0 to 1.")
            self.share.zero_()
