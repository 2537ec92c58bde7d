"""The network part of `eval_only`: predicted network compared with the true one.

All pairs of the test proteins are scored, and pairs are called at the probability 0.5 and at the thresholds
of `ppi_train.modes.eval_only.thresholds`. The true network has the positive test pairs as edges, over all
proteins of the test pairs. Proteins are paired with themselves only if the true network has a
self-interaction, as PRING's networks do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ppi_train.checkpoints import model_from_checkpoint
from ppi_train.evaluation.network import Network
from ppi_train.evaluation.network.curve import ThresholdCurve, threshold_curve
from ppi_train.evaluation.network.function import complex_metrics, essential_metrics
from ppi_train.evaluation.network.topology import (
    PAIRED,
    NetworkMetrics,
    Noise,
    TrueSample,
    network_metrics,
    sampling_noise,
)
from ppi_train.evaluation.options import OWN
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.features import features_of
from ppi_train.inference.all_pairs import PredictedPairs
from ppi_train.inference.input_statistics import take_asked_statistics
from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.scoring import encode_all
from ppi_train.modes.eval_only.references import NetworkReferences
from ppi_train.modes.eval_only.thresholds import expected_edges, matched_threshold, scored_to, true_network
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.configs import EvalConfig
from ppi_train.runs.inputs import SplitInputs

logger = logging.getLogger(__name__)

HALF = 0.0  # the logit of the probability 0.5


@dataclass(frozen=True, kw_only=True)
class PredictedNetwork:
    """The network called at a threshold, and its comparison with the truth.

    Attributes:
        threshold: A logit; pairs with this logit or above are edges.
        network: The edges, over the proteins of the true network.
        by_kind: The metrics on the node sets of each kind.
        function: The metrics on complexes and essential proteins, by name.
    """

    threshold: float
    network: Network
    by_kind: Mapping[str, NetworkMetrics]
    function: Mapping[str, float]

    @property
    def probability(self) -> float:
        """The threshold as a probability."""
        return float(sigmoid(np.array(self.threshold)))


@dataclass(frozen=True, kw_only=True)
class EvaluatedNetwork:
    """Results of the network evaluation.

    Attributes:
        truth: The true network.
        half: The network called at the probability 0.5.
        matched: The network called at the threshold that matches the density; None if the validation pairs
            could not be scored.
        expected: The network with the expected number of edges; None if the training pairs could not be read.
        how: How that number was found.
        curve: The metrics over all thresholds; None without node sets.
        estimated_edges: How many edges the scores alone let expect; None if it is not known what share of
            interacting pairs the model was calibrated for. See `LogitCounts.estimated_density`.
        true_function: The metrics on complexes and essential proteins of the true network itself: what a
            perfect prediction would reach.
        noise: The MMDs of two samples of the true network, by kind and size.
        scored: How many pairs were scored.
        notes: What was left out, and why.
    """

    truth: Network
    half: PredictedNetwork
    matched: PredictedNetwork | None
    expected: PredictedNetwork | None
    how: str
    curve: ThresholdCurve | None
    estimated_edges: float | None
    true_function: Mapping[str, float]
    noise: Mapping[str, Noise]
    scored: int
    notes: tuple[str, ...]

    @property
    def called(self) -> dict[str, PredictedNetwork]:
        """The called networks by the suffix of their metrics."""
        networks = {"": self.half, "_matched": self.matched, "_expected": self.expected}
        return {suffix: network for suffix, network in networks.items() if network}

    @property
    def headings(self) -> dict[str, PredictedNetwork]:
        """The called networks by the heading of their column."""
        return {
            f"{suffix[1:]}, {network.probability:.3f}" if suffix else "at 0.5": network
            for suffix, network in self.called.items()
        }

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics by name; some may be infinite."""
        found = {"network/true_edges": float(self.truth.edges)}
        if self.estimated_edges is not None:
            found["network/estimated_edges"] = self.estimated_edges
        found |= _prefixed("function_true", self.true_function)
        for kind in self.curve.by_kind if self.curve else ():
            assert self.curve
            best = self.curve.best(kind)
            found |= _prefixed(f"network_best/{kind}", {name: best[name] for name in PAIRED})
            found |= _prefixed(f"network_all/{kind}", self.curve.everything[kind])
        for suffix, called in self.called.items():
            found |= {
                f"network{suffix}/edges": float(called.network.edges),
                f"network{suffix}/threshold": called.probability,
            }
            for kind, measured in called.by_kind.items():
                found |= _prefixed(f"network{suffix}/{kind}", measured.overall)
            found |= _prefixed(f"function{suffix}", called.function)
        return found


def evaluate_network(
    references: NetworkReferences,
    resolved: ResolvedCheckpoint,
    inputs: SplitInputs,
    config: EvalConfig,
    *,
    split: str,
    device: torch.device,
) -> EvaluatedNetwork | None:
    """Scores all protein pairs of a split, and evaluates the predicted network.

    Args:
        references: What to compare with; if there are none, the function returns None.
        resolved: The run whose model is evaluated.
        inputs: SplitInputs of the scored split.
        config: Config of the evaluation.
        split: Name of the scored split.
        device: Where the model runs.

    Raises:
        DataError: the references have proteins that the split lacks, or there are too few.
        CheckpointError: the model gives scores that are not finite.
    """
    if not references:
        return None
    target = _Target.of(references, true_network(inputs.tables[split]), seed=config.compute.seed)
    truth, samples = target.truth, target.samples
    model = model_from_checkpoint(resolved.read(), device)
    pairs = max(1, PairGrid(shared=len(truth.proteins), include_self=truth.loops > 0).pairs)
    threshold, notes = matched_threshold(
        model, resolved, inputs, config, density=truth.edges / pairs, device=device
    )
    expected, problems = expected_edges(truth, samples, resolved, config, pairs=pairs)
    if OWN in samples:
        problems = [*problems, "no ratios for node sets of kind own: how they were drawn is not known"]
    features = features_of(inputs.cache, truth.proteins, model.GRANULARITY).to(device)
    if config.statistics.asked:  # after the validation pairs, which are of the training species
        take_asked_statistics(model, features, where=inputs.tables[split].source)
    called, expected_at = scored_to(
        EncodedProteins(model=model, states=encode_all(model, features), device=device),
        truth.proteins,
        include_self=truth.loops > 0,
        least=HALF if threshold is None else min(HALF, threshold),
        expected=expected,
    )
    logger.info(
        "all %s pairs of %s proteins scored in %.1f s",
        f"{called.scored:,}", f"{len(truth.proteins):,}", called.seconds,
    )  # fmt: skip
    marked = [at for at in (HALF, threshold, expected_at) if at is not None]
    prevalence = resolved.read().prevalence
    return EvaluatedNetwork(
        truth=truth,
        half=target.compared(called, HALF),
        matched=None if threshold is None else target.compared(called, threshold),
        expected=None if expected_at is None else target.compared(called, expected_at),
        how=expected.how if expected else "",
        curve=threshold_curve(called.pairs, called.logits, samples, marked=marked) if samples else None,
        estimated_edges=None if prevalence is None else called.counts.estimated_density(prevalence) * pairs,
        true_function=target.true_function,
        noise=target.noise,
        scored=called.scored,
        notes=(*notes, *problems),
    )


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What a called network is compared with.

    Attributes:
        references: Complexes, essential proteins and node sets.
        truth: The true network.
        samples: The node sets with their true networks, by kind.
        noise: The MMDs of two samples of the true network, by kind and size.
        true_function: The metrics on complexes and essential proteins of the true network itself.
    """

    references: NetworkReferences
    truth: Network
    samples: Mapping[str, TrueSample]
    noise: Mapping[str, Noise]
    true_function: Mapping[str, float]

    @classmethod
    def of(cls, references: NetworkReferences, truth: Network, *, seed: int) -> _Target:
        """Prepares the comparison.

        Raises:
            DataError: the references have proteins that the true network lacks, or there are too few.
        """
        sets = references.sets_of(truth, seed)
        samples = {kind: TrueSample.of(truth, node_sets) for kind, node_sets in sets.items()}
        true_function = _function(references, truth, truth)
        noise = {
            kind: sampling_noise(sample, kind, seed=seed) for kind, sample in samples.items() if kind != OWN
        }
        return cls(
            references=references, truth=truth, samples=samples, noise=noise, true_function=true_function
        )

    def compared(self, called: PredictedPairs, at: float) -> PredictedNetwork:
        """The network of the pairs with a logit of at least `at`, and its metrics."""
        network = called.network(at)
        return PredictedNetwork(
            threshold=at,
            network=network,
            by_kind={
                kind: network_metrics(network, sample, self.noise.get(kind))
                for kind, sample in self.samples.items()
            },
            function=_function(self.references, network, self.truth),
        )


def _function(references: NetworkReferences, network: Network, truth: Network) -> dict[str, float]:
    """Metrics on complexes and essential proteins, if the references have any."""
    found: dict[str, float] = {}
    if references.complexes:
        found |= complex_metrics(network, references.complexes)
    if references.essential:
        found |= essential_metrics(network, references.essential, references.non_essential, truth=truth)
    return found


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
