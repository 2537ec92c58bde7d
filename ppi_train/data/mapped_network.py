"""A downloaded network under the accessions of a FASTA.

Every sequence has one accession here, so that two names of one protein are never two proteins.

Legend of shapes: n pairs, p proteins, k names of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ppi_train.data.identifiers import NameMapping
from ppi_train.data.networks import Network
from ppi_train.data.pair_keys import among, distinct
from ppi_train.data.pairs import PairTable, tsv_bytes
from ppi_train.errors import DataError
from ppi_train.io.files import write_file

_UNDATED = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True)
class MappedNetwork:
    """Distinct pairs of two proteins of a FASTA, in the order in which they first appeared.

    Attributes:
        pairs: Their accessions; labelled where the network has negative pairs, too.
        years: (n,) integers, the earliest year of publication, 0 if unknown; None if the layout has none.
        unmapped: Pairs that were left out, as a name has no accession.
        alone: Pairs of a protein with itself, that were left out: no negative is of that kind.
        merged: Pairs that are another one under other names.
    """

    pairs: PairTable
    years: np.ndarray | None
    unmapped: int
    alone: int
    merged: int

    def positives(self) -> MappedNetwork:
        """The network without its negative pairs."""
        if self.pairs.labels is None:
            return self
        keep = self.pairs.labels == 1
        pairs = replace(self.pairs.select(keep), labels=None)
        return replace(self, pairs=pairs, years=None if self.years is None else self.years[keep])


def map_network(network: Network, accession_of: Mapping[str, str]) -> MappedNetwork:
    """Replaces the names of a network by accessions.

    A pair that is both positive and negative under different names counts as positive.

    Args:
        network: As it was read.
        accession_of: The accession of each name that has one; one accession for each sequence.

    Raises:
        DataError: no pair of two proteins is left.
    """
    proteins = sorted(set(accession_of.values()))
    ends = _ends(network, accession_of, proteins)
    mapped = (ends >= 0).all(axis=1)
    alone = mapped & (ends[:, 0] == ends[:, 1])
    rows = np.flatnonzero(mapped & ~alone)
    keys = _keys(ends[rows], len(proteins))
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    kept = rows[first[order]]
    if not len(kept):
        raise DataError(
            "no pair of the network is left: of none are both proteins in the FASTA",
            where=network.source,
            got=f"{len(network):,} pairs of {len(network.names):,} names, of which "
            f"{len(accession_of):,} are in the FASTA",
            expected="pairs of two proteins of the FASTA",
        )
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    group = place[group]
    return MappedNetwork(
        pairs=_table(network, proteins, np.sort(ends[kept], axis=1), _labels(network, rows, group)),
        years=_earliest(network.year, rows, group, len(kept)),
        unmapped=int((~mapped).sum()),
        alone=int(alone.sum()),
        merged=len(rows) - len(kept),
    )


def pairs_among(network: Network, accession_of: Mapping[str, str], proteins: Sequence[str]) -> np.ndarray:
    """The positive pairs of a network between given proteins.

    Args:
        network: As it was read.
        accession_of: The accession of each name that has one.
        proteins: Sorted accessions.

    Returns:
        (m, 2) positions in `proteins`.
    """
    ends = _ends(network, accession_of, proteins)
    keep = (ends >= 0).all(axis=1)
    if network.negative is not None:
        keep &= ~network.negative
    return ends[keep]


def other_pairs(pairs: np.ndarray, edges: np.ndarray, proteins: int) -> np.ndarray:
    """The distinct pairs that are not among edges; (m, 2) and (n, 2) numbers below `proteins`."""
    keys = distinct(_keys(pairs, proteins))
    keys = keys[~among(keys, np.sort(_keys(edges.astype(np.int64), proteins)))]
    return np.stack([keys // proteins, keys % proteins], axis=1)


def _ends(network: Network, accession_of: Mapping[str, str], proteins: Sequence[str]) -> np.ndarray:
    """The proteins of each pair, (n, 2) int64; -1 for a name without one."""
    position = {protein: place for place, protein in enumerate(proteins)}
    codes = [position.get(accession_of.get(name, ""), -1) for name in network.names]
    ends: np.ndarray = np.array(codes, np.int64)[network.index]
    return ends


def _keys(ends: np.ndarray, proteins: int) -> np.ndarray:
    keys: np.ndarray = ends.min(axis=1) * max(proteins, 1) + ends.max(axis=1)
    return keys


def _labels(network: Network, rows: np.ndarray, group: np.ndarray) -> np.ndarray | None:
    """The label of each merged pair, None if all are positive."""
    if network.negative is None:
        return None
    labels = np.zeros(group.max() + 1, np.int8)
    np.maximum.at(labels, group, (~network.negative[rows]).astype(np.int8))
    return None if labels.all() else labels


def _earliest(years: np.ndarray | None, rows: np.ndarray, group: np.ndarray, size: int) -> np.ndarray | None:
    if years is None:
        return None
    earliest = np.full(size, _UNDATED)
    known = years[rows].astype(np.int64)
    np.minimum.at(earliest, group, np.where(known > 0, known, _UNDATED))
    return np.where(earliest == _UNDATED, 0, earliest)


def _table(
    network: Network, proteins: Sequence[str], index: np.ndarray, labels: np.ndarray | None
) -> PairTable:
    used, numbers = np.unique(index, return_inverse=True)
    return PairTable(
        proteins=tuple(proteins[place] for place in used),
        index=numbers.reshape(-1, 2).astype(np.int32),
        labels=labels,
        duplicates=0,
        source=network.source,
    )


def write_names(path: Path, mapping: NameMapping) -> None:
    """Writes what each name of a network stands for as TSV with a header."""
    write_file(path, tsv_bytes(mapping.rows))
