"""Tests of language-model batches: each residue once per pass, reproducible order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ppi_train.embeddings.embedders.protein_lm import CausalLstm
from ppi_train.errors import DataError, UserError
from ppi_train.runs.configs import TrainEmbedderConfig
from ppi_train.training.callbacks import MetricLogger
from ppi_train.training.language_task import PARTS_A_PASS, LanguageTask
from ppi_train.training.ranks import SingleProcess
from ppi_train.training.trainer import Trainer

WINDOW = 16
SEPARATOR = 0


def proteins(count: int, seed: int = 0) -> list[np.ndarray]:
    """Each residue of the whole set is another token, as far as a byte goes."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 21, rng.integers(5, 60)).astype(np.uint8) for _ in range(count)]


def task(train: Sequence[np.ndarray], *, seed: int = 0, window: int = WINDOW) -> LanguageTask:
    return LanguageTask(
        train=train, validation=proteins(10, seed=99), separator=SEPARATOR, window=window,
        batch_size=8, seed=seed, device=torch.device("cpu"),
    )  # fmt: skip


class Recorder(nn.Module):
    """Keeps the windows that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[Tensor] = []

    def loss(self, windows: Tensor) -> Tensor:
        self.windows.append(windows)
        return torch.zeros(())


def read_pass(shown: LanguageTask, number: int) -> Tensor:
    """The windows of a pass, in the order of its parts."""
    recorder = Recorder()
    for part in range(PARTS_A_PASS):
        batches = shown.batches(number * PARTS_A_PASS + part)
        assert sum(map(len, batches)) == shown.size
        assert len(batches) == shown.n_batches
        for windows in shown.load(batches):
            shown.loss(recorder, windows)
    return torch.cat(recorder.windows)


def test_a_pass_reads_nearly_every_residue_and_none_twice() -> None:
    train = proteins(200)
    total = sum(map(len, train))
    windows = read_pass(task(train), 0)
    guessed = windows[:, 1:]
    assert guessed.shape[1] == WINDOW
    counts = torch.bincount(guessed[guessed != SEPARATOR], minlength=21)
    present = torch.bincount(torch.from_numpy(np.concatenate(train)).long(), minlength=21)
    assert (counts <= present).all()
    assert counts.sum() > total - (PARTS_A_PASS + 2) * WINDOW
    text = "".join(chr(64 + token) for token in np.concatenate([part for p in train for part in ([0], p)]))
    whole = sorted("".join(chr(64 + int(token)) for token in p) for p in train)
    first = "".join(chr(64 + int(token)) for token in windows[0])
    inner = first.split("@")[1:-1]  # proteins that lie whole in a window
    assert all(sequence in whole for sequence in inner)
    assert len(text) == total + len(train)


def test_seed_and_pass_fix_the_order_wherever_training_takes_it_up() -> None:
    train = proteins(100)
    assert torch.equal(read_pass(task(train), 1), read_pass(task(train), 1))
    assert not torch.equal(read_pass(task(train), 0), read_pass(task(train), 1))
    assert not torch.equal(read_pass(task(train), 0), read_pass(task(train, seed=1), 0))
    # Continued in the middle of the second pass, without the parts before it.
    shown, fresh, recorder = task(train), task(train), (Recorder(), Recorder())
    read_pass(shown, 0)
    for language_task, to in ((shown, recorder[0]), (fresh, recorder[1])):
        language_task.loss(to, next(language_task.load(language_task.batches(PARTS_A_PASS + 3))))
    assert torch.equal(recorder[0].windows[0], recorder[1].windows[0])


def test_too_few_residues_are_refused() -> None:
    with pytest.raises(DataError, match=r"too few residues(.|\n)*of 1 proteins(.|\n)*proteome"):
        task(proteins(1))


@pytest.mark.parametrize("loss", [710.0, float("inf"), float("nan")])
def test_a_loss_without_a_finite_perplexity_is_a_divergence(loss: float) -> None:
    class Diverged(nn.Module):
        def loss(self, windows: Tensor) -> Tensor:
            return torch.full_like(windows[0, 0], loss, dtype=torch.float32)

    with pytest.raises(UserError, match=rf"training diverged(.|\n)*val/loss={loss}(.|\n)*learning_rate"):
        task(proteins(5)).validate(Diverged(), SingleProcess())


def test_a_text_with_a_rule_is_learned(tmp_path: Path) -> None:
    """What repeats can be guessed: perplexity falls from the 22 of blind guessing towards 1."""
    cycle = np.array([1, 2, 3, 4, 5, 6, 7], dtype=np.uint8)
    train = [np.roll(np.tile(cycle, 12), -shift) for shift in range(7)] * 10
    learned = LanguageTask(
        train=train, validation=train[:5], separator=SEPARATOR, window=32, batch_size=8, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip
    settings: dict[str, Any] = {
        "epochs": 2 * PARTS_A_PASS, "batch_size": 8, "learning_rate": 0.02, "early_stopping_patience": 0,
        "amp": "off",
    }  # fmt: skip
    config = TrainEmbedderConfig.of(**settings)
    torch.manual_seed(0)
    logged: dict[int, dict[str, float]] = {}
    trainer = Trainer(
        CausalLstm(16, 1),
        config.training,
        scheduler=config.scheduler,
        amp=config.compute.amp,
        task=learned,
        checkpoints=tmp_path,
        description={},
        callbacks=[MetricLogger(lambda metrics, part: logged.update({part: dict(metrics)}))],
    )
    trainer.run()
    assert sorted(logged) == list(range(1, 2 * PARTS_A_PASS + 1))
    assert logged[1]["val/perplexity"] > 2
    assert logged[10]["val/perplexity"] < 1.4
    assert logged[10]["val/perplexity"] == pytest.approx(np.exp(logged[10]["val/loss"]))
    assert logged[1]["system/residues_per_second"] > 0
