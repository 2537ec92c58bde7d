"""Training of next-residue prediction, on windows over a stream of proteins."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ppi_train.errors import DataError, UserError
from ppi_train.training.ranks import Ranks

PARTS_A_PASS = 5
"""Validations in each pass over the sequences: a full pass takes too long."""
_VALIDATION_BATCH = 64
_LOSS_OF_INFINITE_PERPLEXITY = math.log(sys.float_info.max)


class LanguageTask:
    """The training `Task` of a language model.

    The model must have a function `loss(windows)`.

    Proteins are concatenated, each after a separator, and cut into windows: there is no padding.
    Each pass shuffles and cuts them again. An epoch of the trainer is a fifth of a pass.

    Args:
        train, validation: Proteins as tokens, each (L,) uint8, none of them a separator.
        separator: The token between them.
        window: Residues to predict in a window, T.
        batch_size: Windows of a batch.
        seed: Seed of order and cuts.
        device: Device of the windows.

    Raises:
        DataError: too few residues for windows of that length.
    """

    unit = "residue"
    round_name = "part"

    def __init__(
        self,
        *,
        train: Sequence[np.ndarray],
        validation: Sequence[np.ndarray],
        separator: int,
        window: int,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._train, self._separator, self._window = train, separator, window
        self.seed, self.device = seed, device
        self.units_per_item = window
        self._held_out = torch.from_numpy(_windows(_concatenated(validation, separator), window))
        total = sum(len(protein) + 1 for protein in train)
        # One window fewer than fit, since the cuts start at a random position in the first one.
        self.size = ((total - 1) // window - 1) // PARTS_A_PASS
        if self.size < 1 or not len(self._held_out):
            raise DataError(
                "there are too few residues to learn a language model from",
                got=f"{total - len(train):,} residues of {len(train):,} proteins to train on, "
                f"{sum(map(len, validation)):,} held out",
                expected=f"at least {(PARTS_A_PASS + 2) * window:,}, and {window + 1:,} held out",
                remedy="give a FASTA of a few thousand proteins, such as a proteome",
            )
        self._batch_size = batch_size
        self.n_batches = -(-self.size // batch_size)
        self._pass: int | None = None
        self._stream = torch.empty(0, dtype=torch.uint8)
        self._starts = torch.empty(0, dtype=torch.int64)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Start positions of the windows of a fifth of a pass.

        They refer to the stream of that pass.
        """
        number, part = divmod(epoch, PARTS_A_PASS)
        if number != self._pass:
            self._prepare_pass(number)
        return list(self._starts[part * self.size : (part + 1) * self.size].split(self._batch_size))

    def _prepare_pass(self, number: int) -> None:
        rng = np.random.default_rng([self.seed, number])
        tokens = _concatenated(
            [self._train[index] for index in rng.permutation(len(self._train))], self._separator
        )
        starts = rng.integers(self._window) + self._window * rng.permutation(self.size * PARTS_A_PASS)
        self._stream, self._starts = torch.from_numpy(tokens), torch.from_numpy(starts)
        self._pass = number

    def load(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yields the windows (n, T + 1) of each batch."""
        for starts in batches:
            yield self._stream[starts[:, None] + torch.arange(self._window + 1)]

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """The sum over windows of their mean loss, in nats a residue."""
        return len(batch) * self._mean_loss(model, batch)

    def _mean_loss(self, model: nn.Module, windows: Tensor) -> Tensor:
        return cast(Tensor, model.loss(windows.to(self.device, torch.int64)))  # type: ignore[operator]

    @torch.inference_mode()
    def validate(self, model: nn.Module, ranks: Ranks) -> dict[str, float]:
        """`val/loss`, in nats a residue, and `val/perplexity`, its exponential."""
        losses = ranks.share(
            lambda batches: [(len(batch) * self._mean_loss(model, batch)).item() for batch in batches],
            self._held_out.split(_VALIDATION_BATCH),
        )
        loss = sum(losses) / len(self._held_out)
        if not loss < _LOSS_OF_INFINITE_PERPLEXITY:  # or not a number
            raise UserError(
                "training diverged: the perplexity on validation is not a finite number",
                got=f"val/loss={loss}",
                remedy="lower learning_rate, or give amp=off",
            )
        return {"val/loss": loss, "val/perplexity": math.exp(loss)}

    def headline(self, metrics: Mapping[str, float]) -> str:
        return f"val perplexity {metrics['val/perplexity']:.3f}"


def _concatenated(proteins: Sequence[np.ndarray], separator: int) -> np.ndarray:
    """Concatenates proteins, with a separator before each and at the end."""
    gap = np.array([separator], dtype=np.uint8)
    return np.concatenate([part for protein in proteins for part in (gap, protein)] + [gap])


def _windows(tokens: np.ndarray, window: int) -> np.ndarray:
    """Cuts a stream into windows (n, T + 1).

    Each window begins with the last token of the previous one.
    """
    count = max(0, (len(tokens) - 1) // window)
    rows = np.arange(count)[:, None] * window + np.arange(window + 1)
    return np.asarray(tokens[rows])
