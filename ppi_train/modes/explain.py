"""The `explain` mode: residue weights behind the score of a pair.

It writes them as a table and a figure.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ppi_train.checkpoints import model_from_checkpoint
from ppi_train.config.loading import logged_parameters
from ppi_train.data.fasta import read_fasta
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.features import features_of
from ppi_train.inference.explanation import explain_pair
from ppi_train.inference.output import write_residue_weights
from ppi_train.models.device import resolve_device
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.predict.inputs import named_fastas, opened_cache
from ppi_train.runs.checkpoints import resolve_candidate
from ppi_train.runs.configs import ExplainConfig
from ppi_train.runs.lineage import code_version
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder

logger = logging.getLogger(__name__)

# Residues per protein in the log; the table has all.
_SHOWN = 5


def run(config: ExplainConfig, tracked: TrackedRun) -> PipelineResult:
    """Explains a pair's score with the best checkpoint of a run.

    Raises:
        ConfigError: the model cannot explain.
        TrackingError, CheckpointError: the checkpoint is not available.
        DataError, CacheError: a protein has no embedding, or embeddings of another kind than the model's.
    """
    resolved = resolve_candidate(config.evaluated)
    checkpoint = resolved.read()
    device = resolve_device(config.compute.device)
    model = model_from_checkpoint(checkpoint, device)
    fastas = named_fastas(config.data, config.cache)
    names = (str(config.explanation.protein_a), str(config.explanation.protein_b))
    named = {"protein_a, protein_b": names}
    cache = opened_cache(config.data, config.cache, config.compute, checkpoint, fastas, named)
    tracked.identify(
        model=checkpoint.description["model"]["name"],
        dataset="-".join(names),
        evaluated_run_id=resolved.run.run_id,
        code_version=code_version(),
        **cache.tags,
    )
    tracked.log_parameters(logged_parameters(config))
    distinct = list(dict.fromkeys(names))
    features = features_of(cache, distinct, model.GRANULARITY).to(device)
    rows = (distinct.index(names[0]), distinct.index(names[1]))
    logit, weights = explain_pair(model, features, rows, device)
    sequences = _sequences(fastas, names)
    probability = float(sigmoid(np.array(logit)))
    with run_folder(config.output.output_dir, tracked.run_id) as output:
        _log(tracked, output, names, weights, sequences, probability)
    for name, residue_weights in zip(names, weights, strict=True):
        logger.info("%s: most weight on %s", name, _top_residues(residue_weights, sequences.get(name)))
    metrics = {"explain/probability": probability, "explain/logit": logit}
    tracked.log_metrics(metrics)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={})


def _sequences(fastas: list[Path], names: tuple[str, str]) -> dict[str, str]:
    """Sequences of the named proteins in the FASTAs; none without a FASTA."""
    found: dict[str, str] = {}
    for path in fastas:
        sequences = read_fasta(path).sequences
        found |= {name: sequences[name] for name in names if name in sequences}
    return found


def _log(
    tracked: TrackedRun,
    output: Path,
    names: tuple[str, str],
    weights: list[np.ndarray],
    sequences: dict[str, str],
    probability: float,
) -> None:
    from ppi_train.reporting import figures  # matplotlib, slow to import

    table = output / "explanation" / "residue_weights.tsv"
    table.parent.mkdir(parents=True, exist_ok=True)
    # A cache may have only the ends of a long protein; the kept residues are then numbered from 1.
    of_whole = {
        name: text for name, text in sequences.items() if len(text) == len(weights[names.index(name)])
    }
    write_residue_weights(table, names, weights, of_whole)
    title = f"{names[0]} and {names[1]}, probability {probability:.3f}"
    figures.save_figures(
        {"residue_weights": figures.residue_weights_figure(names, weights, title)}, table.parent
    )
    tracked.log_folder(table.parent, "explanation")


def _top_residues(weights: np.ndarray, sequence: str | None) -> str:
    """The residues with the largest weights, such as P12 or 12, sorted."""
    letters = sequence if sequence and len(sequence) == len(weights) else None
    positions = np.argsort(-weights, kind="stable")[:_SHOWN].tolist()
    return ", ".join(f"{letters[position] if letters else ''}{position + 1}" for position in positions)
