"""The head by which ensembles score pairs, alone and in blocks."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from ppi_train.models.base import PairModel
from ppi_train.models.dropout import dropout
from ppi_train.models.ensemble import MemberLinear
from ppi_train.models.pair_features import pair_products
from ppi_train.models.reference import Reference
from ppi_train.models.rough_block import HeadWeights, RoughBlock, rough_scores

# The pairs of a protein that are scored out of a block are made a multiple of this: a product of fewer rows,
# or the last numbers of a vector, may be computed in another way.
_ROWS = 16
# Pairs that are scored at once out of a block, in memory that stays in the processor's cache.
_PAIRS = 512


class MemberPairHead(nn.Module):
    """Scores a pair, for each member, from symmetric features.

    The features are |a - b| and a * b of the member's states.

    They are bitwise identical with a and b exchanged, and so is the score.

    Args:
        members: k.
        hidden_dim: Width of a member's state, h.
        head_dim: Width of its hidden layer; small, since it sets the cost of a pair.
        dropout: Share of activations dropped in training.
    """

    def __init__(self, *, members: int, hidden_dim: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.members, self.dropout = members, dropout
        self.hidden = MemberLinear(members, 2 * hidden_dim, head_dim)
        self.out = MemberLinear(members, head_dim, 1)

    def forward(self, state_a: Tensor, state_b: Tensor) -> Tensor:
        """States (m, k * h) of both sides -> logits (m, k)."""
        a, b = (state.view(len(state), self.members, -1) for state in (state_a, state_b))
        features = torch.cat([(a - b).abs(), a * b], dim=-1).transpose(0, 1)
        return self._logits(torch.bmm(features, self.hidden.weight))

    def of_pairs(self, states: Tensor, pairs: Tensor) -> Tensor:
        """Logits (m, k) of pairs (m, 2), which are rows of states (n, k * h): as `forward`, for training."""
        return self._logits(pair_products(states, pairs, self.hidden.weight))

    def _logits(self, products_kmc: Tensor) -> Tensor:
        hidden = gelu(products_kmc + self.hidden.bias.view(self.members, 1, -1))
        dropped = dropout(hidden, self.dropout, self.training)
        # A sum and not a product of one column, which takes twice as long.
        logits_km = (dropped * self.out.weight.transpose(1, 2)).sum(dim=2) + self.out.bias[:, None]
        return logits_km.t()

    @torch.no_grad()
    def block(self, states_a: Tensor, states_b: Tensor) -> Tensor:
        """Scores all n x m pairs: the members' mean logits (n, m).

        The weights of a * b are multiplied with a first, once for all partners, so that only |a - b| is
        computed for each pair, in memory that stays in the processor's cache.
        """
        weights, b_kmh = self._weights, self._by_member(states_b)
        logits = states_a.new_empty(len(states_a), len(states_b))
        apart = torch.empty_like(b_kmh)
        for row, a_kh in zip(logits, states_a.view(len(states_a), self.members, -1), strict=True):
            _score_rows(weights, a_kh[:, None], b_kmh, apart=apart, out=row)
        return logits.add_(weights.constant)

    def block_with_gradient(self, states_a: Tensor, states_b: Tensor) -> Tensor:
        """The same as `block`, to rounding, as a function that has a gradient; for few proteins."""
        n, m = len(states_a), len(states_b)
        logits: Tensor = self(states_a.repeat_interleave(m, dim=0), states_b.repeat(n, 1))
        return logits.mean(dim=1).view(n, m)

    @torch.no_grad()
    def cells(self, states_a: Tensor, states_b: Tensor, cells: Tensor) -> Tensor:
        """Scores some of the n x m pairs: the same numbers as those of `block`, to the last bit.

        Args:
            states_a, states_b: As `block` takes them.
            cells: (c,) int64, ascending: places of the pairs in a flattened block.

        Returns:
            (c,), the members' mean logits.
        """
        weights, b_kmh = self._weights, self._by_member(states_b)
        a_knh = states_a.view(len(states_a), self.members, -1).transpose(0, 1)
        columns = cells % len(states_b)
        counts = (cells // len(states_b)).bincount(minlength=len(states_a))
        starts = counts.cumsum(0) - counts
        scores = states_a.new_empty(len(cells))
        # Rows of about as many pairs together: all are made as long as the longest.
        rows = counts.argsort(stable=True)[int((counts == 0).sum()) :]
        while len(rows):
            width = math.ceil(int(counts[rows[-1]]) / _ROWS) * _ROWS
            size = max(1, _PAIRS // width)
            together, rows = rows[-size:], rows[:-size]
            places = starts[together, None] + torch.arange(width, device=rows.device)
            there = places < (starts + counts)[together, None]
            partners = columns[places.where(there, starts[together, None]).flatten()]
            found = _score_rows(weights, a_knh[:, together], b_kmh.index_select(1, partners))
            scores[places[there]] = found.view_as(places)[there]
        return scores.add_(weights.constant)

    def rough_block(self, states_a: Tensor, states_b: Tensor) -> RoughBlock | None:
        """Scores all n x m pairs in bf16, with a bound; see `ppi_train.models.rough_block`.

        None if the hidden layer has one unit: the last bit of its score depends on the other pairs.
        """
        if self.out.weight.shape[1] == 1:
            return None
        a, b = (states.view(len(states), self.members, -1) for states in (states_a, states_b))
        logits, error = rough_scores(self._weights, a, b)
        return RoughBlock(logits, error, partial(self.cells, states_a, states_b))

    @property
    def _weights(self) -> HeadWeights:
        difference, product = self.hidden.weight.detach().chunk(2, dim=1)
        return HeadWeights(
            difference=difference,
            product=product,
            bias=self.hidden.bias.detach().view(self.members, -1),
            # The mean over the members is one more linear map.
            out=self.out.weight.detach().squeeze(-1) / self.members,
            constant=self.out.bias.detach().mean(),
        )

    def _by_member(self, states: Tensor) -> Tensor:
        """(m, k * h) -> (k, m, h)."""
        return states.view(len(states), self.members, -1).transpose(0, 1).contiguous()


def _score_rows(
    weights: HeadWeights, a_knh: Tensor, b_kmh: Tensor, *,
    apart: Tensor | None = None, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Scores n proteins with as many others each: logits (m,) but for the constant.

    Args:
        weights: Of the head.
        a_knh: The proteins' states.
        b_kmh: Those of the others: m / n for the first protein, as many for the second, and so on.
        apart: Memory like that of `b_kmh`.
        out: Where the logits are written.
    """
    k, n, h = a_knh.shape
    others = b_kmh.view(k, n, -1, h)
    apart = torch.sub(others, a_knh[:, :, None], out=None if apart is None else apart.view_as(others)).abs_()
    hidden = torch.baddbmm(weights.bias[:, None], apart.view_as(b_kmh), weights.difference)
    products = (a_knh[..., None] * weights.product[:, None]).flatten(0, 1)
    hidden.view(k * n, -1, hidden.shape[2]).baddbmm_(others.flatten(0, 1), products)
    return torch.sum(gelu(hidden).mul_(weights.out[:, None]), dim=(0, 2), out=out)


class EnsembleModel(PairModel):
    """A model that scores with a `MemberPairHead`.

    The states of n proteins are (n, members * hidden_dim + 1): the last number is taken off all logits of the
    protein; see `ppi_train.models.reference`.

    Args:
        input_dim: Numbers that are standardised.
        width: Numbers of the members' states together, k * h.
    """

    head: MemberPairHead

    def __init__(self, input_dim: int, width: int) -> None:
        super().__init__(input_dim)
        self.reference = Reference(width)

    def with_offsets(self, states: Tensor, *, gradient: bool = False) -> Tensor:
        """The members' states (n, k * h) with what is taken off the logits.

        Args:
            gradient: Whether what is taken off has a gradient, which costs more.
        """
        block = self.head.block_with_gradient if gradient else self.head.block
        return torch.cat([states, self.reference.offsets(states, block)[:, None]], dim=1)

    def members_of(self, states: Any) -> Tensor:
        """The members' states with offsets, (n, k * h + 1), of what `encode` gives."""
        members: Tensor = states
        return members

    def take_reference(self, states: Any) -> None:
        self.reference.take(self.members_of(states)[:, :-1], self.head.block)

    def set_reference_share(self, share: float) -> None:
        self.reference.share.fill_(share)

    def means_with_reference(self, states: Any) -> Tensor:
        return self.reference.means(self.members_of(states)[:, :-1], self.head.block)

    def score_members(self, state_a: Any, state_b: Any) -> Tensor:
        (a, off_a), (b, off_b) = map(self._apart, (state_a, state_b))
        logits: Tensor = self.head(a, b)
        return logits - (off_a + off_b)[:, None]

    def score_block(self, states_a: Any, states_b: Any) -> Tensor:
        (a, off_a), (b, off_b) = map(self._apart, (states_a, states_b))
        return self.head.block(a, b).sub_(off_a[:, None] + off_b)

    def rough_block(self, states_a: Any, states_b: Any) -> RoughBlock | None:
        (a, off_a), (b, off_b) = map(self._apart, (states_a, states_b))
        block = self.head.rough_block(a, b)
        return block and block.plus(-(off_a[:, None] + off_b))

    def _apart(self, states: Any) -> tuple[Tensor, Tensor]:
        """The members' states (n, k * h), and the offsets (n,)."""
        members = self.members_of(states)
        return members[:, :-1], members[:, -1]
