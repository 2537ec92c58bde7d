"""How near predicted proteins are to those that the model was trained on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import sequence_digest
from ppi_train.data.similarity import cached_similar
from ppi_train.io.progress import Progress
from ppi_train.modes.predict.inputs import PredictionInputs
from ppi_train.runs.configs import PredictConfig
from ppi_train.runs.training_pairs import TrainingLineage, training_sequences

logger = logging.getLogger(__name__)

# Proteins times training proteins that are compared without being asked for: about a minute on two cores.
_CHEAP = 20_000_000


def training_identity(
    config: PredictConfig, inputs: PredictionInputs, digests: Mapping[str, str], lineage: TrainingLineage
) -> Callable[[np.ndarray], np.ndarray]:
    """Reads the sequences of training, and returns the function that compares proteins with them.

    Args:
        config: The config of the prediction.
        inputs: The proteins.
        digests: Their sequence digests, by accession.
        lineage: The training pairs.
    """
    names = set(lineage.table.proteins)
    trained = {known[name] for known in lineage.digests for name in names & known.keys()}
    unnamed = len(names - {name for known in lineage.digests for name in known})
    mode = config.prediction.training_identity
    sequences = {} if mode == "equal" else _by_digest(inputs.sequences)
    if mode != "equal" and trained - sequences.keys():
        found, notes = training_sequences(lineage.runs, config.data)
        for note in notes:
            logger.warning("%s", note)
        sequences = _by_digest(found) | sequences
    return TrainingIdentity(
        digests=[digests[protein] for protein in inputs.proteins],
        trained=frozenset(trained),
        sequences=sequences,
        missing=unnamed + len(trained - sequences.keys()),
        mode=mode,
        data_dir=Path(config.data.data_dir),
    ).of


def _by_digest(sequences: Mapping[str, str]) -> dict[str, str]:
    return {sequence_digest(sequence): sequence for sequence in sequences.values()}


@dataclass(frozen=True, kw_only=True)
class TrainingIdentity:
    """Compares the proteins of a prediction with those of training.

    Attributes:
        digests: Sequence digest of each predicted protein.
        trained: Sequence digests of the training proteins.
        sequences: Sequences by digest, of either, as far as they are known.
        missing: How many training proteins have no known sequence.
        mode: `search`; `equal` compares digests only; `auto` searches if that is cheap.
        data_dir: Where the result of a search is kept.
    """

    digests: Sequence[str]
    trained: frozenset[str]
    sequences: Mapping[str, str]
    missing: int
    mode: str
    data_dir: Path

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The identity of proteins with their nearest training protein, (p,) float32; NaN if not known."""
        digests = [self.digests[number] for number in numbers.tolist()]
        others = sorted({digest for digest in digests if digest not in self.trained})
        identity = dict.fromkeys(self.trained, 1.0)
        reason = self._why_not(others)
        if reason:
            logger.info(
                "nearest_training_identity is known only for the %s of %s proteins that are in training: %s",
                f"{sum(digest in self.trained for digest in digests):,}", f"{len(digests):,}", reason,
            )  # fmt: skip
        elif others:
            identity |= self._searched([digest for digest in others if digest in self.sequences])
        return np.array([identity.get(digest, np.nan) for digest in digests], np.float32)

    def _why_not(self, others: Sequence[str]) -> str:
        """Why there is no search; empty if there is one."""
        if not others:
            return ""
        if self.mode == "equal":
            return "training_identity=equal"
        if self.missing:
            return f"the sequences of {self.missing:,} training proteins are not there"
        if not any(digest in self.sequences for digest in others):
            return "the others have embeddings, but no sequences"
        if self.mode == "auto" and len(others) * len(self.trained) > _CHEAP:
            return f"a search for {len(others):,} takes minutes; training_identity=search does it"
        return ""

    def _searched(self, digests: Sequence[str]) -> dict[str, float]:
        started = time.perf_counter()
        queries = [self.sequences[digest] for digest in digests]
        targets = [self.sequences[digest] for digest in sorted(self.trained)]
        with Progress(len(queries), unit="protein") as progress:
            similar = cached_similar(queries, targets, self.data_dir, advance=progress.advance)
        logger.info(
            "%s proteins compared with %s of training in %.1f s",
            f"{len(queries):,}", f"{len(targets):,}", time.perf_counter() - started,
        )  # fmt: skip
        return dict(zip(digests, similar.nearest(len(queries)).tolist(), strict=True))
