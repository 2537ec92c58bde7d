"""Tracks the best partners of each protein during a block-wise scan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


class TopPartners:
    """The k best partners of each protein so far.

    Ties are broken arbitrarily.

    Args:
        proteins: Number of proteins.
        k: Number of partners to keep per protein.
        device: Device on which blocks are scored.

    Attributes:
        logits: (proteins, k) float32, the best first; -inf where there is no partner yet.
        partners: (proteins, k) int32.
    """

    def __init__(self, proteins: int, k: int, device: torch.device) -> None:
        self.logits = torch.full((proteins, k), -torch.inf, device=device)
        self.partners = torch.zeros((proteins, k), dtype=torch.int32, device=device)

    def add(self, a: Tensor, b: Tensor, logits: Tensor) -> None:
        """Takes a block into account.

        Args:
            a, b: Proteins of the block's rows (n,) and columns (m,).
            logits: (n, m); -inf for a pair that does not count.
        """
        self._add_to(a, b, logits)
        # The pair of a protein with itself has been added by the call above.
        self._add_to(b, a, logits.t().masked_fill(b[:, None] == a, -torch.inf))

    def _add_to(self, proteins: Tensor, partners: Tensor, logits: Tensor) -> None:
        """Adds the best partners of each row of logits (n, m).

        The rows are `proteins` (n,), the columns `partners` (m,).
        """
        better = (logits.amax(dim=1) > self.logits[proteins, -1]).nonzero().squeeze(1)
        if not len(better):
            return
        rows = proteins[better]
        new, at = logits[better].topk(min(self.logits.shape[1], len(partners)), dim=1)
        known = torch.cat([self.logits[rows], new], dim=1)
        named = torch.cat([self.partners[rows], partners[at].int()], dim=1)
        self.logits[rows], order = known.topk(self.logits.shape[1], dim=1)
        self.partners[rows] = named.gather(1, order)

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All kept pairs: protein, partner and logit, (p,) each.

        A pair that is among the best of both proteins is given twice.
        """
        logits = self.logits.cpu().numpy()
        proteins, at = np.nonzero(logits > -np.inf)
        return proteins, self.partners.cpu().numpy()[proteins, at], logits[proteins, at]

    def state(self) -> dict[str, np.ndarray]:
        """The whole state as flat arrays, for `restore`."""
        return {
            "logit": self.logits.flatten().cpu().numpy(),
            "partner": self.partners.flatten().cpu().numpy(),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores a `state` of another object of the same shape."""
        # Copies: arrays that were read from a file must not be written to.
        self.logits.copy_(torch.from_numpy(state["logit"].copy()).view_as(self.logits))
        self.partners.copy_(torch.from_numpy(state["partner"].copy()).view_as(self.partners))
