"""The best partners of each protein, gathered block by block."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

# In the sortable number of a partner: the bits of its rank, below those of its logit.
_RANK_BITS = 32
_LAST_RANK = (1 << _RANK_BITS) - 1
# All bits of a float32 but its sign.
_MAGNITUDE = 0x7FFFFFFF


class TopPartners:
    """The k best partners of each protein so far.

    Of equal logits the partner of the lower rank is better, so that the result is the same whatever the order
    and the size of the blocks. A partner is kept as one sortable number, of its logit and its rank.

    Args:
        ranks: (proteins,) int64, the place of each protein in the order of accessions.
        k: Number of partners to keep per protein.
        device: Device on which blocks are scored.
        queries: How many proteins, from the first on, have partners; None: all.

    Attributes:
        keys: (queries, k) int64, the best first.
    """

    def __init__(
        self, ranks: np.ndarray, k: int, device: torch.device, *, queries: int | None = None
    ) -> None:
        self._ranks, self._by_rank = torch.from_numpy(ranks).to(device), np.argsort(ranks)
        nobody = _sortable(torch.tensor([-torch.inf], device=device)) << _RANK_BITS
        self._nobody = int(nobody)
        self.keys = nobody.repeat(len(ranks) if queries is None else queries, k)

    def add(self, a: Tensor, b: Tensor, logits: Tensor) -> None:
        """Takes a block into account.

        Args:
            a, b: Proteins of the block's rows (n,) and columns (m,).
            logits: (n, m) float32; -inf for a pair that does not count.
        """
        self._add_to(a, b, logits)
        # The pair of a protein with itself has been added by the call above.
        self._add_to(b, a, logits.t().masked_fill(b[:, None] == a, -torch.inf))

    def _add_to(self, proteins: Tensor, partners: Tensor, logits: Tensor) -> None:
        """Adds the best partners of each row of logits (n, m).

        The rows are `proteins` (n,), the columns `partners` (m,).
        """
        if len(self.keys) < len(self._ranks):
            queries = proteins < len(self.keys)
            proteins, logits = proteins[queries], logits[queries]
        best = logits.amax(dim=1)
        worst_kept = _logits(self.keys[proteins, -1])
        better = ((best >= worst_kept) & (best > -torch.inf)).nonzero().squeeze(1)
        if not len(better):
            return
        rows, k, logits = proteins[better], self.keys.shape[1], logits[better]
        # Most pairs may not count: float32 numbers without a rank are sorted faster.
        counted = int((logits > -torch.inf).sum(dim=1).max())
        if counted < logits.shape[1] // 2:
            logits, at = logits.topk(counted, dim=1, sorted=False)
            partners = partners[at]
        places = _LAST_RANK - self._ranks[partners]
        new = (_sortable(logits) << _RANK_BITS) | places
        known = torch.cat([self.keys[rows], new.topk(min(k, new.shape[1]), dim=1).values], dim=1)
        self.keys[rows] = known.topk(k, dim=1).values

    def may_be_kept(self, a: Tensor, b: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The pairs of a block that may be kept when it is added.

        Args:
            a, b: Proteins of the block's rows (n,) and columns (m,).
            lower, upper: Bounds (n, m) on each logit; -inf for a pair that does not count.

        Returns:
            (n, m) bool.
        """
        of_rows = upper >= self._least(a, lower)[:, None]
        return (of_rows | (upper >= self._least(b, lower.t()))) & (upper > -torch.inf)

    def _least(self, proteins: Tensor, lower: Tensor) -> Tensor:
        """A logit (n,) that the k best partners of each protein reach, of those so far and of a block."""
        k, queries = self.keys.shape[1], proteins < len(self.keys)
        least = torch.full((len(proteins),), torch.inf)
        if not queries.any():
            return least
        worst_kept = _logits(self.keys[proteins[queries], -1])
        if k <= lower.shape[1]:
            worst_kept = torch.maximum(worst_kept, lower[queries].topk(k, dim=1).values[:, -1])
        least[queries] = worst_kept
        return least

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All kept pairs: protein, partner and logit, (p,) each.

        A pair that is among the best of both proteins is given twice.
        """
        logits, keys = _logits(self.keys).cpu().numpy(), self.keys.cpu().numpy()
        proteins, at = np.nonzero(logits > -np.inf)
        partners = self._by_rank[_LAST_RANK - (keys[proteins, at] & _LAST_RANK)]
        return proteins, partners, logits[proteins, at]

    def state(self) -> dict[str, np.ndarray]:
        """The kept partners as columns, for `merge`: the protein and the sortable number of each."""
        proteins, at = (_logits(self.keys) > -torch.inf).nonzero().unbind(1)
        return {"protein": proteins.int().cpu().numpy(), "key": self.keys[proteins, at].cpu().numpy()}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes the partners of another object into account, of which no pair was added here.

        Args:
            state: Rows of its `state`, in their order.
        """
        # The partners of each protein are adjacent: the place of each among these is its column.
        proteins, starts, counts = np.unique(state["protein"], return_index=True, return_counts=True)
        if not len(proteins):
            return
        new = np.full((len(proteins), counts.max()), self._nobody)
        columns = np.arange(len(state["key"])) - starts.repeat(counts)
        new[np.arange(len(proteins)).repeat(counts), columns] = state["key"]
        rows = torch.from_numpy(proteins).to(self.keys.device).long()
        known = torch.cat([self.keys[rows], torch.from_numpy(new).to(self.keys.device)], dim=1)
        self.keys[rows] = known.topk(self.keys.shape[1], dim=1).values


def _sortable(logits: Tensor) -> Tensor:
    """Float32 numbers as int64 in the same order."""
    bits = (logits + 0.0).contiguous().view(torch.int32)  # -0.0 becomes 0.0, which it equals
    return (bits ^ ((bits >> 31) & _MAGNITUDE)).long()


def _logits(keys: Tensor) -> Tensor:
    """The logits of the keys of `TopPartners`."""
    bits = (keys >> _RANK_BITS).int()
    return (bits ^ ((bits >> 31) & _MAGNITUDE)).view(torch.float32)
