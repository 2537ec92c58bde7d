"""The embedder `protein_lm`: a small language model, trained in this project.

The model is a recurrent network that predicts the next residue; `train_embedder` trains it. An embedding is
made of its states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ppi_train.data.fasta import AMINO_ACIDS
from ppi_train.embeddings.embedders.base import (
    TERMINAL_WINDOW,
    EmbedderRequest,
    TrainedWeights,
    pool,
    pooled_dimension,
)
from ppi_train.embeddings.embedders.descriptors import RESIDUE_CLASS
from ppi_train.errors import CheckpointError, ConfigError, first_line
from ppi_train.models.device import check_bf16

SEPARATOR = 0
"""Precedes each protein, and so separates two; also used as padding."""
UNKNOWN = len(AMINO_ACIDS) + 1
VOCABULARY = UNKNOWN + 1

TOKEN_DIM = 64

NAME = "protein_lm"
RECIPE_VERSION = 1
# Residues per batch, padding included: fast, and some 100 MB.
BATCH_RESIDUES = 40_000
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


# After the separator; the last of these stands for a letter that is no residue.
_TOKEN: np.ndarray = np.minimum(RESIDUE_CLASS, len(AMINO_ACIDS)) + np.uint8(1)


def tokenize(sequence: str) -> np.ndarray:
    """Token numbers (L,) uint8 of a sequence, 1 to UNKNOWN.

    >>> tokenize("ACX").tolist()
    [1, 2, 21]
    """
    return _TOKEN[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]


class CausalLstm(nn.Module):
    """A causal LSTM over residues.

    One wide layer embeds as well as three narrow ones at the same cost, and trains faster. What else
    was tried, convolutions, both directions, masking and contrast, is in docs/design/experiments.md.

    Args:
        hidden_dim: Width of a layer, h.
        num_layers: Layers; from the second on, each adds to the one below.
    """

    GAINS_BY_BF16 = ("cpu", "cuda")
    """Types of device on which training is faster in bf16, if they have it; see `resolve_amp`."""

    def __init__(self, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.hidden_dim, self.num_layers = hidden_dim, num_layers
        self.tokens = nn.Embedding(VOCABULARY, TOKEN_DIM)
        widths = [TOKEN_DIM] + [hidden_dim] * (num_layers - 1)
        self.layers = nn.ModuleList(nn.LSTM(width, hidden_dim, batch_first=True) for width in widths)
        self.next_residue = nn.Linear(hidden_dim, VOCABULARY)

    def states(self, tokens: Tensor) -> list[Tensor]:
        """States (n, T, h) of each layer.

        A state depends on its own residue and those before it.

        Args:
            tokens: (n, T) int64; tokens right of a protein's end do not affect states left of it.
        """
        below = self.tokens(tokens)
        found: list[Tensor] = []
        for layer in self.layers:
            above, _ = layer(below)
            below = above + below if found else above
            found.append(below)
        return found

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (n, T, VOCABULARY) of the token that follows each one."""
        logits: Tensor = self.next_residue(self.states(tokens)[-1])
        return logits

    def loss(self, windows: Tensor) -> Tensor:
        """Mean cross-entropy of next-residue prediction, in nats per residue.

        Each token of (n, T + 1) is predicted from those before.
        """
        logits, wanted = self(windows[:, :-1]), windows[:, 1:]
        return cross_entropy(
            logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=SEPARATOR, reduction="mean"
        )


def new_language_model(hyperparameters: Mapping[str, Any]) -> CausalLstm:
    """A new model with random weights.

    The hyper-parameters are `hidden_dim` and `num_layers`.
    """
    return CausalLstm(int(hyperparameters["hidden_dim"]), int(hyperparameters["num_layers"]))


class ProteinLm:
    """The embedder `protein_lm`.

    Granularity `protein`: means of the layers, and of the last one maximum, deviation and the means of
    both ends; see `pool`. Granularity `residue`: the last layer's states.

    Args:
        weights: From a run of `train_embedder`.
        granularity: `protein` or `residue`.
        device: Where it runs.
        precision: Of the layers, `float32` or `bf16`; the embeddings are float32.

    Raises:
        CheckpointError: the weights are those of another kind of model.
        DeviceError: bf16 on a GPU that does not support it.
    """

    name = NAME

    def __init__(
        self, weights: TrainedWeights, granularity: str, device: torch.device, precision: str = "float32"
    ) -> None:
        if precision == "bf16":
            check_bf16(device, got="embedder_precision=bf16", remedy="give embedder_precision=float32")
        self.granularity, self._device, self._precision = granularity, device, precision
        self.run_id = weights.run_id
        try:
            self._hyperparameters = dict(weights.description["model"]["hyperparameters"])
            self._model = new_language_model(self._hyperparameters)
            self._model.load_state_dict(dict(weights.tensors))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                "the checkpoint holds no language model that this version has",
                where=f"run {weights.run_id}",
                got=first_line(error),
            ) from None
        self._model.to(device, PRECISIONS[precision]).eval()
        self._weights_digest = weights.digest
        width = self._model.hidden_dim
        layers = self._model.num_layers
        self.dimension = width if granularity == "residue" else pooled_dimension(layers, width)

    @classmethod
    def from_request(cls, request: EmbedderRequest) -> ProteinLm:
        """Creates the embedder with the weights of a request.

        Raises:
            ConfigError: the request has none.
        """
        if request.weights is None:
            raise ConfigError(
                "embedder=protein_lm needs the weights of a trained language model",
                where="embedder_run_id",
                expected="the ID of a finished run of train_embedder",
                remedy="train one: mlflow run . --env-manager local -e "
                "train_embedder -P fasta=sequences.fasta; "
                "the full pipeline does so automatically",
            )
        device = request.device or torch.device("cpu")
        return cls(request.weights, request.granularity or "protein", device, request.precision)

    def parameters(self) -> dict[str, object]:
        # The digests of float32 are those from before there was another precision.
        precision = {} if self._precision == "float32" else {"precision": self._precision}
        return {
            **self._hyperparameters,
            "recipe_version": RECIPE_VERSION,
            "terminal_window": TERMINAL_WINDOW,
            "run_id": self.run_id,
            **precision,
        }

    def digest(self) -> str:
        text = {"name": self.name, "weights": self._weights_digest, **self.parameters()}
        return hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()

    @torch.inference_mode()
    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """Embeddings (d,) or (L, h) float32 of each sequence, in order.

        Sequences are batched by length.
        """
        found: list[np.ndarray] = [np.empty(0)] * len(sequences)
        order = sorted(range(len(sequences)), key=lambda position: len(sequences[position]))
        for batch in _by_length(order, [len(sequence) for sequence in sequences]):
            embeddings = self._embed([sequences[position] for position in batch])
            for position, embedding in zip(batch, embeddings, strict=True):
                found[position] = embedding
        return found

    def _embed(self, sequences: list[str]) -> list[np.ndarray]:
        tokens = np.full((len(sequences), max(map(len, sequences)) + 1), SEPARATOR, dtype=np.int64)
        for row, sequence in enumerate(sequences):
            tokens[row, 1 : len(sequence) + 1] = tokenize(sequence)
        layers = self._model.states(torch.from_numpy(tokens).to(self._device))
        # Protein by protein: pooling then reads what is in the processor's cache, and no padding.
        proteins = (
            [states[row, 1 : len(sequence) + 1] for states in layers]  # without that of the separator
            for row, sequence in enumerate(sequences)
        )
        if self.granularity == "protein":
            return list(torch.stack([pool(states) for states in proteins]).cpu().numpy())
        return [states[-1].to("cpu", torch.float32, copy=True).numpy() for states in proteins]


def _by_length(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Batches of positions with nearly equal length.

    At most BATCH_RESIDUES each, or a single longer protein.
    """
    batches: list[list[int]] = []
    for position in order:
        # Lengths ascend, so that all are padded to the newest one.
        if batches and (len(batches[-1]) + 1) * (lengths[position] + 1) <= BATCH_RESIDUES:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches
