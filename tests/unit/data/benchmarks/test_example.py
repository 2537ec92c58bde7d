"""Tests of the built-in example: its motifs, labels and files."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ppi_train.data.benchmarks.example import Example, make_example, write_example
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import read_pairs


@pytest.fixture(scope="module")
def example() -> Example:
    return make_example()


def test_it_is_large_enough_and_balanced(example: Example) -> None:
    assert len(example.sequences) >= 400
    assert sum(len(table) for table in example.splits.values()) >= 4_000
    assert set(example.splits) == {"train", "validation", "test"}
    for table in example.splits.values():
        assert table.positives * 2 == len(table)
        assert table.duplicates == 0


def test_the_splits_share_no_protein(example: Example) -> None:
    for first, second in combinations(example.splits.values(), 2):
        assert not set(first.proteins) & set(second.proteins)
    assert {p for table in example.splits.values() for p in table.proteins} <= set(example.sequences)


def test_the_number_of_partners_says_next_to_nothing(example: Example) -> None:
    for table in example.splits.values():
        degrees = np.bincount(table.index.ravel())
        score = roc_auc_score(table.labels, degrees[table.index].prod(axis=1))
        assert 0.4 < score < 0.6


def test_a_seed_gives_one_network(example: Example) -> None:
    again, other = make_example(0), make_example(1)
    assert again.sequences == example.sequences
    assert all(again.splits[split].digest == table.digest for split, table in example.splits.items())
    assert all(other.splits[split].digest != table.digest for split, table in example.splits.items())


def test_shuffling_permutes_the_labels_and_nothing_else(example: Example) -> None:
    shuffled = make_example(shuffle_labels=True)
    assert shuffled.sequences == example.sequences
    table, mixed = example.splits["train"], shuffled.splits["train"]
    assert mixed.positives == table.positives
    assert (mixed.index == table.index).all()
    assert mixed.labels is not None
    assert 0.45 < (mixed.labels == table.labels).mean() < 0.55


def test_what_is_written_reads_back(tmp_path: Path, example: Example) -> None:
    write_example(tmp_path)
    assert read_fasta(tmp_path / "sequences.fasta").sequences == example.sequences
    for name, table in example.splits.items():
        assert read_pairs(tmp_path / f"{name}.tsv").digest == table.digest
