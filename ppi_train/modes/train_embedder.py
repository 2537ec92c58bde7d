"""The `train_embedder` mode: trains the language model of the embedder `protein_lm`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ppi_train.checkpoints import Checkpoint
from ppi_train.config.loading import config_values, logged_parameters
from ppi_train.data.fasta import write_fasta
from ppi_train.embeddings.embedders.protein_lm import (
    NAME,
    SEPARATOR,
    CausalLstm,
    new_language_model,
    tokenize,
)
from ppi_train.models.device import (
    check_model_fits,
    describe_device,
    resolve_amp,
    resolve_device,
    seed_everything,
)
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.train.processes import batches_of, training_ranks
from ppi_train.modes.train.training_run import TrainingJob, fit, log_config, run_callbacks
from ppi_train.runs.configs import TrainEmbedderConfig
from ppi_train.runs.language_text import LanguageText, language_text
from ppi_train.runs.lineage import code_version
from ppi_train.tracking.run import TrackedDataset, TrackedRun
from ppi_train.tracking.run_folder import run_folder
from ppi_train.training.callbacks import Callback, CheckpointUploader
from ppi_train.training.language_task import PARTS_A_PASS, LanguageTask
from ppi_train.training.ranks import ProcessGroup, Ranks
from ppi_train.training.signals import Interruption
from ppi_train.training.trainer import Trainer, TrainResult

logger = logging.getLogger(__name__)

MODE = "train_embedder"


def run(config: TrainEmbedderConfig, tracked: TrackedRun) -> PipelineResult:
    """Trains on the sequences of a FASTA or a data set, and of further FASTAs."""
    with run_folder(config.output.output_dir, tracked.run_id) as output:
        return embedder_job(config).train(tracked, output, None)


def embedder_job(config: TrainEmbedderConfig) -> TrainingJob:
    """Reads the sequences of the training run that a config specifies.

    Raises:
        DataError: the sequences are not available, or are too few.
    """
    text = language_text(config)
    completed = config.replace(
        dataset=None if config.text.fasta else text.name,
        amp=resolve_amp(config.compute.amp, config.compute.device, gains=CausalLstm.GAINS_BY_BF16),
        **batches_of(config, config.training.batch_size),
    )
    return TrainingJob(
        mode=MODE,
        config=completed,
        digests=text.digests,
        recorded={name: digest[:36] for name, digest in text.digests.items()},
        train=partial(_train, completed, text),
        follow=partial(_follow, completed, text),
    )


def _train(
    config: TrainEmbedderConfig,
    text: LanguageText,
    tracked: TrackedRun,
    output: Path,
    continued: Checkpoint | None,
) -> PipelineResult:
    """Builds the language model, fits it, and logs its perplexity.

    Raises:
        DataError: too few residues.
        UserError: see the trainer.
    """
    device = resolve_device(config.compute.device)
    saving = config.training.checkpoint_every
    with CheckpointUploader(tracked, output / "checkpoints", every=saving) as uploader:
        _log_start(config, text, tracked, output, describe_device(device))

        with training_ranks(tracked, output, config, text.digests, device) as ranks:
            callbacks = run_callbacks(tracked, uploader)
            trainer = _trainer(config, text, ranks, device, callbacks=callbacks, checkpoints=uploader.folder)
            result = fit(trainer, tracked, continued)

        metrics = _log_end(result, tracked)
    embedder = f"-P embedder=protein_lm -P embedder_run_id={tracked.run_id}"
    return PipelineResult(
        run_id=tracked.run_id,
        metrics=metrics,
        outputs={"checkpoints": str(output)},
        then=(
            f"embed {embedder} -P fasta=YOUR.fasta -P output=YOUR.parquet",
            f"train_only {embedder} -P train_pairs=YOUR.tsv -P val_pairs=YOUR.tsv -P fasta=YOUR.fasta",
        ),
    )


def _follow(config: TrainEmbedderConfig, text: LanguageText, group: ProcessGroup) -> None:
    """Takes part in the training as another rank, with the weights of the first."""
    device = resolve_device(config.compute.device)
    _trainer(config, text, group.on(device), device, callbacks=[Interruption()]).run()


def _trainer(
    config: TrainEmbedderConfig,
    text: LanguageText,
    ranks: Ranks,
    device: torch.device,
    *,
    callbacks: Sequence[Callback],
    checkpoints: Path = Path(),
) -> Trainer:
    """The trainer of a new language model."""
    hyperparameters = {"hidden_dim": config.model.hidden_dim, "num_layers": config.model.num_layers}
    build = partial(new_language_model, hyperparameters)
    check_model_fits(build, device)
    seed_everything(config.compute.seed, deterministic=config.compute.deterministic)
    return Trainer(
        build().to(device),
        # An epoch of the trainer is only a part of a pass over the data.
        replace(config.training, epochs=config.training.epochs * PARTS_A_PASS),
        scheduler=config.scheduler,
        amp=config.compute.amp,
        task=_task(config, text, device),
        checkpoints=checkpoints,
        description=_description(config, text, hyperparameters),
        callbacks=callbacks,
        ranks=ranks,
    )


def _task(config: TrainEmbedderConfig, text: LanguageText, device: torch.device) -> LanguageTask:
    return LanguageTask(
        train=[tokenize(sequence) for sequence in text.train.values()],
        validation=[tokenize(sequence) for sequence in text.held_out.values()],
        separator=SEPARATOR,
        window=config.model.window,
        batch_size=config.training.batch_size,
        seed=config.compute.seed,
        device=device,
    )


def _description(
    config: TrainEmbedderConfig, text: LanguageText, hyperparameters: Mapping[str, object]
) -> dict[str, object]:
    return {
        "mode": MODE,
        "model": {"name": NAME, "hyperparameters": dict(hyperparameters)},
        "text": {
            "digest": text.digest,
            "sequences": len(text.train) + len(text.held_out),
            "excluded": text.excluded,
            **({"text_fasta": [vars(file) for file in text.further]} if text.further else {}),
        },
        "config": config_values(config),
    }


def _log_start(
    config: TrainEmbedderConfig, text: LanguageText, tracked: TrackedRun, output: Path, device: str
) -> None:
    if not tracked.continues:
        tracked.identify(model=NAME, dataset=text.name, device=device, code_version=code_version())
        tracked.log_parameters(logged_parameters(config))
    if not (tracked.continues and tracked.continues.datasets):
        tracked.log_datasets(_datasets(config, text))
    residues = sum(map(len, text.train.values()))
    tracked.log_metrics(
        {
            "data/sequences": len(text.train),
            "data/residues": residues,
            "data/held_out_sequences": len(text.held_out),
            "data/excluded_sequences": text.excluded,
            **text.further_counts,
        }
    )
    log_config(tracked, output, config)
    for name, part in (("train", text.train), ("held_out", text.held_out)):
        write_fasta(output / "text" / f"{name}.fasta", part)
    tracked.log_folder(output / "text", "text")
    tracked.flush()  # from here on a run that is killed can be continued
    logger.info("%s sequences, %s residues", f"{len(text.train):,}", f"{residues:,}")


def _datasets(config: TrainEmbedderConfig, text: LanguageText) -> list[TrackedDataset]:
    """The text, and the files of `text_fasta` that a part of it came from."""
    whole = TrackedDataset(
        name=f"{text.name}/sequences",
        context="train",
        digest=text.digest,
        source=config.text.fasta or text.name,
        size=len(text.train) + len(text.held_out),
        counts="sequences",
    )
    files = [
        TrackedDataset(
            name=f"{file.name}/{key}",
            context="train",
            digest=file.digest,
            source=file.source,
            size=file.sequences,
            counts="sequences",
        )
        for key, file in text.further_by_key.items()
    ]
    return [whole, *files]


def _log_end(result: TrainResult, tracked: TrackedRun) -> dict[str, float]:
    metrics = {
        "val/loss_best": result.best["val/loss"],
        "val/perplexity_best": math.exp(result.best["val/loss"]),
        "system/training_residues_per_second": result.units_per_second,
    }
    tracked.log_metrics(metrics)
    logger.info(
        "val perplexity %.3f; to embed with it: embedder=protein_lm embedder_run_id=%s",
        metrics["val/perplexity_best"], tracked.run_id,
    )  # fmt: skip
    return metrics
