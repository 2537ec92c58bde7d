"""The verdict of a promotion: decision, table and logging.

The `promote` mode: registers a model if it beats the alias holder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ppi_train.config.loading import logged_parameters
from ppi_train.errors import CheckpointError
from ppi_train.evaluation.pair_metrics import ranking_metrics
from ppi_train.evaluation.paired import PairedDifference, paired_differences
from ppi_train.modes.base import PipelineResult, prediction_with
from ppi_train.modes.compare import on_common_pairs
from ppi_train.runs.checkpoints import (
    ResolvedCheckpoint,
    candidate_run_id,
    find_training_run,
    resolve_candidate,
    resolve_checkpoint,
)
from ppi_train.runs.configs import PromoteConfig
from ppi_train.runs.lineage import code_version
from ppi_train.runs.options import RegistryOptions
from ppi_train.runs.scored_split import (
    SplitScores,
    SplitSource,
    refuse_other_numbers,
    score_split,
    split_for,
)
from ppi_train.runs.training_pairs import pairs_trained_on, refuse_leakage
from ppi_train.tracking.logged_model import TAG as MODEL_DIGEST
from ppi_train.tracking.logged_model import verified_model
from ppi_train.tracking.registry.alias_lock import PromotionLostError
from ppi_train.tracking.registry.aliases import holder_of, promote_version
from ppi_train.tracking.registry.versions import CurrentVersion, describe
from ppi_train.tracking.released_run import TAG as RELEASED
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.runs import RunInfo, UnknownRunError, needed_model_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PromotionDecision:
    """Whether a candidate is promoted, and why.

    `candidate` has the candidate's metrics by name; `differences` are those to the holder, if there is one.
    """

    promoted: bool
    why: str
    candidate: Mapping[str, float] = field(default_factory=dict)
    differences: Mapping[str, PairedDifference] = field(default_factory=dict)


_HELD = PromotionDecision(promoted=False, why="the run's model holds the alias already")


def decide_first(candidate: Mapping[str, float], *, min_auprc: float) -> PromotionDecision:
    """The verdict on the first model: it passes if AUPRC reaches `min_auprc`."""
    low = _too_low(candidate, min_auprc)
    return PromotionDecision(promoted=not low, why=low or "the first model of this name", candidate=candidate)


def decide(
    differences: Mapping[str, PairedDifference], *, min_auprc: float, min_improvement: float
) -> PromotionDecision:
    """The verdict on a challenger of the present holder.

    The lower bound of its gain in AUPRC must be above `min_improvement`, and its AUPRC at least `min_auprc`.
    """
    candidate = {name: difference.candidate for name, difference in differences.items()}
    bound = differences["auprc"].low
    passed = bound > min_improvement
    why = (
        f"the 95% interval of its gain in AUPRC starts at {bound:+.4f}, "
        f"{'above' if passed else 'not above'} min_improvement={min_improvement}"
    )
    low = _too_low(candidate, min_auprc)
    return PromotionDecision(
        promoted=passed and not low, why=low or why, candidate=candidate, differences=differences
    )


def _too_low(candidate: Mapping[str, float], floor: float) -> str:
    if candidate["auprc"] >= floor:
        return ""
    return f"its AUPRC, {candidate['auprc']:.4f}, is under min_auprc={floor}"


def log_decision(
    verdict: PromotionDecision, config: PromoteConfig, tracked: TrackedRun, *, exit_code: int
) -> PipelineResult:
    """Prints and logs the table and the verdict."""
    word = "promoted" if verdict.promoted else "not promoted"
    target = f"models:/{config.registry.registered_model}@{config.registry.alias}"
    for line in (*decision_table(verdict), f"{target}: {word}; {verdict.why}"):
        logger.info("%s", line)
    text = decision_text(verdict, config.registry)
    tracked.set_tags({"ppi.verdict": word})
    tracked.describe(text)
    metrics = _metrics(verdict)
    tracked.log_metrics(metrics)
    path = Path(config.output.output_dir) / tracked.run_id / "promotion.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    tracked.log_file(path)
    if exit_code:
        tracked.refuse()
    return PipelineResult(
        run_id=tracked.run_id,
        exit_code=exit_code,
        metrics=metrics,
        outputs={"verdict": word, "why": verdict.why},
        then=(prediction_with(f"model_uri={target}"),) if verdict.promoted else (),
    )


def decision_text(verdict: PromotionDecision, registry: RegistryOptions) -> str:
    """The verdict and its table as Markdown.

    The first line is plain: lists of versions show it alone, and not as Markdown.
    """
    word = "Promoted" if verdict.promoted else "Not promoted"
    target = f"models:/{registry.registered_model}@{registry.alias}"
    return "\n".join([f"{word} to {target}: {verdict.why}.", "", *decision_table(verdict), ""])


def _metrics(verdict: PromotionDecision) -> dict[str, float]:
    metrics = {f"promotion/{name}_candidate": value for name, value in verdict.candidate.items()}
    for name, paired in verdict.differences.items():
        metrics |= {f"promotion/{name}_holder": paired.holder, **paired.metrics(f"promotion/{name}")}
    return metrics


def decision_table(verdict: PromotionDecision) -> list[str]:
    """Candidate, holder, difference and its interval by metric, as lines of Markdown."""
    if not verdict.candidate:
        return []
    lines = ["| metric | candidate | holder | difference | 95% interval |", "| --- | --- | --- | --- | --- |"]
    for name in sorted(verdict.candidate, key=lambda metric: metric != "auprc"):
        cells = [name.upper(), f"{verdict.candidate[name]:.4f}", "none", "", ""]
        if name in verdict.differences:
            paired = verdict.differences[name]
            cells[2:] = [f"{paired.holder:.4f}", *paired.cells]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


REFUSED = 3
LEAKAGE = "ppi.leakage"
OTHER_NUMBERS = "ppi.other_numbers"
"""Tag of a promotion and its version: which models were scored on other numbers than their training's."""


def run(config: PromoteConfig, tracked: TrackedRun) -> PipelineResult:
    """Compares candidate and holder, and moves the alias if the candidate wins.

    Both are scored on the same test pairs. A released model may be the first of a name without test pairs:
    its figures decide. A refusal changes nothing in the registry and gives exit code 3.

    Raises:
        TrackingError: no such run, or the registry does not answer.
        CheckpointError: the run has not finished, has no model, or its model was altered; or the holder's
            run has no checkpoint to compare with.
        CacheError: the embeddings have other numbers than those that a model was trained on.
        DataError: test pairs are among those that the candidate was trained on, under any name, or that
            cannot be ruled out.
    """
    name, alias = config.registry.registered_model, config.registry.alias
    assert name is not None  # the schema requires it
    model_id = _model_of(find_training_run(candidate_run_id(config.evaluated)))
    model_digest = verified_model(model_id)
    if model_digest is None:
        logger.warning("the run's model has no digest, so changes to it cannot be detected")
    candidate = resolve_candidate(config.evaluated)
    holder = holder_of(name, alias)
    is_held = holder is not None and holder.run_id == candidate.run.run_id
    champion = _resolved(holder, config.registry) if holder and not is_held else None  # before the scoring
    has_figures = RELEASED in candidate.run.tags and not (config.pairs.test_pairs or config.data.dataset)
    if has_figures and (is_held or not holder):
        return _promote_by_figures(candidate, model_id, model_digest, config, tracked, is_held=is_held)
    split = split_for(candidate, config)
    scored = score_split(candidate, config, split)
    tracked.identify(
        model=scored.model,
        candidate_run_id=candidate.run.run_id,
        registered_model=name,
        split=scored.split,
        code_version=code_version(),
        **scored.inputs.tags,
    )
    named = config.replace(dataset=None if config.pairs.test_pairs else split.name, split=split.split)
    tracked.log_parameters(logged_parameters(named))
    scored.inputs.log(tracked)
    trained_on = pairs_trained_on(candidate, scored.table, scored.sequence_digests, config.data)
    refuse_leakage(trained_on, scored.table, allowed=config.promotion.allow_leakage)
    if trained_on.tag:
        tracked.set_tags({LEAKAGE: trained_on.tag})
    if is_held:
        return log_decision(_HELD, config, tracked, exit_code=0)
    compared = {"candidate": (candidate, scored)}
    if champion:
        compared["holder"] = (champion, _scored_holder(champion, config, scored, split))
    others = refuse_other_numbers(compared, allowed=config.promotion.allow_other_numbers)
    tracked.set_tags({OTHER_NUMBERS: others} if others else {})
    verdict = _decide(config, *(scores for _, scores in compared.values()))
    if not verdict.promoted:
        return log_decision(verdict, config, tracked, exit_code=REFUSED)
    digests = {f"ppi.digest.{scored.inputs.name}/{scored.split}": scored.table.digest[:36]}
    tags = _version_tags(candidate, verdict, tracked, split=scored.split) | digests
    optional = ((MODEL_DIGEST, model_digest), (OTHER_NUMBERS, others), (LEAKAGE, trained_on.tag))
    tags |= {tag: text for tag, text in optional if text}
    return _register(candidate, model_id, verdict, config, tracked, against=holder, tags=tags)


def _promote_by_figures(
    candidate: ResolvedCheckpoint,
    model_id: str,
    model_digest: str | None,
    config: PromoteConfig,
    tracked: TrackedRun,
    *,
    is_held: bool,
) -> PipelineResult:
    """Registers a released model as the first of a name, by the figures that it was released with."""
    run = candidate.run
    tracked.identify(
        model=run.tags["ppi.model"],
        candidate_run_id=run.run_id,
        registered_model=str(config.registry.registered_model),
        split="validation",
        code_version=code_version(),
    )
    tracked.log_parameters(logged_parameters(config))
    if is_held:
        return log_decision(_HELD, config, tracked, exit_code=0)
    figures = {name: run.metrics[f"val/{name}_best"] for name in ("auprc", "auroc")}
    verdict = decide_first(figures, min_auprc=config.promotion.min_auprc)
    verdict = replace(verdict, why=f"{verdict.why}; its figures are those of its release, on validation")
    if not verdict.promoted:
        return log_decision(verdict, config, tracked, exit_code=REFUSED)
    tags = _version_tags(candidate, verdict, tracked, split="validation")
    tags |= {RELEASED: run.tags[RELEASED], **({MODEL_DIGEST: model_digest} if model_digest else {})}
    return _register(candidate, model_id, verdict, config, tracked, against=None, tags=tags)


def _register(
    candidate: ResolvedCheckpoint,
    model_id: str,
    verdict: PromotionDecision,
    config: PromoteConfig,
    tracked: TrackedRun,
    *,
    against: CurrentVersion | None,
    tags: Mapping[str, str],
) -> PipelineResult:
    """Makes a version of the model and gives it the alias, unless another promotion was faster."""
    name, alias = str(config.registry.registered_model), config.registry.alias
    try:
        version = promote_version(
            name=name,
            alias=alias,
            model_id=model_id,
            run_id=candidate.run.run_id,
            against=against,
            tags=tags,
            description=_version_note(candidate, verdict, config, tracked),
        )
    except PromotionLostError as error:
        lost = replace(verdict, promoted=False, why=str(error))
        return log_decision(lost, config, tracked, exit_code=REFUSED)
    tracked.set_tags({"ppi.registered_version": version})
    logger.info("models:/%s@%s is now version %s", name, alias, version)
    return log_decision(verdict, config, tracked, exit_code=0)


def _version_note(
    candidate: ResolvedCheckpoint, verdict: PromotionDecision, config: PromoteConfig, tracked: TrackedRun
) -> str:
    """The description of a version: verdict, figures, lineage."""
    run = candidate.run
    trained = tracked.link_to(run.run_id, run.name or run.run_id, run.experiment_id)
    ancestors = candidate.read().description.get("lineage", ())
    lineage = "".join(f", from the weights of run {run_id}" for run_id in reversed(ancestors))
    facts = [
        f"Trained by {trained}{lineage}.",
        f"Training data: {', '.join(sorted(run.datasets)) or 'not recorded'}.",
        f"Compared and promoted by {tracked.link_to(tracked.run_id, f'run {tracked.run_id}')}.",
    ]
    return decision_text(verdict, config.registry) + "\n" + "\n".join(f"- {fact}" for fact in facts)


def _model_of(run: RunInfo) -> str:
    if run.status != "FINISHED":
        how = "wait until it ends; or, if its process is gone, continue it" if run.running else "continue it"
        raise CheckpointError(
            "only a run that has finished can be promoted",
            where=run,
            got=run.status,
            expected="FINISHED",
            remedy=f"{how}: mlflow run . --env-manager local -e resume -P run_id={run.run_id}; "
            "or promote another run",
        )
    return needed_model_of(run, remedy="promote another run")


def _resolved(holder: CurrentVersion, registry: RegistryOptions) -> ResolvedCheckpoint:
    """The checkpoint of the version that has the alias, or why nothing can be compared with it."""
    name, alias = registry.registered_model, registry.alias
    try:
        return resolve_checkpoint(holder.run_id)
    except (UnknownRunError, CheckpointError) as error:
        raise type(error)(
            f"the present version cannot be compared with: {error.what}",
            where=f"models:/{name}@{alias}, {describe(holder)}",
            got=error.got,
            expected=error.expected,
            remedy=f"{error.remedy}; or give the alias back to the version before: "
            "mlflow run . --env-manager local -e rollback "
            f"-P registered_model={name} -P alias={alias}; or remove the alias in the MLflow UI, after which "
            "min_auprc alone decides",
        ) from None


def _scored_holder(
    champion: ResolvedCheckpoint, config: PromoteConfig, scored: SplitScores, split: SplitSource
) -> SplitScores:
    # A given cache has the candidate's embeddings; those of another embedder are made from the FASTA.
    same_recipe = _recipe(champion) == scored.inputs.cache.spec.recipe()
    return score_split(champion, config if same_recipe else config.replace(embeddings=None), split)


def _decide(
    config: PromoteConfig, scored: SplitScores, holder: SplitScores | None = None
) -> PromotionDecision:
    if holder is None:
        metrics = ranking_metrics(scored.logits, scored.labels)
        return decide_first(metrics, min_auprc=config.promotion.min_auprc)
    candidate, incumbent = on_common_pairs([scored, holder])
    differences = paired_differences(
        candidate.logits,
        incumbent.logits,
        candidate.labels,
        candidate.index,
        resamples=config.measure.bootstrap_resamples,
        seed=config.compute.seed,
    )
    return decide(
        differences,
        min_auprc=config.promotion.min_auprc,
        min_improvement=config.promotion.min_improvement,
    )


def _recipe(resolved: ResolvedCheckpoint) -> object:
    return resolved.read().description["embedding"]["recipe"]


def _version_tags(
    candidate: ResolvedCheckpoint, verdict: PromotionDecision, tracked: TrackedRun, *, split: str
) -> dict[str, str]:
    """Tags of the new model version: run, digests of the training data, metrics of the split."""
    run, description = candidate.run, candidate.read().description
    embedder: Mapping[str, Any] = description["embedding"]["recipe"]["embedder"]
    embedder_run = (embedder.get("parameters") or {}).get("run_id")
    return {
        "ppi.run_id": run.run_id,
        "ppi.promotion_run_id": tracked.run_id,
        "ppi.lineage": ",".join(description.get("lineage", ())),
        "ppi.checkpoint_digest": candidate.digest,
        "ppi.embedder": str(embedder["name"]),
        **({"ppi.embedder_run_id": str(embedder_run)} if embedder_run else {}),
        "ppi.code_version": run.tags.get("ppi.code_version", ""),
        **{f"ppi.digest.{name}": digest for name, digest in run.datasets.items()},
        **{f"ppi.{split}.{name}": f"{value:.6f}" for name, value in verdict.candidate.items()},
    }
