"""The `train_embedder` mode: trains the language model of the embedder `protein_lm`."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ppi_train.checkpoints import Checkpoint
from ppi_train.config.loading import config_values, logged_parameters
from ppi_train.config.options import DatasetOptions
from ppi_train.data.benchmarks import NotInMirrorError
from ppi_train.data.fasta import read_fasta, refuse_nucleotides, write_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.data.vocabulary import fitting_rule, three_of
from ppi_train.embeddings.embedders.protein_lm import (
    NAME,
    SEPARATOR,
    CausalLstm,
    new_language_model,
    tokenize,
)
from ppi_train.embeddings.options import ExcludeOptions
from ppi_train.errors import DataError
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
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.lineage import code_version
from ppi_train.tracking.run import TrackedDataset, TrackedRun
from ppi_train.tracking.run_folder import run_folder
from ppi_train.training.callbacks import Callback, CheckpointUploader
from ppi_train.training.language_task import PARTS_A_PASS, LanguageTask
from ppi_train.training.ranks import ProcessGroup, Ranks
from ppi_train.training.signals import Interruption
from ppi_train.training.trainer import Trainer, TrainResult

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.02
"""Fraction of the sequences used for validation perplexity; at least one sequence."""
FEWEST = 10
MODE = "train_embedder"


@dataclass(frozen=True, kw_only=True)
class LanguageText:
    """Distinct sequences in a fixed order.

    Attributes:
        name: Name of the data set or of the FASTA.
        train, held_out: Sequences to learn from and to measure perplexity on, by accession.
        excluded: How many sequences were left out because they are reserved for evaluation.
    """

    name: str
    train: Mapping[str, str]
    held_out: Mapping[str, str]
    excluded: int

    @property
    def digest(self) -> str:
        """sha256 over the sequences of both sets."""
        hasher = hashlib.sha256()
        for part in (self.train, self.held_out):
            hasher.update(("\n".join(part.values()) + "\n\n").encode())
        return hasher.hexdigest()


def run(config: TrainEmbedderConfig, tracked: TrackedRun) -> PipelineResult:
    """Trains on a FASTA, or on the sequences of a data set."""
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
        digests={"sequences": text.digest},
        recorded={"sequences": text.digest[:36]},
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

        with training_ranks(tracked, output, config, {"sequences": text.digest}, device) as ranks:
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


def language_text(config: TrainEmbedderConfig) -> LanguageText:
    """Reads or fetches the sequences, without those reserved for evaluation.

    Raises:
        DataError: a file is absent or wrong, it holds DNA, or too few sequences are left.
    """
    if config.text.fasta:
        table = read_fasta(config.text.fasta)
        refuse_nucleotides(table)
        name, sequences = Path(config.text.fasta).stem, dict(table.sequences)
        hidden: set[str] = set()
    else:
        name, sequences, hidden = _of_dataset(config.data)
    if config.exclude.exclude_fasta:
        hidden |= set(read_fasta(config.exclude.exclude_fasta).sequences.values())
    if config.exclude.exclude_pairs:
        hidden |= _sequences_of_pairs(config.exclude, sequences, config.text.fasta or name)
    accession_of = {sequence: accession for accession, sequence in sorted(sequences.items(), reverse=True)}
    # Sorted by digest, so that a sequence stays held out when other sequences are added or removed.
    kept = sorted(set(accession_of) - hidden, key=lambda sequence: hashlib.sha256(sequence.encode()).digest())
    excluded = len(set(accession_of) & hidden)
    if len(kept) < FEWEST:
        raise DataError(
            "there are too few sequences to learn a language model from",
            where=config.text.fasta or name,
            got=f"{len(kept)} distinct sequences" + (f", {excluded} left out" if excluded else ""),
            expected=f"at least {FEWEST}; some thousand for embeddings that are worth using",
            remedy="give the FASTA of a proteome",
        )
    logger.info(
        "%s: %s sequences to learn from, %s left out as test proteins or by exclude_fasta and exclude_pairs",
        name, f"{len(kept):,}", f"{excluded:,}",
    )  # fmt: skip
    count = max(1, round(HELD_OUT_SHARE * len(kept)))
    held_out, train = (
        {accession_of[sequence]: sequence for sequence in part} for part in (kept[:count], kept[count:])
    )
    return LanguageText(name=name, train=train, held_out=held_out, excluded=excluded)


def _sequences_of_pairs(exclude: ExcludeOptions, sequences: Mapping[str, str], source: str) -> set[str]:
    """The sequences of the proteins of `exclude_pairs`.

    They are those of `exclude_fasta`, or else of the text, so that a protein is found under any name there.

    Raises:
        DataError: none of the proteins has a known sequence, so that nothing would be left out.
    """
    assert exclude.exclude_pairs is not None
    own = read_fasta(exclude.exclude_fasta).sequences if exclude.exclude_fasta else {}
    proteins = read_pairs(exclude.exclude_pairs, labels="ignored").proteins
    found = {**sequences, **own}
    unknown = [protein for protein in proteins if protein not in found]
    if not unknown:
        return {found[protein] for protein in proteins}
    names = f"{three_of(unknown)} in exclude_pairs, {three_of(found)} in {source}"
    rule = fitting_rule(unknown, found)
    if len(unknown) == len(proteins):
        raise DataError(
            f"none of the {len(proteins):,} proteins of exclude_pairs has a sequence: none would be left out",
            where=exclude.exclude_pairs,
            got=names,
            expected="names of the FASTA, or of exclude_fasta",
            remedy=(f"rewrite the names: {rule}" if rule else "give their sequences as exclude_fasta"),
        )
    logger.warning(
        "%s of the %s proteins of exclude_pairs have no known sequence, so that the text may hold them under "
        "other names: %s%s; give their sequences as exclude_fasta",
        f"{len(unknown):,}", f"{len(proteins):,}", names, f"; {rule}" if rule else "",
    )  # fmt: skip
    return {found[protein] for protein in proteins if protein in found}


def _of_dataset(data: DatasetOptions) -> tuple[str, dict[str, str], set[str]]:
    """Data set name, training and validation sequences, and test sequences."""
    data = replace(data, dataset=data.dataset or DEFAULT_DATASET)
    dataset = prepare(data, ("train", "validation"))
    sequences: dict[str, str] = {}
    for fasta in dict.fromkeys(split.fasta for split in dataset.splits.values()):
        sequences |= read_fasta(fasta).sequences
    return dataset.name, sequences, _test_sequences(data, sequences)


def _test_sequences(data: DatasetOptions, sequences: Mapping[str, str]) -> set[str]:
    try:
        test = prepare(data, ("test",)).splits["test"]
    except NotInMirrorError as error:
        logger.warning(
            "the mirror has no test files of %s (%s): the model learns only from the proteins of the "
            "training and validation files, and no test protein can be left out",
            data.dataset, error.what,
        )  # fmt: skip
        return set()
    found = {**sequences, **read_fasta(test.fasta).sequences}
    return {found[protein] for protein in read_pairs(test.pairs).proteins if protein in found}


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
        read = TrackedDataset(
            name=f"{text.name}/sequences",
            context="train",
            digest=text.digest,
            source=config.text.fasta or text.name,
            size=len(text.train) + len(text.held_out),
            counts="sequences",
        )
        tracked.log_datasets([read])
    residues = sum(map(len, text.train.values()))
    tracked.log_metrics(
        {
            "data/sequences": len(text.train),
            "data/residues": residues,
            "data/held_out_sequences": len(text.held_out),
            "data/excluded_sequences": text.excluded,
        }
    )
    log_config(tracked, output, config)
    for name, part in (("train", text.train), ("held_out", text.held_out)):
        write_fasta(output / "text" / f"{name}.fasta", part)
    tracked.log_folder(output / "text", "text")
    tracked.flush()  # from here on a run that is killed can be continued
    logger.info("%s sequences, %s residues", f"{len(text.train):,}", f"{residues:,}")


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
