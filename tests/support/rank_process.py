"""One rank of a training: `python -m tests.support.rank_process MODEL ACCUMULATION FOLDER [LAST]`.

RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say which, as torchrun sets them. LAST is what the last rank
does: ask for an end after that number of steps, or with `apart` have no memory in common with the others, as
on another machine.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch.distributed.rendezvous import rendezvous

from ppi_train.checkpoints import new_model
from ppi_train.features import PackedFeatures, PairData, VectorFeatures
from ppi_train.models.base import Packed
from ppi_train.modes.train.training_run import validation_metrics
from ppi_train.runs.configs import TrainConfig
from ppi_train.training.callbacks import Callback
from ppi_train.training.pair_task import PairTask
from ppi_train.training.ranks import ProcessGroup
from ppi_train.training.trainer import Trainer

DIMENSION, PROTEINS, PAIRS = 8, 24, 150


class _StopAfter(Callback):
    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self._steps:
            trainer.stop()


def _data(seed: int, *, residues: bool) -> PairData:
    drawn = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(99)
    lengths = torch.randint(5, 20, (PROTEINS,), generator=fixed)
    values = torch.randn(int(lengths.sum()), DIMENSION, generator=fixed)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    features = PackedFeatures(Packed(values, offsets)) if residues else VectorFeatures(values[:PROTEINS])
    pairs = torch.randint(PROTEINS, (PAIRS, 2), generator=drawn)
    labels = (torch.rand(PAIRS, generator=drawn) > 0.5).float()
    return PairData(features=features, pairs=pairs, labels=labels)


def main(name: str, accumulation: int, folder: Path, last: str = "") -> None:
    """Trains for two epochs; the first rank leaves checkpoints in the folder."""
    config = TrainConfig.of(
        model=name, epochs=2, accumulation_steps=accumulation, early_stopping_patience=0, seed=3
    )
    ranks, size = None, int(os.environ["WORLD_SIZE"])
    if int(os.environ["RANK"]) < size - 1:
        last = ""
    memory = mock.patch("ppi_train.training.ranks.open_rows", return_value=None)
    if size > 1:
        ranks = ProcessGroup(*next(rendezvous("env://")))
    torch.manual_seed(0)
    model = new_model(name, DIMENSION, config.model.hyperparameters)
    train, validation = (_data(seed, residues=model.GRANULARITY == "residue") for seed in (0, 1))
    trainer = Trainer(
        model,
        config.training,
        scheduler=config.scheduler,
        amp="off",
        task=PairTask(
            config.loss, seed=3, train=train, validation=validation,
            ranking_metrics=validation_metrics, batch_size=16,
        ),
        checkpoints=folder,
        description={"model": {"name": name}},
        callbacks=[_StopAfter(int(last))] if last.isdigit() else [],
        ranks=ranks,
    )  # fmt: skip
    # The interrupt is that of a rank that another one has stopped.
    with memory if last == "apart" else nullcontext(), suppress(KeyboardInterrupt):
        trainer.run()
    weights = np.concatenate([tensor.reshape(-1).numpy() for tensor in model.state_dict().values()])
    np.save(folder / f"rank{os.environ['RANK']}.npy", np.append(weights, trainer.step))
    if ranks:
        ranks.leave(None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
