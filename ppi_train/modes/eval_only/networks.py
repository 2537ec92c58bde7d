"""The network part of `eval_only`: predicted network compared with the true one.

All pairs of the test proteins are scored, and pairs are called at two thresholds: the probability 0.5, and
the threshold at which the called share of the run's validation pairs equals the share of interacting pairs
in the test network. The true network has the positive test pairs as edges, over all proteins of the test
pairs. Proteins are paired with themselves only if the true network has a self-interaction, as PRING's
networks do. Scores are the model's raw logits: a temperature would change neither their order nor which of
them are above 0.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ppi_train.checkpoints import model_from_checkpoint
from ppi_train.data.pairs import PairTable
from ppi_train.errors import UserError
from ppi_train.evaluation.network import Network, density_threshold, network_from_pairs
from ppi_train.evaluation.network.function import complex_metrics, essential_metrics
from ppi_train.evaluation.network.topology import (
    NetworkMetrics,
    Noise,
    TrueSample,
    network_metrics,
    sampling_noise,
)
from ppi_train.evaluation.options import OWN
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.features import features_of
from ppi_train.inference.all_pairs import predict_pairs
from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.scoring import score_pairs
from ppi_train.io.files import write_file
from ppi_train.models.base import PairModel
from ppi_train.modes.eval_only.references import NetworkReferences
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.configs import EvalConfig
from ppi_train.runs.inputs import SplitInputs
from ppi_train.runs.scored_split import validation_inputs
from ppi_train.tracking.run import TrackedDataset, TrackedRun

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
        true_function: The metrics on complexes and essential proteins of the true network itself: what a
            perfect prediction would reach.
        noise: The MMDs of two samples of the true network, by kind and size.
        scored: How many pairs were scored.
        notes: What was left out, and why.
    """

    truth: Network
    half: PredictedNetwork
    matched: PredictedNetwork | None
    true_function: Mapping[str, float]
    noise: Mapping[str, Noise]
    scored: int
    notes: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics by name; some may be infinite."""
        found = {"network/true_edges": float(self.truth.edges)}
        found |= _prefixed("function_true", self.true_function)
        for suffix, called in (("", self.half), ("_matched", self.matched)):
            if called is None:
                continue
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
    truth = true_network(inputs.tables[split])
    sets = references.sets_of(truth, config.compute.seed)
    samples = {kind: TrueSample.of(truth, node_sets) for kind, node_sets in sets.items()}
    true_function = _function(
        references, truth, truth
    )  # before the scoring, so that references that do not fit fail early
    model = model_from_checkpoint(resolved.read(), device)
    pairs = max(1, PairGrid(shared=len(truth.proteins), include_self=truth.loops > 0).pairs)
    threshold, notes = _matched_threshold(
        model, resolved, inputs, config, density=truth.edges / pairs, device=device
    )
    called = predict_pairs(
        model,
        features_of(inputs.cache, truth.proteins, model.GRANULARITY).to(device),
        truth.proteins,
        include_self=truth.loops > 0,
        least=HALF if threshold is None else min(HALF, threshold),
        device=device,
    )
    logger.info(
        "all %s pairs of %s proteins scored in %.1f s",
        f"{called.scored:,}", f"{len(truth.proteins):,}", called.seconds,
    )  # fmt: skip
    noise = {
        kind: sampling_noise(sample, kind, seed=config.compute.seed)
        for kind, sample in samples.items()
        if kind != OWN
    }
    if OWN in samples:
        notes.append("no ratios for node sets of kind own: how they were drawn is not known")

    def compared(at: float) -> PredictedNetwork:
        network = called.network(at)
        return PredictedNetwork(
            threshold=at,
            network=network,
            by_kind={
                kind: network_metrics(network, sample, noise.get(kind)) for kind, sample in samples.items()
            },
            function=_function(references, network, truth),
        )

    return EvaluatedNetwork(
        truth=truth,
        half=compared(HALF),
        matched=None if threshold is None else compared(threshold),
        true_function=true_function,
        noise=noise,
        scored=called.scored,
        notes=tuple(notes),
    )


def true_network(table: PairTable) -> Network:
    """The network of the positive pairs, over all proteins of a table.

    Raises:
        DataError: the pairs have no labels.
    """
    return network_from_pairs(table.proteins, table.index[table.required_labels == 1])


def _matched_threshold(
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


def log_network(
    evaluated: EvaluatedNetwork,
    tracked: TrackedRun,
    folder: Path,
    *,
    model_id: str | None,
    dataset: TrackedDataset,
) -> None:
    """Logs the metrics, writes and uploads `network.json`, and prints the table.

    A tracking store rejects an infinite value, or replaces it by the largest number. Infinite values are
    therefore only in the file, and a warning names them.
    """
    infinite = sorted(name for name, value in evaluated.metrics.items() if not math.isfinite(value))
    finite = {name: value for name, value in evaluated.metrics.items() if math.isfinite(value)}
    tracked.log_metrics(finite, model_id=model_id, dataset=dataset)
    path = folder / "network.json"
    write_file(path, (json.dumps(_record(evaluated), indent=2, allow_nan=False) + "\n").encode())
    tracked.log_file(path)
    logger.info("%s", network_text(evaluated))
    if infinite:
        logger.warning("infinite, and in network.json alone: %s", ", ".join(infinite))


def _record(evaluated: EvaluatedNetwork) -> dict[str, object]:
    """The results as JSON values; infinite numbers as text."""
    networks = {"at_0.5": evaluated.half, "matched": evaluated.matched}
    return {
        "proteins": len(evaluated.truth.proteins),
        "scored_pairs": evaluated.scored,
        "true_edges": evaluated.truth.edges,
        "true_function": dict(evaluated.true_function),
        "notes": list(evaluated.notes),
        "noise": evaluated.noise,
        **{name: _called_record(called) for name, called in networks.items() if called},
    }


def _called_record(called: PredictedNetwork) -> dict[str, object]:
    kinds = {
        kind: {
            "overall": _plain(measured.overall),
            "by_size": {size: _plain(values) for size, values in measured.by_size.items()},
        }
        for kind, measured in called.by_kind.items()
    }
    return {
        "threshold_logit": called.threshold,
        "threshold": called.probability,
        "edges": called.network.edges,
        "node_sets": kinds,
        "function": dict(called.function),
    }


def _plain(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: value if math.isfinite(value) else "infinite" for name, value in values.items()}


def network_text(evaluated: EvaluatedNetwork) -> str:
    """A readable table of the metrics at both thresholds."""
    columns = [called for called in (evaluated.half, evaluated.matched) if called]
    heads = ["at 0.5", f"at {evaluated.matched.probability:.4f}" if evaluated.matched else ""][: len(columns)]
    lines = [
        f"network of {len(evaluated.truth.proteins):,} proteins, {evaluated.truth.edges:,} edges in truth",
        _row("", heads, "truth"),
        _row("edges", [f"{called.network.edges:,}" for called in columns], f"{evaluated.truth.edges:,}"),
    ]
    for kind, measured in evaluated.half.by_kind.items():
        for name in measured.overall:
            values = [_number(called.by_kind[kind].overall[name]) for called in columns]
            lines.append(_row(f"{kind} {name}", values, _PERFECT.get(name, "")))
    for name, true in evaluated.true_function.items():
        lines.append(_row(name, [_number(called.function[name]) for called in columns], _number(true)))
    if evaluated.matched:
        at = f"{evaluated.matched.probability:.4f}"
        lines.append(f"  at {at} validation pairs are called as densely as the true network has edges")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.0f}"


# Metrics of a network compared with itself.
_PERFECT = {"graph_similarity": "1", "relative_density": "1"} | {
    f"{name}_mmd": "0" for name in ("degree", "clustering", "spectral")
}


def _row(label: str, values: Sequence[str], truth: str) -> str:
    return f"  {label:40}" + "".join(f"{cell:>12}" for cell in [*values, truth])
