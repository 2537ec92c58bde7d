"""The thresholds at which `eval_only` calls a network, apart from the probability 0.5.

*Matched*: the called share of the run's validation pairs, with the classes weighted as in the test network,
is the share of interacting pairs in it. *Expected*: as many edges are called as the density of the training
network lets expect; of the test network only the proteins and the node sets are used.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from ppi_train.data.pairs import PairTable
from ppi_train.errors import UserError
from ppi_train.evaluation.network import Network, density_threshold, network_from_pairs
from ppi_train.evaluation.network.expected import asked_pairs, count_threshold, walk_densities
from ppi_train.evaluation.network.topology import TrueSample
from ppi_train.inference.all_pairs import PredictedPairs, predict_pairs
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.scoring import score_pairs
from ppi_train.models.base import PairModel
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.configs import EvalConfig
from ppi_train.runs.inputs import SplitInputs
from ppi_train.runs.scored_split import validation_inputs
from ppi_train.runs.training_pairs import logged_pairs

logger = logging.getLogger(__name__)


def true_network(table: PairTable) -> Network:
    """The network of the positive pairs, over all proteins of a table.

    Raises:
        DataError: the pairs have no labels.
    """
    return network_from_pairs(table.proteins, table.index[table.required_labels == 1])


def matched_threshold(
    model: PairModel,
    resolved: ResolvedCheckpoint,
    inputs: SplitInputs,
    config: EvalConfig,
    *,
    density: float,
    device: torch.device,
) -> tuple[float | None, list[str]]:
    """The logit that matches the density on the run's validation pairs.

    Returns:
        The logit and no notes; or None and a note with the reason.
    """
    try:
        validation = validation_inputs(resolved, config, inputs)
        data = validation.pair_data("validation", model.GRANULARITY).to(device)
        logits = score_pairs(model, data, batch_size=config.scoring.batch_size).cpu().numpy()
        return density_threshold(logits, data.labels.cpu().numpy(), density), []
    except UserError as error:
        note = f"no threshold that matches the density, for want of validation pairs: {error.what}"
        logger.warning("%s", note)
        return None, [note]


@dataclass(frozen=True, kw_only=True)
class ExpectedEdges:
    """How many edges are expected.

    Attributes:
        target: The total weight of the pairs to call.
        weights: (N, N) sparse, the weights of the pairs, upper triangle; None: each pair counts 1.
        how: What that follows from, as a sentence without its stop.
    """

    target: float
    weights: sparse.csr_array | None
    how: str

    def threshold(self, called: PredictedPairs) -> float | None:
        """The logit that calls so many pairs; None if it is below those that were kept."""
        weights = None if self.weights is None else self.weights[tuple(np.sort(called.pairs, axis=1).T)]
        total = len(called.pairs) if weights is None else float(weights.sum())
        if total < self.target and len(called.pairs) < called.scored:
            return None
        return count_threshold(called.logits, self.target, weights)


def expected_edges(
    truth: Network,
    samples: Mapping[str, TrueSample],
    resolved: ResolvedCheckpoint,
    config: EvalConfig,
    *,
    pairs: int,
) -> tuple[ExpectedEdges | None, list[str]]:
    """Expects the stated density, or else that of the training network.

    With node sets whose walk is known, it is that of sets of the same walk and size in the training network.

    Args:
        truth: The true network, of which only the number of proteins is used.
        samples: The node sets of each kind, of which only the proteins are used.
        resolved: The run.
        config: Config of the evaluation.
        pairs: How many pairs are scored.

    Returns:
        What is expected and no notes; or None and a note with the reason.
    """
    stated = config.network.network_density
    if stated is not None:
        how = f"{stated:.3g} of all pairs are called, the density that network_density states"
        return ExpectedEdges(target=stated * pairs, weights=None, how=how), []
    try:
        training = true_network(logged_pairs(resolved.run, "train"))
    except UserError as error:
        note = f"no threshold of the expected number of edges, for want of training pairs: {error.what}"
        logger.warning("%s", note)
        return None, [note]
    densities = walk_densities(
        training, {kind: list(sample.sets) for kind, sample in samples.items()}, seed=config.compute.seed
    )
    sets = {kind: sample.sets for kind, sample in samples.items()}
    weights, count = asked_pairs(len(truth.proteins), sets, densities)
    if count:
        how = "node sets are called as densely as sets of the same walk and size in the training network"
        return ExpectedEdges(target=count, weights=weights, how=how), []
    how = f"all pairs are called as densely as the training network has edges, {training.density:.3g}"
    return ExpectedEdges(target=training.density * pairs, weights=None, how=how), []


def scored_to(
    encoded: EncodedProteins,
    proteins: tuple[str, ...],
    *,
    include_self: bool,
    least: float,
    expected: ExpectedEdges | None,
) -> tuple[PredictedPairs, float | None]:
    """Scores all pairs, and keeps at least those above some logit and those that are expected.

    Where the expected edges reach below that logit, the pairs are scored again with a lower one: what would
    be enough is not known before, and all logits of a large network do not fit in memory.

    Args:
        encoded: The proteins, in their order.
        proteins: Their accessions.
        include_self: Whether a protein is paired with itself as well.
        least: The lowest logit that must be kept.
        expected: How many edges are expected; None: no threshold is looked for.

    Returns:
        The kept pairs, and the threshold of the expected number of edges.
    """
    called = predict_pairs(encoded, proteins, include_self=include_self, least=least)
    if expected is None:
        return called, None
    while (threshold := expected.threshold(called)) is None:
        enough = max(2 * len(called.pairs), int(expected.target), called.scored // 100)
        lower = called.counts.logit_of(enough)
        called = predict_pairs(encoded, proteins, include_self=include_self, least=lower)
    return called, threshold
