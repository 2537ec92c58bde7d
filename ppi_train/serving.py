"""What a logged model is served with: its scorer, requirements and example.

A logged model is a checkpoint with a zip of this package, and a small file of code that MLflow runs
(`tracking/served_model.py`). That file looks up the scorer by the name that is stored in the model, so the
name `ppi_train.serving:PairScorer` never moves, nor do what the file calls: the scorer's three arguments by
their position, `with_uncertainty(table)`, and `ppi_train.errors:UserError`. Models are loaded by versions of
this package later than the one that logged them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppi_train.checkpoints import model_from_checkpoint, read_checkpoint
from ppi_train.data.fasta import clean_sequence
from ppi_train.data.pairs import PairTable
from ppi_train.data.vocabulary import fitting_rule, three_of
from ppi_train.embeddings.cache import CacheSpec, check_recipe
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.embedders import EMBEDDERS
from ppi_train.embeddings.embedders.base import Embedder, truncate
from ppi_train.errors import (
    CacheError,
    CheckpointError,
    ConfigError,
    DataError,
    UserError,
    counted,
    first_ten,
)
from ppi_train.features import Features, PairData, features_of, features_of_embeddings
from ppi_train.inference.explanation import explain_pair
from ppi_train.inference.scoring import score_pairs_with_uncertainty
from ppi_train.runs.embedder import EmbeddingSettings

logger = logging.getLogger(__name__)

SCORER = "ppi_train.serving:PairScorer"
"""The name of the scorer that every logged model stores."""

_SEQUENCES = ("sequence_a", "sequence_b")
_IDS = ("protein_a", "protein_b")
_SERVE_FROM_CACHE = "send protein_a and protein_b, and serve with PPI_TRAIN_EMBEDDINGS=cache.parquet"
# The dependencies of this project that serving needs. They are listed here because an environment that
# `mlflow run` makes has them, but not this package, whose metadata would name them.
_NEEDED = ("torch", "mlflow", "pyarrow", "safetensors", "pooch", "isal", "tqdm")
# Those of an embedder. They may be absent: training from a cache does not need them.
_EMBEDDER_NEEDS = {"esm2": ("transformers",)}
# Human insulin, A and B chain, and ubiquitin: short enough to be readable.
_INSULIN_A, _INSULIN_B = "GIVEQCCTSICSLYQLENYCN", "FVNQHLCGSHLVEALYLVCGERGFFYTPKT"
_UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"


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

    def residue_weights(self, sequence_a: str, sequence_b: str) -> list[np.ndarray] | None:
        """Weights (l,) float32 of the residues behind a pair's score; None if the model has none.

        Raises:
            DataError: an invalid sequence.
        """
        distinct = list(dict.fromkeys((sequence_a, sequence_b)))
        rows = (0, len(distinct) - 1)
        try:
            return explain_pair(self._model, self._embed(distinct), rows, torch.device("cpu"))[1]
        except ConfigError:
            return None

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
            rule = fitting_rule(missing, self._cache.proteins)
            raise CacheError(
                f"no embedding for {counted(len(missing), 'protein')}",
                got=first_ten(missing),
                expected=f"IDs as in the embedding cache: {three_of(self._cache.proteins)}",
                remedy=f"send the IDs {rule}" if rule else None,
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
                remedy=_SERVE_FROM_CACHE,
            )
        settings = EmbeddingSettings.of_recipe(self._recipe, dtype=self._dtype, device="cpu")
        if settings.run_id and self._embedder_folder is None:
            raise CheckpointError(
                "the model does not carry the weights of its embedder",
                where=self._folder,
                got=f"embedder {wanted['name']} of run {settings.run_id}",
                remedy=_SERVE_FROM_CACHE,
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


def embedder_checkpoint(spec: CacheSpec) -> Path | None:
    """The embedder's checkpoint to include in the logged model.

    Args:
        spec: Metadata of the cache that the model was trained on.

    Returns:
        None if the embedder has no checkpoint, or if it cannot be fetched.
    """
    settings = EmbeddingSettings.of_recipe(spec.recipe(), dtype=spec.dtype, device="cpu")
    try:
        return settings.checkpoint_folder()
    except UserError as error:
        # A cache may come from another tracking server; the model then takes protein IDs.
        logger.warning("the registered model cannot embed sequences: %s", error)
        return None


def input_example(spec: CacheSpec, table: PairTable) -> dict[str, list[str]]:
    """Two example rows of input, as columns by name.

    They are sequences for a built-in embedder, otherwise the protein IDs of the table's first pairs.
    """
    if spec.embedder["name"] in EMBEDDERS:
        return example_sequences()
    a, b = ([table.proteins[side] for side in table.index[:2, column]] for column in (0, 1))
    return {"protein_a": a, "protein_b": b}


def example_sequences() -> dict[str, list[str]]:
    """Two example rows of sequences, as columns by name."""
    return {"sequence_a": [_INSULIN_A, _INSULIN_A], "sequence_b": [_INSULIN_B, _UBIQUITIN]}


def served_requirements(embedder: str) -> list[str]:
    """Pinned dependencies, such as `torch==2.13.0`, that serving a model of an embedder needs."""
    extra = _EMBEDDER_NEEDS.get(embedder, ())
    needed = [*_NEEDED, *(name for name in extra if importlib.util.find_spec(name))]
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in needed]
