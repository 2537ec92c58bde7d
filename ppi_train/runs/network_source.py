"""A downloaded network and everything that is read with it: sequences, names, further known pairs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import SequenceTable, joined_tables, read_fasta, write_fasta
from ppi_train.data.fasta_headers import Header, read_headers
from ppi_train.data.identifiers import NameMapping, map_names
from ppi_train.data.mapped_network import MappedNetwork, map_network, other_pairs, pairs_among
from ppi_train.data.networks import Network, NetworkFilter, read_network
from ppi_train.data.options import SourceNetworkOptions

logger = logging.getLogger(__name__)


def fasta_paths(fasta: str) -> list[Path]:
    """The files that `fasta=` names, with commas between; a file may have a comma in its name."""
    names = [fasta] if Path(fasta).exists() else fasta.split(",")
    return [Path(name.strip()) for name in names if name.strip()]


def joined_fasta(fasta: str, data_dir: Path) -> str:
    """The path of one FASTA with the sequences of those that `fasta=` names.

    Raises:
        DataError: a file is wrong, or two files have different sequences of one accession.
    """
    paths = fasta_paths(fasta)
    if len(paths) == 1:
        return fasta
    table = joined_tables([read_fasta(path) for path in paths])
    path = data_dir / "networks" / f"sequences-{table.digest[:16]}.fasta"
    if not path.exists():
        write_fasta(path, table.sequences)
    logger.info("fasta: %s sequences of %d files", f"{len(table.sequences):,}", len(paths))
    return str(path)


@dataclass(frozen=True, kw_only=True)
class Proteins:
    """The proteins of the FASTAs, and how names of networks are mapped to them.

    Attributes:
        options: Say how names are mapped.
        tables: The sequences of each file.
        sequences: Of all files together.
        headers: By accession.
    """

    options: SourceNetworkOptions
    tables: Sequence[SequenceTable]
    sequences: SequenceTable
    headers: Mapping[str, Header]

    @classmethod
    def read(cls, fastas: Sequence[Path], options: SourceNetworkOptions) -> Proteins:
        """Reads the files.

        Raises:
            DataError: a file is wrong, or two have different sequences of one accession.
        """
        tables = [read_fasta(path) for path in fastas]
        headers = {name: header for path in fastas for name, header in read_headers(path).items()}
        return cls(options=options, tables=tables, sequences=joined_tables(tables), headers=headers)

    def map(self, network: Network) -> NameMapping:
        """The accessions of a network's names.

        Raises:
            DataError: no name has one.
        """
        return map_names(
            network.names,
            self.sequences,
            id_map=self.options.id_map or (),
            ids=self.options.ids,
            alternatives=network.alternatives,
            headers=self.headers,
        )

    def known_pairs(self, accessions: Sequence[str]) -> np.ndarray:
        """The pairs of `known=` between sorted accessions, (m, 2) positions in them."""
        found = [self.pairs_of(network, accessions) for network in read_known(self.options)]
        return np.concatenate([np.empty((0, 2), np.int64), *found])

    def pairs_of(self, network: Network, accessions: Sequence[str]) -> np.ndarray:
        """The pairs of a network between sorted accessions, (m, 2) positions in them."""
        return pairs_among(network, self.map(network).accession_of, accessions)

    def organisms_of(self, accessions: Sequence[str], said: Mapping[str, int]) -> np.ndarray | None:
        """A number for the organism of each protein, (p,); None if there is one, or none is known.

        It is what the network says, else what the headers say, else the file of the sequence.

        Args:
            accessions: p proteins.
            said: What the network says.
        """
        of_headers = {name: self.headers[name].taxid for name in accessions if name in self.headers}
        of_files = {name: number for number, table in enumerate(self.tables, 1) for name in table.sequences}
        for known in (said, of_headers, of_files):
            if all(known.get(name) for name in accessions):
                numbers = np.array([known[name] for name in accessions])
                return numbers if len(np.unique(numbers)) > 1 else None
        return None


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
    """A network as it was read, and what its names mean.

    Attributes:
        network: Under the names of the file.
        proteins: Of the FASTAs.
        mapping: The names' accessions.
        mapped: Its pairs under these accessions.
    """

    network: Network
    proteins: Proteins
    mapping: NameMapping
    mapped: MappedNetwork

    @cached_property
    def known(self) -> np.ndarray:
        """Further pairs that are not drawn as negatives, (m, 2) proteins of `mapped.pairs`.

        They are those of `known=`, and those of the file that the filters left out.
        """
        edges = self.mapped.pairs
        return other_pairs(self._all_known(), edges.index, len(edges.proteins))

    def _all_known(self) -> np.ndarray:
        accessions = self.mapped.pairs.proteins
        taken = network_filter(self.proteins.options)
        everything = NetworkFilter(taxid=taken.taxid)
        found = self.proteins.known_pairs(accessions)
        if taken == everything:
            return found
        left_out = self.proteins.pairs_of(read_network(self.network.source, everything), accessions)
        return np.concatenate([found, left_out])

    @cached_property
    def organisms(self) -> np.ndarray | None:
        """A number for the organism of each protein of `mapped.pairs`, (p,); None if there is only one."""
        taxids = self.network.taxid
        accession_of = self.mapping.accession_of
        named = [] if taxids is None else zip(self.network.names, taxids.tolist(), strict=True)
        said = {accession_of[name]: taxid for name, taxid in named if name in accession_of and taxid}
        return self.proteins.organisms_of(self.mapped.pairs.proteins, said)

    def lines(self) -> list[str]:
        """What was read and left out, for the log."""
        network, mapped = self.network, self.mapped
        counts = {reason: count for reason, count in network.counts.items() if count and reason != "rows"}
        rows = network.counts.get("rows", len(network))
        left_out = "; ".join(f"{reason}: {count:,}" for reason, count in counts.items()) or "none"
        return [
            f"network: {network.layout}, {len(network):,} pairs of {len(network.names):,} names from "
            f"{rows:,} rows; rows left out or merged: {left_out}",
            *self.mapping.summary(),
            f"pairs: {len(mapped.pairs):,} of {len(mapped.pairs.proteins):,} proteins; left out: "
            f"{mapped.unmapped:,} of names without a protein, {mapped.alone:,} of a protein with itself; "
            f"{mapped.merged:,} merged with a pair under other names",
        ]


def read_source(
    options: SourceNetworkOptions, fastas: Sequence[Path], *, keep_negatives: bool
) -> NetworkSource:
    """Reads a network and its sequences, and maps its names.

    Args:
        options: The network and what is taken of it.
        fastas: The files of its sequences.
        keep_negatives: Whether its negative pairs are kept, where the file has any.

    Raises:
        DataError: a file is wrong; no name is in the FASTAs; nothing is left.
    """
    proteins = Proteins.read(fastas, options)
    network = read_network(options.network or "", network_filter(options))
    mapping = proteins.map(network)
    mapped = map_network(network, mapping.accession_of)
    if not keep_negatives:
        mapped = mapped.positives()
    return NetworkSource(network=network, proteins=proteins, mapping=mapping, mapped=mapped)


def read_known(options: SourceNetworkOptions) -> Iterator[Network]:
    """The networks of `known=`, of all organisms."""
    for path in options.known or ():
        yield read_network(path, NetworkFilter(any_organism=True))


def network_filter(options: SourceNetworkOptions) -> NetworkFilter:
    """What is taken of the network."""
    return NetworkFilter(
        min_score=options.min_score,
        score_column=options.score_column,
        system_type=options.system_type,
        throughput=options.throughput,
        taxid=tuple(map(int, options.taxid or ())),
        detection_method=options.detection_method or (),
        interaction_type=options.interaction_type or (),
        expanded_complexes=options.expanded_complexes,
    )
