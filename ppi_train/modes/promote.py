"""The `promote` mode: registers a model if it beats the alias holder."""

from __future__ import annotations

import logging
from dataclasses import replace

from ppi_train.config.loading import logged_parameters
from ppi_train.config.schema import PromoteConfig
from ppi_train.errors import CheckpointError
from ppi_train.evaluation.bootstrap import paired_differences
from ppi_train.evaluation.pair_metrics import ranking_metrics, sigmoid
from ppi_train.modes.common_pairs import on_common_pairs
from ppi_train.modes.execute import PipelineResult
from ppi_train.modes.verdict import Verdict, judge, judge_first, log_verdict
from ppi_train.runs.checkpoints import (
    ResolvedCheckpoint,
    candidate_run_id,
    find_training_run,
    resolve_candidate,
    resolve_checkpoint,
)
from ppi_train.runs.lineage import code_version, refuse_leakage
from ppi_train.runs.scored_split import EvaluatedSplit, ScoredSplit, score_split, split_for
from ppi_train.tracking.model.log import TAG as MODEL_DIGEST
from ppi_train.tracking.model.log import verified_model
from ppi_train.tracking.registry.alias_lock import PromotionLostError
from ppi_train.tracking.registry.aliases import holder_of, promote_version
from ppi_train.tracking.registry.versions import Holder
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.runs import FoundRun, logged_model_of

logger = logging.getLogger(__name__)

REFUSED = 3


def run(config: PromoteConfig, tracked: TrackedRun) -> PipelineResult:
    """Compares candidate and holder, and moves the alias if the candidate wins.

    Both are scored on the same test pairs. A refusal changes nothing in the registry and gives exit code 3.

    Raises:
        TrackingError: no such run, or the registry does not answer.
        CheckpointError: the run has not finished, has no model, or its model was altered.
        DataError: the test pairs are among those that the candidate was trained on.
    """
    assert config.registered_model is not None  # the schema requires it
    model_id = _model_of(find_training_run(candidate_run_id(config)))
    model_digest = verified_model(model_id)
    if model_digest is None:
        logger.warning("the run's model has no digest, so changes to it cannot be detected")
    candidate = resolve_candidate(config)
    holder = holder_of(config.registered_model, config.alias)
    split = split_for(candidate, config)
    scored = score_split(candidate, config, split)
    tracked.identify(
        model=scored.model,
        candidate_run_id=candidate.run.run_id,
        registered_model=config.registered_model,
        split=scored.split,
        code_version=code_version(),
        **scored.inputs.tags,
    )
    named = replace(config, dataset=None if config.test_pairs else split.name, split=split.split)
    tracked.log_parameters(logged_parameters(named))
    scored.inputs.log(tracked)
    shared = refuse_leakage(candidate, scored.table, allowed=config.allow_leakage)
    if shared:
        tracked.set_tags({"ppi.leakage": f"{shared} test pairs were trained on"})
    if holder and holder.run_id == candidate.run.run_id:
        verdict = Verdict(promoted=False, why="the run's model holds the alias already")
        return log_verdict(verdict, config, tracked, exit_code=0)
    verdict = _judge(config, scored, holder, split)
    if not verdict.promoted:
        return log_verdict(verdict, config, tracked, exit_code=REFUSED)
    tags = _version_tags(candidate, scored, verdict, tracked, shared)
    if model_digest:
        tags[MODEL_DIGEST] = model_digest
    try:
        version = promote_version(
            name=config.registered_model,
            alias=config.alias,
            model_id=model_id,
            run_id=candidate.run.run_id,
            against=holder,
            tags=tags,
        )
    except PromotionLostError as error:
        lost = replace(verdict, promoted=False, why=str(error))
        return log_verdict(lost, config, tracked, exit_code=REFUSED)
    tracked.set_tags({"ppi.registered_version": version})
    logger.info("models:/%s@%s is now version %s", config.registered_model, config.alias, version)
    return log_verdict(verdict, config, tracked, exit_code=0)


def _model_of(run: FoundRun) -> str:
    if run.status != "FINISHED":
        how = "wait until it ends; or, if its process is gone, continue it" if run.running else "continue it"
        raise CheckpointError(
            "only a run that has finished can be promoted",
            where=run,
            got=run.status,
            expected="FINISHED",
            remedy=f"{how}: mlflow run . -e resume -P run_id={run.run_id}; or promote another run",
        )
    model_id = logged_model_of(run)
    if model_id is None:
        raise CheckpointError("the run has logged no model", where=run, remedy="promote another run")
    return model_id


def _judge(
    config: PromoteConfig, scored: ScoredSplit, holder: Holder | None, split: EvaluatedSplit
) -> Verdict:
    if holder is None:
        return judge_first(ranking_metrics(scored.logits, scored.labels), min_auprc=config.min_auprc)
    champion = resolve_checkpoint(holder.run_id)
    # A given cache has the candidate's embeddings; those of another embedder are made from the FASTA.
    same_recipe = _recipe(champion) == scored.inputs.cache.spec.recipe()
    holder_config = config if same_recipe else replace(config, embeddings=None)
    candidate, incumbent = on_common_pairs([scored, score_split(champion, holder_config, split)])
    differences = paired_differences(
        sigmoid(candidate.logits),
        sigmoid(incumbent.logits),
        candidate.labels,
        candidate.index,
        resamples=config.bootstrap_resamples,
        seed=config.seed,
    )
    return judge(differences, min_auprc=config.min_auprc, min_improvement=config.min_improvement)


def _recipe(resolved: ResolvedCheckpoint) -> object:
    return resolved.read().description["embedding"]["recipe"]


def _version_tags(
    candidate: ResolvedCheckpoint, scored: ScoredSplit, verdict: Verdict, tracked: TrackedRun, shared: int
) -> dict[str, str]:
    """Tags of the new model version: run, data digests, metrics."""
    run, split = candidate.run, scored.split
    digests = {f"ppi.digest.{name}": digest for name, digest in run.datasets.items()}
    digests[f"ppi.digest.{scored.inputs.name}/{split}"] = scored.table.digest[:36]
    figures = {f"ppi.{split}.{name}": f"{value:.6f}" for name, value in verdict.candidate.items()}
    embedder_run = scored.inputs.tags["embedder_run_id"]
    leakage = {"ppi.leakage": f"{shared} test pairs were trained on"} if shared else {}
    return {
        "ppi.run_id": run.run_id,
        "ppi.promotion_run_id": tracked.run_id,
        "ppi.lineage": ",".join(candidate.read().description.get("lineage", ())),
        "ppi.checkpoint_digest": candidate.digest,
        "ppi.embedder": str(scored.inputs.tags["embedder"]),
        **({"ppi.embedder_run_id": embedder_run} if embedder_run else {}),
        "ppi.code_version": run.tags.get("ppi.code_version", ""),
        **digests,
        **figures,
        **leakage,
    }
