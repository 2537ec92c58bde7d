"""Tests of packed tensors: selection, joining, and padding.

Each protein keeps its own rows.
"""

from __future__ import annotations

import pytest
import torch

from ppi_train.models.base import Packed

LENGTHS = [3, 1, 5, 2]


@pytest.fixture
def packed() -> Packed:
    """Each row tells its number."""
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)
    return Packed(torch.arange(11.0)[:, None].expand(11, 2).contiguous(), offsets)


def rows_of(packed: Packed) -> list[list[float]]:
    return [part[:, 0].tolist() for part in packed.values.split(packed.lengths.tolist())]


def test_what_is_taken_are_the_proteins_own_rows(packed: Packed) -> None:
    taken = packed.take(torch.tensor([2, 0, 2]))
    assert rows_of(taken) == [[4, 5, 6, 7, 8], [0, 1, 2], [4, 5, 6, 7, 8]]
    assert len(packed.take(torch.tensor([], dtype=torch.int64))) == 0


def test_parts_join_to_what_they_were_taken_from(packed: Packed) -> None:
    parts = [packed.take(torch.tensor(indices, dtype=torch.int64)) for indices in ([0, 1], [], [2], [3])]
    joined = Packed.join(parts)
    assert torch.equal(joined.values, packed.values)
    assert torch.equal(joined.offsets, packed.offsets)


def test_padding_is_zero_and_told_apart(packed: Packed) -> None:
    values, own = packed.padded()
    assert values.shape == (4, 5, 2)
    assert own.sum(dim=1).tolist() == LENGTHS
    assert torch.equal(values[own], packed.values)
    assert values[~own].abs().sum() == 0


def test_vectors_are_proteins_of_one_row() -> None:
    vectors = torch.randn(4, 3)
    assert torch.equal(Packed.one_row_each(vectors).padded()[0].squeeze(1), vectors)
