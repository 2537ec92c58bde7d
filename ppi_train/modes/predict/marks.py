"""What is known of the predicted pairs before they are scored.

Known interactions and training pairs are found by the sequences of their proteins, or by name where a
sequence is not known. What cannot be had is left out, and said.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import SequenceTable, read_fasta
from ppi_train.data.fasta_headers import Header, read_headers
from ppi_train.data.identifiers import map_names
from ppi_train.data.identity import protein_numbers, without_sequence
from ppi_train.data.networks import Network, NetworkFilter, read_network
from ppi_train.errors import DataError
from ppi_train.inference.output import Annotations
from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.pair_sets import PairSet
from ppi_train.modes.predict.inputs import PredictionInputs, sequence_files
from ppi_train.modes.predict.training_identity import training_identity
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.configs import PredictConfig
from ppi_train.runs.training_pairs import TrainingLineage, training_lineage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class KnownInteractions:
    """A network, and the accession of each of its names; the name itself where there is none."""

    network: Network
    accessions: Sequence[str]


def read_known(config: PredictConfig) -> KnownInteractions | None:
    """Reads the known interactions, before the proteins are embedded; None if none are given.

    Raises:
        DataError: the network or an id_map is wrong, or is of other proteins than the FASTA.
    """
    options = config.prediction
    if not options.known:
        return None
    # Partners of other organisms, which BioGRID has in each file, map to no protein that is scored.
    network = read_network(options.known, NetworkFilter(any_organism=True))
    fastas = sequence_files(config)
    if not fastas:
        return KnownInteractions(network=network, accessions=network.names)
    sequences = {name: text for fasta in fastas for name, text in read_fasta(fasta).sequences.items()}
    mapping = map_names(
        network.names,
        SequenceTable(sequences=sequences, source=", ".join(map(str, fastas)), nonstandard={}, duplicates=0),
        id_map=options.id_map or (),
        alternatives=network.alternatives,
        headers=_headers(fastas),
    )
    for line in mapping.summary():
        logger.info("%s: %s", network.source, line)
    accessions = [mapping.accession_of.get(name, name) for name in network.names]
    return KnownInteractions(network=network, accessions=accessions)


def _headers(fastas: Sequence[Path]) -> dict[str, Header]:
    return {name: header for fasta in fastas for name, header in read_headers(fasta).items()}


def annotate(
    config: PredictConfig,
    inputs: PredictionInputs,
    resolved: ResolvedCheckpoint,
    known: KnownInteractions | None,
) -> Annotations:
    """Reads what further columns of the table say of the proteins and pairs.

    Raises:
        DataError: the known interactions are of other proteins, or `novel_only` is given and the training
            pairs cannot be read.
    """
    digests = inputs.cache.sequence_digests(inputs.proteins)
    lineage = training_lineage(resolved, config.data, with_sequences=False)
    known_digests = [digests, *(lineage.digests if lineage else ())]
    marks = {}
    if known:
        marks["known"] = _known(known, inputs, known_digests)
    trained = _in_training(lineage, inputs, known_digests)
    if trained is not None:
        marks["in_training"] = trained
    if config.prediction.novel_only and not marks:
        raise DataError(
            "the training pairs cannot be compared with those to score, so no pair can be said to be new",
            where=f"run {resolved.run.run_id}",
            remedy="leave novel_only out, or give the interactions that are not new: known=FILE",
        )
    return Annotations(
        texts=_texts(inputs.proteins, _headers(inputs.fastas)),
        marks=marks,
        identities=training_identity(config, inputs, digests, lineage) if lineage else None,
        lengths=[inputs.cache.lengths[protein] for protein in inputs.proteins],
    )


def _texts(proteins: Sequence[str], headers: Mapping[str, Header]) -> dict[str, list[str | None]]:
    """Genes and descriptions of the proteins, those of them of which any is known."""
    of_proteins = [headers.get(protein, Header()) for protein in proteins]
    texts: dict[str, list[str | None]] = {
        "gene": [header.gene or None for header in of_proteins],
        "description": [header.description or None for header in of_proteins],
    }
    return {name: values for name, values in texts.items() if any(values)}


def novel_pairs(inputs: PredictionInputs, annotations: Annotations) -> PredictionInputs:
    """The inputs without the pairs that are known or were trained on.

    Raises:
        DataError: no pair of a table is left.
    """
    excluded = reduce(or_, annotations.marks.values())
    if isinstance(inputs.pairs, PairGrid):
        return replace(inputs, pairs=replace(inputs.pairs, excluded=excluded))
    index = inputs.pairs.index
    novel = ~excluded.contains(index[:, 0], index[:, 1])
    logger.info("%s of %s pairs are neither known nor training pairs", f"{novel.sum():,}", f"{len(index):,}")
    if not novel.any():
        raise DataError(
            "no pair is left: all are known, or training pairs of the model",
            where=inputs.source,
            remedy="leave novel_only out, which marks them in columns instead",
        )
    return replace(inputs, pairs=PairList(index=index[novel]))


def _known(
    known: KnownInteractions, inputs: PredictionInputs, digests: Collection[Mapping[str, str]]
) -> PairSet:
    """The known interactions among the proteins; pairs that are known not to interact are none."""
    network = known.network
    index = network.index if network.negative is None else network.index[~network.negative]
    logger.info("%s known interactions: %s, %s", f"{len(index):,}", network.source, network.layout)
    identities, of_network = _identities(known.accessions, inputs, digests)
    if not np.isin(of_network, identities).any():
        raise DataError(
            "no protein of the known interactions is among the proteins to score",
            where=network.source,
            got=", ".join(network.names[:3]),
            expected=f"accessions such as {', '.join(inputs.proteins[:3])}",
            remedy="give both the same accessions",
        )
    return PairSet.of_identities(identities, of_network[index])


def _in_training(
    lineage: TrainingLineage | None, inputs: PredictionInputs, digests: Collection[Mapping[str, str]]
) -> PairSet | None:
    """The pairs that the model and its ancestors were trained on, with either label."""
    if lineage is None:
        logger.warning("no column in_training: the training pairs cannot be read")
        return None
    table = lineage.table
    identities, of_table = _identities(table.proteins, inputs, digests)
    if not np.isin(of_table, identities).any() and without_sequence(table.proteins, digests):
        logger.warning("no column in_training: no name is in training, whose sequences are not known")
        return None
    return PairSet.of_identities(identities, of_table[table.index])


def _identities(
    names: Sequence[str], inputs: PredictionInputs, digests: Collection[Mapping[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """One number for each sequence or name: of the proteins to score, and of other names."""
    numbers = protein_numbers({*inputs.proteins, *names}, digests)
    of_scored, of_names = (
        np.array([numbers[name] for name in proteins], np.int64) for proteins in (inputs.proteins, names)
    )
    return of_scored, of_names
