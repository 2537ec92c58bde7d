"""The end of a training: evaluation, page, description, logged model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppi_train.checkpoints import model_from_checkpoint, read_checkpoint
from ppi_train.config.options import MONITORED
from ppi_train.evaluation.pair_metrics import (
    THRESHOLD,
    expected_calibration_error,
    pair_metrics,
    sigmoid,
)
from ppi_train.features import PairData
from ppi_train.inference.scoring import score_pairs_with_uncertainty
from ppi_train.modes.base import PipelineResult, prediction_with, promotion_of
from ppi_train.modes.eval_only.report import (
    REPORT,
    calibration_section,
    log_evaluation,
    made_by,
    ranking_section,
    write_report,
)
from ppi_train.reporting.page import Column, Picture, ReportContent, Row, Section, Table
from ppi_train.reporting.sections import evaluation_headline, metrics_section
from ppi_train.runs.inputs import SplitInputs
from ppi_train.runs.lineage import code_version, command_of
from ppi_train.serving import SCORER, embedder_checkpoint, input_example, served_requirements
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.pair_task import REFERENCE_SHARE
from ppi_train.training.trainer import Trainer, TrainResult

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


def evaluate_best(
    tracked: TrackedRun,
    output: Path,
    inputs: SplitInputs,
    validation: PairData,
    trainer: Trainer,
    *,
    mode: str,
    model: str,
    parameters: Mapping[str, str],
    note: str = "",
) -> dict[str, float]:
    """Evaluates the best checkpoint on validation; logs figures, predictions, page.

    The run's description becomes the result, with a note.

    Returns:
        The final metrics of the run, which are not logged yet.
    """
    result = trainer.result
    best = model_from_checkpoint(read_checkpoint(output / "checkpoints" / "best"), trainer.device)
    scores = score_pairs_with_uncertainty(best, validation)
    logits, uncertainty = (values.cpu().numpy() for values in scores)
    labels = validation.labels.cpu().numpy().astype(np.int8)
    measured = pair_metrics(logits, labels, are_logits=True)
    as_trained = sigmoid(logits * best.temperature)
    drawn = log_evaluation(
        inputs.tables["validation"],
        logits,
        tracked,
        output,
        title=f"{model} on {inputs.name}, validation",
        split="validation",
        uncertainty=uncertainty,
        history=result.history,
        best_metric=trainer.options.early_stopping_metric,
    )
    _log_report(
        tracked,
        output,
        inputs,
        trainer,
        mode=mode,
        model=model,
        parameters=parameters,
        drawn=drawn,
        metrics=measured,
    )
    _describe(tracked, inputs, trainer, model=model, note=note)
    of_best = {f"val/{name}": value for name, value in measured.items()}
    # An epoch that an older version measured has no `val/auprc_1to100`; its weights do.
    of_epoch = {**of_best, **result.best}
    return {
        **{f"{name}_best": of_epoch[name] for name in MONITORED},
        "val/temperature_best": best.temperature,
        **{f"{name}_best": value for name, value in result.best.items() if name == REFERENCE_SHARE},
        **{name: value for name, value in of_best.items() if name not in MONITORED},
        "val/ece_uncalibrated": expected_calibration_error(as_trained, labels),
        "best_epoch": result.best["epoch"],
    }


def _speed(result: TrainResult, tracked: TrackedRun) -> dict[str, float]:
    speed = {"system/training_pairs_per_second": result.units_per_second}
    if result.first_step_at:  # no step was taken if a continued run had only its end left
        speed["system/seconds_to_first_step"] = result.first_step_at - tracked.started_at
        speed["system/startup_seconds"] = result.first_step_at - tracked.startup_from
    return speed


def log_best_model(
    tracked: TrackedRun,
    output: Path,
    inputs: SplitInputs,
    metrics: Mapping[str, float],
    result: TrainResult,
    *,
    model: str,
    parameters: Mapping[str, str],
) -> dict[str, float]:
    """Logs the best checkpoint as the run's model, with the final metrics.

    Returns:
        The metrics, with those of speed and of the time spent in tracking.
    """
    checkpoint = output / "checkpoints" / "best"
    model_id = log_checkpoint_as_model(
        tracked, checkpoint, inputs, result.best, model=model, parameters=parameters
    )
    tracked.log_metrics(metrics, model_id=model_id, dataset=inputs.dataset("validation"))
    speed = {
        **_speed(result, tracked),
        "system/tracking_seconds": tracked.seconds,
        "system/tracking_blocked_seconds": tracked.blocked_seconds,
    }
    tracked.log_metrics(speed)
    final = {**metrics, **speed}
    logger.info(
        "best epoch %d: val AUROC %.4f, val AUPRC %.4f; training %s pairs/s; run %s",
        int(final["best_epoch"]), final["val/auroc_best"], final["val/auprc_best"],
        f"{final['system/training_pairs_per_second']:,.0f}", tracked.run_id,
    )  # fmt: skip
    return final


def log_checkpoint_as_model(
    tracked: TrackedRun,
    checkpoint: Path,
    inputs: SplitInputs,
    best: Mapping[str, float],
    *,
    model: str,
    parameters: Mapping[str, str],
) -> str:
    """Logs a checkpoint as the run's model; returns the placeholder of its ID.

    Args:
        tracked: The run.
        checkpoint: Its best checkpoint, on this machine.
        inputs: Training and validation pairs.
        best: The metrics `val/...` of the checkpoint's epoch.
        model: The name of the model.
        parameters: The parameters that the run logs.
    """
    return tracked.log_model(
        f"{model}-{inputs.name}",
        checkpoint,
        embedder=embedder_checkpoint(inputs.cache.spec),
        scorer=SCORER,
        example=input_example(inputs.cache.spec, inputs.tables["validation"]),
        requirements=served_requirements(str(inputs.cache.spec.embedder["name"])),
        parameters=dict(parameters),
        tags={
            "ppi.model": model,
            "ppi.dataset": inputs.name,
            "mlflow.note.content": _headline(best, inputs, model=model),
        },
    )


def trained(tracked: TrackedRun, output: Path, metrics: Mapping[str, float]) -> PipelineResult:
    """The result of the training of a pair model."""
    run_id = tracked.run_id
    return PipelineResult(
        run_id=run_id,
        metrics=metrics,
        outputs={"checkpoints": str(output), "report": str(output / REPORT)},
        then=(f"eval_only -P run_id={run_id}", prediction_with(f"run_id={run_id}"), promotion_of(run_id)),
    )


def _log_report(
    tracked: TrackedRun,
    output: Path,
    inputs: SplitInputs,
    trainer: Trainer,
    *,
    mode: str,
    model: str,
    parameters: Mapping[str, str],
    drawn: Mapping[str, Figure],
    metrics: Mapping[str, float],
) -> None:
    """Writes the page of a training and uploads it.

    Args:
        tracked: The run.
        output: Its folder on this machine.
        inputs: Training and validation pairs.
        trainer: It has finished.
        mode: The run mode.
        model: The name of the model.
        parameters: The parameters that the run logs.
        drawn: Figures of the best checkpoint on the validation pairs, and of the epochs.
        metrics: Of that checkpoint, by name.
    """
    table = inputs.tables["validation"]
    content = ReportContent(
        kind="Training",
        title=f"{model} on {inputs.name}",
        facts=(
            ("data set", inputs.name),
            ("training pairs", f"{len(inputs.tables['train']):,}"),
            ("validation pairs", f"{len(table):,}"),
            ("best epoch", f"{trainer.result.best['epoch']:.0f} of {trainer.epoch}"),
            ("embedder", str(inputs.cache.spec.embedder["name"])),
        ),
        headline=evaluation_headline(metrics, prevalence=float(table.required_labels.mean())),
        training=_training(trainer, drawn["curves"]),
        metrics=metrics_section(
            metrics,
            calls="Of the best epoch, on the validation pairs, by which it was chosen. Pairs are called "
            f"interacting at a probability of {THRESHOLD} or above.",
        ),
        curves=ranking_section(drawn),
        calibration=calibration_section(drawn),
        lineage=Section(
            tables=(_lineage(tracked, inputs),),
            commands=(command_of(mode, parameters),),
        ),
        made_by=made_by(tracked),
    )
    write_report(content, tracked, output)


def _describe(tracked: TrackedRun, inputs: SplitInputs, trainer: Trainer, *, model: str, note: str) -> None:
    """Sets the run's description: result, course, page and a note."""
    lines = [
        f"**{_headline(trainer.result.best, inputs, model=model)}**, {_course(trainer)}.",
        f"The page of this training: {tracked.link_to_artifact(REPORT, REPORT)}.",
        note,
    ]
    tracked.describe("\n\n".join(line for line in lines if line))


def _headline(best: Mapping[str, float], inputs: SplitInputs, *, model: str) -> str:
    figures = f"validation AUROC {best['val/auroc']:.4f}, AUPRC {best['val/auprc']:.4f}"
    return f"{model} on {inputs.name}: {figures}"


def _course(trainer: Trainer) -> str:
    """The best epoch of how many, and whether training stopped early."""
    course = f"epoch {trainer.result.best['epoch']:.0f} of {trainer.epoch}"
    if not trainer.stopped_early:
        return course
    options = trainer.options
    return (
        f"{course}, where it stopped early: {options.early_stopping_metric} had not improved for "
        f"{options.early_stopping_patience} epochs (of {options.epochs} allowed)"
    )


def _training(trainer: Trainer, curves: Figure) -> Section:
    from ppi_train.reporting import figures  # matplotlib, slow to import

    best_metric = trainer.options.early_stopping_metric
    return Section(
        pictures=(
            Picture(
                svg=figures.as_svg(curves),
                alt="Loss of training and validation, and AUROC and AUPRC of validation, by epoch",
                caption=f"The best epoch by {best_metric} is marked: {_course(trainer)}.",
                shape="wide",
            ),
        )
    )


def _lineage(tracked: TrackedRun, inputs: SplitInputs) -> Table:
    spec = inputs.cache.spec
    rows = [
        ("trained by", f"run {tracked.run_id}"),
        ("embedder", str(spec.embedder["name"])),
        *([("embedder trained by", f"run {spec.embedder_run_id}")] if spec.embedder_run_id else []),
        ("embeddings", f"sha256 {inputs.cache.digest}"),
        ("their numbers", f"sha256 {inputs.cache.content_digest}"),
        *((f"{split} pairs", f"sha256 {table.digest}") for split, table in inputs.tables.items()),
        ("code", code_version()),
    ]
    return Table(
        caption="What the model follows from",
        columns=(Column(name="what"), Column(name="which", kind="code")),
        rows=tuple(Row(cells=cells) for cells in rows),
    )
