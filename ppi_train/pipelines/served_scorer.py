"""From two sequences to a logit, by a checkpoint alone: what the registered model runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ppi_train.embedders import make_embedder
from ppi_train.embedders.truncation import truncate
from ppi_train.errors import CheckpointError
from ppi_train.pipelines.models import model_from_checkpoint
from ppi_train.training.batches import PairData
from ppi_train.training.checkpoint import read_checkpoint
from ppi_train.training.scoring import score_pairs


class SequenceScorer:
    """Embeds sequences as the model's cache was made, and scores them on the CPU.

    Raises:
        CheckpointError: the checkpoint is not whole, or its embedder is another one than this
            version has.
    """

    def __init__(self, folder: Path) -> None:
        checkpoint = read_checkpoint(folder)
        recipe = checkpoint.description["embedding"]["recipe"]
        self._embedder = make_embedder(recipe["embedder"]["name"])
        if self._embedder.digest() != recipe["embedder"]["digest"]:
            raise CheckpointError(
                "the model was trained on embeddings of another version of its embedder",
                where=folder,
                got=self._embedder.digest(),
                expected=recipe["embedder"]["digest"],
            )
        self._max_length, self._truncation = recipe["max_length"], recipe["truncation"]
        self._model = model_from_checkpoint(checkpoint, torch.device("cpu"))

    def __call__(self, sequences_a: Sequence[str], sequences_b: Sequence[str]) -> np.ndarray:
        """Logits (n,) of n pairs; each distinct sequence is embedded and encoded once."""
        distinct = {sequence: row for row, sequence in enumerate(dict.fromkeys([*sequences_a, *sequences_b]))}
        kept = [
            truncate("sequence", one.upper(), max_length=self._max_length, truncation=self._truncation)
            for one in distinct
        ]
        rows = [[distinct[a], distinct[b]] for a, b in zip(sequences_a, sequences_b, strict=True)]
        data = PairData(
            features=torch.from_numpy(self._embedder.embed(kept)),
            pairs=torch.tensor(rows, dtype=torch.int64).reshape(-1, 2),
            labels=torch.zeros(len(rows)),
        )
        return np.asarray(score_pairs(self._model, data).numpy())
