"""Reference data for network metrics: node sets, complexes, essential proteins."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.config.options import DatasetOptions
from ppi_train.data.benchmarks import NotInMirrorError
from ppi_train.data.protein_sets import published_node_sets, read_complexes, read_node_sets, read_proteins
from ppi_train.errors import DataError
from ppi_train.evaluation.network import Network, sample_node_sets
from ppi_train.evaluation.network.topology import NodeSets
from ppi_train.evaluation.options import DRAW, OFF, WALKS, NetworkOptions
from ppi_train.io.files import file_digest, reading
from ppi_train.runs.datasets import mirror_of
from ppi_train.runs.scored_split import SplitSource

logger = logging.getLogger(__name__)

# Number and sizes of drawn node sets as in PRING, which also limits them to a fifth of the network:
# samples of nearly the whole network would all be the same.
DRAWN_SIZES = tuple(range(20, 201, 20))
DRAWN_SETS = 50
DRAWN_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class NetworkReferences:
    """Reference data, not yet checked against the proteins of the test set.

    Attributes:
        node_sets: By kind: `bfs`, `dfs`, `random_walk`, or `own` if it is unknown how they were drawn.
        files: The file of each kind.
        draws: Whether node sets are to be drawn from the true network.
        complexes: Known interactions by complex; empty for none.
        essential: Essential proteins; empty for none.
        non_essential: Non-essential proteins.
    """

    node_sets: Mapping[str, NodeSets]
    files: Mapping[str, Path]
    draws: bool
    complexes: Mapping[str, Sequence[tuple[str, str]]]
    essential: Sequence[str]
    non_essential: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.node_sets or self.draws or self.complexes or self.essential)

    def sets_of(self, truth: Network, seed: int) -> dict[str, NodeSets]:
        """The node sets by kind, drawn from the true network if requested.

        Raises:
            DataError: a node set has proteins that are not in the network, or nothing can be drawn from it.
        """
        if self.draws:
            return _drawn(truth, seed)
        for kind, path in self.files.items():
            read_node_sets(path, known=truth.proteins)
            logger.info("node sets %s: %s", kind, path)
        return dict(self.node_sets)


def read_references(
    network: NetworkOptions, data: DatasetOptions, split: SplitSource, *, own_pairs: bool
) -> NetworkReferences:
    """Reads the reference files that the options name.

    Called before anything is scored, so that mistakes in the files are reported at once. The node sets of
    a data set belong to its test set: they are used for that split only, and left out with a warning if
    the mirror lacks them.

    Raises:
        DataError: a file is malformed.
    """
    files = {kind: Path(path) for kind, path in network.node_set_files.items()}
    if network.node_sets is None and split.split == "test" and not own_pairs:
        files = _published(data, split.name)
    return NetworkReferences(
        node_sets={kind: read_node_sets(path) for kind, path in files.items()},
        files=files,
        draws=network.node_sets == (DRAW,),
        complexes=read_complexes(network.complexes) if network.complexes else {},
        essential=read_proteins(network.essential).accessions if network.essential else (),
        non_essential=read_proteins(network.non_essential).accessions if network.non_essential else (),
    )


def reference_digests(network: NetworkOptions) -> dict[str, str]:
    """Digests of the reference files that the options name."""
    found = {f"node_sets/{kind}": _digest(path) for kind, path in network.node_set_files.items()}
    if network.node_sets and not found:
        found = {"node_sets": network.node_sets[0]}  # a word in place of files
    named = {name: getattr(network, name) for name in ("complexes", "essential", "non_essential")}
    return found | {name: _digest(path) for name, path in named.items() if path}


def _digest(path: str) -> str:
    with reading(path, "file"):
        return file_digest(Path(path))


def _published(data: DatasetOptions, dataset: str) -> dict[str, Path]:
    try:
        return published_node_sets(dataset, data_dir=Path(data.data_dir), mirror=mirror_of(data))
    except NotInMirrorError as error:
        logger.warning("the mirror has no node sets of %s: no network metrics: %s", dataset, error.where)
        return {}


def _drawn(truth: Network, seed: int) -> dict[str, NodeSets]:
    """Node sets of random walks among the proteins that have a partner."""
    within = truth.induced(np.flatnonzero(np.diff(truth.adjacency.indptr)))
    largest = DRAWN_SHARE * len(within.proteins)
    counts = {size: DRAWN_SETS for size in DRAWN_SIZES if size <= largest}
    if not counts:
        raise DataError(
            "no node sets can be drawn from the true network",
            got=f"{len(within.proteins):,} proteins with a partner",
            expected=f"at least {DRAWN_SIZES[0] / DRAWN_SHARE:.0f}",
            remedy=f"give node_sets={OFF}, or files",
        )
    return {kind: sample_node_sets(within, kind, counts, seed=seed) for kind in WALKS}
