"""Training and validation sequences of the protein language model.

The `train_embedder` mode: trains the language model of the embedder `protein_lm`.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

from ppi_train.checkpoints import Checkpoint
from ppi_train.config.loading import config_values, logged_parameters
from ppi_train.config.schema import TrainEmbedderConfig
from ppi_train.data.benchmarks.download import NotInMirrorError
from ppi_train.data.fasta import read_fasta, refuse_nucleotides, write_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.embeddings.embedders.protein_lm import NAME, SEPARATOR, new_language_model, tokenize
from ppi_train.errors import DataError
from ppi_train.models.device import describe_device, resolve_device, seed_everything
from ppi_train.modes.execute import PipelineResult
from ppi_train.modes.train.guarded_training import CheckpointUploader, train_and_upload
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.lineage import code_version
from ppi_train.tracking.run import TrackedDataset, TrackedRun
from ppi_train.tracking.run_folder import run_folder
from ppi_train.training.language_task import PARTS_A_PASS, LanguageTask
from ppi_train.training.trainer import Trainer, TrainResult

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.02
"""Fraction of the sequences used for validation perplexity; at least one sequence."""
FEWEST = 10


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


def language_text(config: TrainEmbedderConfig) -> LanguageText:
    """Reads or fetches the sequences, without those reserved for evaluation.

    Raises:
        DataError: a file is absent or wrong, it holds DNA, or too few sequences are left.
    """
    if config.fasta:
        table = read_fasta(config.fasta)
        refuse_nucleotides(table)
        name, sequences = Path(config.fasta).stem, dict(table.sequences)
        hidden: set[str] = set()
    else:
        name, sequences, hidden = _of_dataset(config)
    if config.exclude_fasta:
        hidden |= set(read_fasta(config.exclude_fasta).sequences.values())
    if config.exclude_pairs:
        proteins = read_pairs(config.exclude_pairs, labels="ignored").proteins
        hidden |= {sequences[protein] for protein in proteins if protein in sequences}
    accession_of = {sequence: accession for accession, sequence in sorted(sequences.items(), reverse=True)}
    # Sorted by digest, so that a sequence stays held out when other sequences are added or removed.
    kept = sorted(set(accession_of) - hidden, key=lambda sequence: hashlib.sha256(sequence.encode()).digest())
    excluded = len(set(accession_of) & hidden)
    if len(kept) < FEWEST:
        raise DataError(
            "there are too few sequences to learn a language model from",
            where=config.fasta or name,
            got=f"{len(kept)} distinct sequences" + (f", {excluded} left out" if excluded else ""),
            expected=f"at least {FEWEST}; some thousand for embeddings that are worth using",
            remedy="give the FASTA of a proteome",
        )
    logger.info(
        "%s: %s sequences to learn from, %s left out as test proteins or by exclude_fasta",
        name, f"{len(kept):,}", f"{excluded:,}",
    )  # fmt: skip
    count = max(1, round(HELD_OUT_SHARE * len(kept)))
    held_out, train = (
        {accession_of[sequence]: sequence for sequence in part} for part in (kept[:count], kept[count:])
    )
    return LanguageText(name=name, train=train, held_out=held_out, excluded=excluded)


def _of_dataset(config: TrainEmbedderConfig) -> tuple[str, dict[str, str], set[str]]:
    """Data set name, training and validation sequences, and test sequences."""
    config = replace(config, dataset=config.dataset or DEFAULT_DATASET)
    dataset = prepare(config, ("train", "validation"))
    sequences: dict[str, str] = {}
    for fasta in dict.fromkeys(split.fasta for split in dataset.splits.values()):
        sequences |= read_fasta(fasta).sequences
    return dataset.name, sequences, _test_sequences(config, sequences)


def _test_sequences(config: TrainEmbedderConfig, sequences: Mapping[str, str]) -> set[str]:
    try:
        test = prepare(config, ("test",)).splits["test"]
    except NotInMirrorError as error:
        logger.warning(
            "the mirror has no test files of %s (%s): the model learns only from the proteins of the "
            "training and validation files, and no test protein can be left out",
            config.dataset, error.what,
        )  # fmt: skip
        return set()
    found = {**sequences, **read_fasta(test.fasta).sequences}
    return {found[protein] for protein in read_pairs(test.pairs).proteins if protein in found}


def run(config: TrainEmbedderConfig, tracked: TrackedRun) -> PipelineResult:
    """Trains on a FASTA, or on the sequences of a data set."""
    with run_folder(config.output_dir, tracked.run_id) as output:
        return embedder_job(config).run(tracked, output)


def embedder_job(config: TrainEmbedderConfig) -> EmbedderJob:
    """The training run that a config specifies, with its sequences read.

    Raises:
        DataError: the sequences are not available, or are too few.
    """
    text = language_text(config)
    return EmbedderJob(config=replace(config, dataset=None if config.fasta else text.name), text=text)


@dataclass(frozen=True, kw_only=True)
class EmbedderJob:
    """The training run of a protein language model.

    Implements `Job`.
    """

    config: TrainEmbedderConfig
    text: LanguageText
    mode: str = "train_embedder"

    @property
    def output_dir(self) -> str:
        return self.config.output_dir

    @property
    def digests(self) -> dict[str, str]:
        return {"sequences": self.text.digest}

    @property
    def recorded(self) -> dict[str, str]:
        return {"sequences": self.text.digest[:36]}

    def run(
        self, tracked: TrackedRun, output: Path, *, continued: Checkpoint | None = None
    ) -> PipelineResult:
        """Trains, and logs parameters, perplexity curves and checkpoints.

        Raises:
            DataError: too few residues.
            UserError: see the training loop.
        """
        config = self.config
        device = resolve_device(config.device)
        with CheckpointUploader(tracked, output / "checkpoints") as upload:
            self._log_start(tracked, output, describe_device(device))
            seed_everything(config.seed, deterministic=config.deterministic)
            hyperparameters = {"hidden_dim": config.hidden_dim, "num_layers": config.num_layers}
            model = new_language_model(hyperparameters).to(device)
            trainer = Trainer(
                model,
                # An epoch of the loop is only a part of a pass over the data.
                replace(config, epochs=config.epochs * PARTS_A_PASS),
                task=self._task(device),
                log=tracked.log_metrics,
                checkpoints=upload.folder,
                description=self._description(hyperparameters),
                keep=upload.keep,
            )
            result = train_and_upload(trainer, upload, tracked, continued)
            metrics = self._log_end(result, tracked)
        return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"checkpoints": str(output)})

    def _task(self, device: torch.device) -> LanguageTask:
        return LanguageTask(
            train=[tokenize(sequence) for sequence in self.text.train.values()],
            validation=[tokenize(sequence) for sequence in self.text.held_out.values()],
            separator=SEPARATOR,
            window=self.config.window,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            device=device,
        )

    def _description(self, hyperparameters: Mapping[str, object]) -> dict[str, object]:
        return {
            "mode": self.mode,
            "model": {"name": NAME, "hyperparameters": dict(hyperparameters)},
            "text": {
                "digest": self.text.digest,
                "sequences": len(self.text.train) + len(self.text.held_out),
                "excluded": self.text.excluded,
            },
            "config": config_values(self.config),
        }

    def _log_start(self, tracked: TrackedRun, output: Path, device: str) -> None:
        text = self.text
        if not tracked.continues:
            tracked.identify(model=NAME, dataset=text.name, device=device, code_version=code_version())
            tracked.log_parameters(logged_parameters(self.config))
        if not (tracked.continues and tracked.continues.datasets):
            read = TrackedDataset(
                name=f"{text.name}/sequences",
                context="train",
                digest=text.digest,
                source=self.config.fasta or text.name,
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
        config_file = output / "config.yaml"
        config_file.write_text(yaml.safe_dump(config_values(self.config), sort_keys=False))
        tracked.log_file(config_file)
        for name, part in (("train", text.train), ("held_out", text.held_out)):
            write_fasta(output / "text" / f"{name}.fasta", part)
        tracked.log_folder(output / "text", "text")
        logger.info("%s sequences, %s residues", f"{len(text.train):,}", f"{residues:,}")

    def _log_end(self, result: TrainResult, tracked: TrackedRun) -> dict[str, float]:
        metrics = {
            "val/loss_best": result.best["val/loss"],
            "val/perplexity_best": math.exp(result.best["val/loss"]),
            "throughput/training_residues_per_second": result.units_per_second,
        }
        tracked.log_metrics(metrics)
        logger.info(
            "val perplexity %.3f; to embed with it: embedder=protein_lm embedder_run_id=%s",
            metrics["val/perplexity_best"], tracked.run_id,
        )  # fmt: skip
        return metrics
