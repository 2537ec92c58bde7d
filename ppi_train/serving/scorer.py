"""Scoring of sequence or protein ID pairs by the registered model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppi_train.checkpoints import model_from_checkpoint, read_checkpoint
from ppi_train.data.fasta import clean_sequence
from ppi_train.embeddings.cache import check_recipe
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.embedders import EMBEDDERS
from ppi_train.embeddings.embedders.base import Embedder, truncate
from ppi_train.errors import CacheError, CheckpointError, DataError
from ppi_train.features import Features, PairData, features_of, features_of_embeddings
from ppi_train.inference.scoring import score_pairs_with_uncertainty
from ppi_train.runs.embedder import EmbeddingSettings

_SEQUENCES = ("sequence_a", "sequence_b")
_IDS = ("protein_a", "protein_b")


class PairScorer:
    """Scores tables of pairs on the CPU, with the results of evaluation.

    Args:
        folder: A finished checkpoint.
        embeddings: An embedding cache, for tables of protein IDs.
        embedder: The checkpoint of the model's embedder, if that has weights of its own.

    Raises:
        CheckpointError: the checkpoint is not complete.
        CacheError: the cache was made with another recipe than the model was trained on.
    """

    def __init__(self, folder: Path, embeddings: str | None = None, embedder: Path | None = None) -> None:
        self._embedder_folder = embedder
        checkpoint = read_checkpoint(folder)
        embedding: dict[str, Any] = checkpoint.description["embedding"]
        self._recipe, self._dtype, self._folder = embedding["recipe"], embedding["dtype"], folder
        self._model = model_from_checkpoint(checkpoint, torch.device("cpu"))
        self._cache = EmbeddingCache(embeddings) if embeddings else None
        if self._cache:
            check_recipe(self._cache.spec, self._recipe, where=embeddings)

    def __call__(self, table: Mapping[str, Sequence[str]]) -> np.ndarray:
        """Logits of the table's rows, (n,) float32.

        Each distinct protein is embedded and encoded once.

        Args:
            table: `sequence_a` and `sequence_b`, or `protein_a` and `protein_b`.

        Raises:
            DataError: neither or both kinds of columns, or an invalid sequence.
            CacheError: IDs without a cache, or IDs that the cache does not have.
            CheckpointError: sequences, but this version does not have the model's embedder.
        """
        return self.with_uncertainty(table)[0]

    def with_uncertainty(self, table: Mapping[str, Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Logits and their standard deviations, each (n,) float32.

        Arguments and errors are those of `__call__`; see `PairModel` for the standard deviations.
        """
        given = {name for name in (*_SEQUENCES, *_IDS) if name in table}
        if given == set(_SEQUENCES):
            return self._score(table, _SEQUENCES, self._embed)
        if given == set(_IDS):
            return self._score(table, _IDS, self._look_up)
        raise DataError(
            "these columns do not make pairs",
            got=", ".join(sorted(given)) or "none of these columns",
            expected=f"{' and '.join(_SEQUENCES)}, or {' and '.join(_IDS)}",
        )

    def _score(
        self,
        table: Mapping[str, Sequence[str]],
        columns: tuple[str, str],
        to_features: Callable[[list[str]], Features],
    ) -> tuple[np.ndarray, np.ndarray]:
        a, b = (list(table[name]) for name in columns)
        if not a:
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.float32)
        row_of = {text: row for row, text in enumerate(dict.fromkeys([*a, *b]))}
        rows = [[row_of[first], row_of[second]] for first, second in zip(a, b, strict=True)]
        data = PairData(
            features=to_features(list(row_of)),
            pairs=torch.tensor(rows, dtype=torch.int64),
            labels=torch.zeros(len(rows)),
        )
        logits, deviations = score_pairs_with_uncertainty(self._model, data)
        return logits.numpy(), deviations.numpy()

    def _look_up(self, proteins: list[str]) -> Features:
        if self._cache is None:
            raise CacheError(
                "protein IDs need an embedding cache",
                remedy="serve with PPI_TRAIN_EMBEDDINGS=cache.parquet, or send sequences",
            )
        missing = self._cache.missing([str(protein) for protein in proteins])
        if missing:
            raise CacheError(
                f"{len(missing)} proteins have no embedding",
                got=", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else ""),
                expected="IDs that the embedding cache holds",
            )
        return features_of(self._cache, proteins, self._model.GRANULARITY)

    def _embed(self, sequences: list[str]) -> Features:
        limit, truncation = self._recipe["max_length"], self._recipe["truncation"]
        kept = [
            truncate("sequence", clean_sequence(sequence), max_length=limit, truncation=truncation)
            for sequence in sequences
        ]
        # As the cache would return them: rounded if it stores float16.
        stored = [embedding.astype(self._dtype) for embedding in self._embedder.embed(kept)]
        return features_of_embeddings(stored, self._recipe["granularity"], self._model.GRANULARITY)

    @cached_property  # weights are loaded with the first request of sequences, and stay
    def _embedder(self) -> Embedder:
        wanted = self._recipe["embedder"]
        if wanted["name"] not in EMBEDDERS:
            raise CheckpointError(
                "the model was trained on embeddings that this project cannot make",
                got=wanted["name"],
                expected=f"one of {', '.join(EMBEDDERS)}",
                remedy="send protein_a and protein_b, and serve with PPI_TRAIN_EMBEDDINGS=cache.parquet",
            )
        settings = EmbeddingSettings.of_recipe(self._recipe, dtype=self._dtype, device="cpu")
        if settings.run_id and self._embedder_folder is None:
            raise CheckpointError(
                "the model does not carry the weights of its embedder",
                where=self._folder,
                got=f"embedder {wanted['name']} of run {settings.run_id}",
                remedy="send protein_a and protein_b, and serve with PPI_TRAIN_EMBEDDINGS=cache.parquet",
            )
        embedder = settings.make(self._embedder_folder)
        if embedder.digest() != wanted["digest"]:
            raise CheckpointError(
                "the model was trained on embeddings of another version of its embedder",
                where=self._folder,
                got=embedder.digest(),
                expected=wanted["digest"],
            )
        return embedder
