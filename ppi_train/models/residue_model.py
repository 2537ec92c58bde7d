"""The base class of models whose states keep every residue.

It limits protein length and bounds memory.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ppi_train.models.base import Packed, PairModel

_GROUP_ROWS = 16_384
"""Residues encoded at once, padding included."""


@dataclass(frozen=True)
class Chosen:
    """A selection of proteins' states, without copying them.

    In a block of pairs each protein occurs many times.

    Attributes:
        states: Of all proteins.
        rows: (m,) int64, the chosen ones.
    """

    states: Packed
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self) -> list[Tensor]:
        """The m states, each (its residues, h)."""
        # One split, whose backward is one concatenation; each slice would make a gradient of all proteins.
        every = self.states.values.split(self.states.lengths.tolist())
        return [every[row] for row in self.rows.tolist()]


class ResidueModel(PairModel):
    """A model that encodes residues and scores pairs by all of them.

    Args:
        input_dim: Numbers in a residue's embedding, d.
        max_residues: Of a longer protein, training uses a random window of this many residues, a new one
            each time, and evaluation the first and the last half of this many: the cost of a pair grows
            with the product of its lengths, and titin has 34,350.
    """

    GRANULARITY: ClassVar[str] = "residue"

    def __init__(self, input_dim: int, *, max_residues: int) -> None:
        super().__init__(input_dim)
        self.max_residues = max_residues

    def fit_input_statistics(self, proteins: Iterable[Packed]) -> None:
        """Sets mean and deviation over all residues of the training proteins."""
        count = 0
        mean = squares = torch.zeros_like(self.mean, dtype=torch.float64)
        for chunk in proteins:
            values = chunk.values.float()
            n, own_mean = len(values), values.mean(dim=0).double()
            # Chan's formula: in sums of squares of uncentred values rounding would hide the deviation.
            shift = own_mean - mean
            squares = squares + values.var(dim=0, correction=0).double() * n
            squares = squares + shift**2 * (count * n / (count + n))
            mean = mean + shift * (n / (count + n))
            count += n
        self._take_scale(mean, (squares / count).sqrt())

    def encode(self, proteins: Packed) -> Packed:
        """Encodes n proteins: states (residues within the limit, h)."""
        whole = proteins.values.split(proteins.lengths.tolist())
        parts = [self._within_limit(residues) for residues in whole]
        states = in_groups(
            [len(part) for part in parts],
            lambda group: self._encode_some([parts[number] for number in group]),
            budget=_GROUP_ROWS,
        )
        lengths = torch.tensor([0] + [len(state) for state in states])
        return Packed(torch.cat(states), lengths.cumsum(0))

    def _encode_some(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        lengths = [len(part) for part in parts]
        encoded: Tensor = recomputed(self.encode_residues, torch.cat(list(parts)), lengths)
        return list(encoded.split(lengths))

    @abstractmethod
    def encode_residues(self, values: Tensor, lengths: Sequence[int]) -> Tensor:
        """Encodes proteins of similar length: states (sum of the lengths, h).

        Takes their residues (sum of the lengths, d).
        """

    def kept_residues(self, length: int) -> Tensor:
        """The residue numbers kept in evaluation, (at most `max_residues`,)."""
        if length <= self.max_residues:
            return torch.arange(length)
        head = (self.max_residues + 1) // 2
        return torch.cat([torch.arange(head), torch.arange(length - self.max_residues + head, length)])

    def _within_limit(self, residues: Tensor) -> Tensor:
        if len(residues) <= self.max_residues:
            return residues
        if not self.training:
            return residues[self.kept_residues(len(residues)).to(residues.device)]
        start = int(torch.randint(len(residues) - self.max_residues + 1, ()))
        return residues[start : start + self.max_residues]

    def select(self, states: Packed | Chosen, rows: Tensor) -> Chosen:
        if isinstance(states, Chosen):
            return Chosen(states.states, states.rows[rows])
        return Chosen(states, rows)

    def join(self, states: Sequence[Any]) -> Packed:
        return Packed.join(states)

    def state_tensors(self, states: Packed) -> dict[str, Tensor]:
        return {"values": states.values, "offsets": states.offsets}

    def states_of(self, tensors: Mapping[str, Tensor]) -> Packed:
        return Packed(tensors["values"], tensors["offsets"].cpu())


def in_groups(
    sizes: Sequence[int], function: Callable[[list[int]], Sequence[Tensor]], *, budget: int
) -> list[Tensor]:
    """Applies a function to groups of items of similar size.

    Padding items of similar size to the longest is cheap.

    Args:
        sizes: Size of each item.
        function: Takes the numbers of a group's items, returns a result for each.
        budget: Upper bound of a group's item count times its largest size; a single item may exceed it.

    Returns:
        The results in the order of the items.
    """
    results: dict[int, Tensor] = {}
    group: list[int] = []
    for item in [*sorted(range(len(sizes)), key=sizes.__getitem__), None]:
        if group and (item is None or (len(group) + 1) * sizes[item] > budget):
            results.update(zip(group, function(group), strict=True))
            group = []
        if item is not None:
            group.append(item)
    return [results[item] for item in range(len(sizes))]


def recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """Calls a function with gradient checkpointing.

    Intermediate results are computed again for the gradient, and not kept.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False)


def canonical_pairs(state_a: Packed | Chosen, state_b: Packed | Chosen) -> list[tuple[Tensor, Tensor, bool]]:
    """Orders each pair of states independently of which is a.

    The third element says whether the sides were exchanged.
    """
    sides = [state.parts() if isinstance(state, Chosen) else _split(state) for state in (state_a, state_b)]
    flags = [not _comes_first(a.detach(), b.detach()) for a, b in zip(*sides, strict=True)]
    return [(b, a, True) if exchange else (a, b, False) for a, b, exchange in zip(*sides, flags, strict=True)]


def _split(states: Packed) -> list[Tensor]:
    return list(states.values.split(states.lengths.tolist()))


def _comes_first(a: Tensor, b: Tensor) -> bool:
    """Whether a comes before b.

    The longer one comes first; at equal length, the one that is larger where they first differ.
    """
    if len(a) != len(b):
        return len(a) > len(b)
    differs = (a != b).flatten().nonzero()
    return not len(differs) or bool(a.flatten()[differs[0]] > b.flatten()[differs[0]])
