"""Training and test pairs in one numbering, by sequence or by name.

Legend of shapes: t training pairs, m test pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ppi_train.data.identity import protein_numbers, with_two_sequences, without_sequence
from ppi_train.data.pairs import PairTable
from ppi_train.errors import DataError, counted, first_ten

logger = logging.getLogger(__name__)

Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class JointPairs:
    """Training and test pairs in one numbering of their proteins.

    Names of one sequence have one number. `train` (t, 2) and `test` (m, 2) hold numbers below `proteins`,
    each row in ascending order; `train_labels` (t,) and `test_labels` (m,) are 0 or 1.
    """

    proteins: int
    train: Integers
    train_labels: Integers
    test: Integers
    test_labels: Integers


def common_numbers(
    train: PairTable,
    test: PairTable,
    known: Collection[Mapping[str, str]],
    *,
    same_names: bool = False,
) -> dict[str, int]:
    """Numbers the proteins of two tables; equal sequences or names are one protein.

    Args:
        train: Training pairs.
        test: Test pairs.
        known: Sequence digests by accession, one mapping for each source.
        same_names: Whether both are parts of one table, so that different names are different proteins
            unless their sequences are known to be equal.

    Raises:
        DataError: no name is in both and not all sequences are known, so that nothing can be said about
            what they share.
    """
    names = sorted({*train.proteins, *test.proteins})
    unknown = [] if same_names else without_sequence(names, known)
    if unknown and set(train.proteins).isdisjoint(test.proteins):
        raise DataError(
            "the test proteins cannot be compared with the training proteins",
            where=f"{test.source} against {train.source}",
            got=f"no name in both, such as {', '.join(test.proteins[:3])} and "
            f"{', '.join(train.proteins[:3])}; no known sequence for {counted(len(unknown), 'protein')}",
            expected="names in common, or the sequences of all proteins",
            remedy="give a FASTA with the sequences of all proteins of both tables",
        )
    if unknown:
        logger.warning(
            "%s of %s proteins have no known sequence, and are compared by name only (%s)",
            f"{len(unknown):,}", f"{len(names):,}", first_ten(unknown),
        )  # fmt: skip
    changed = with_two_sequences(names, known)
    if changed:
        logger.warning(
            "%s names stand for two sequences each, and count as one protein each (%s)",
            f"{len(changed):,}", first_ten(changed),
        )  # fmt: skip
    return protein_numbers(names, known)


def joint_pairs(train: PairTable, test: PairTable, number: Mapping[str, int]) -> JointPairs:
    """Joins two labelled tables by the numbers of their proteins.

    Raises:
        DataError: a table has no labels.
    """
    return JointPairs(
        proteins=1 + max(number.values()),
        train=np.sort(renumbered(train, number), axis=1),
        train_labels=train.required_labels,
        test=np.sort(renumbered(test, number), axis=1),
        test_labels=test.required_labels,
    )


def renumbered(table: PairTable, number: Mapping[str, int]) -> np.ndarray:
    """The numbers of both proteins of each pair, (n, 2), in the order of the table."""
    numbers = np.array([number[protein] for protein in table.proteins], np.int64)
    pairs: np.ndarray = numbers[table.index]
    return pairs
