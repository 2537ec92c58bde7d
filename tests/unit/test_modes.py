"""Tests of the table of modes."""

from __future__ import annotations

import subprocess
import sys
import typing

import pytest

from ppi_train.config.loading import load_config
from ppi_train.errors import ConfigError
from ppi_train.modes import MODES, Mode, execute_pipeline, find_mode
from ppi_train.runs import configs
from tests.support import ROOT


def test_every_mode_has_a_config_class() -> None:
    assert set(MODES) == set(configs.MODES)


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_the_function_of_a_mode_takes_its_config(mode: Mode) -> None:
    function = mode.load()
    assert function.__module__.startswith("ppi_train.modes.")
    assert typing.get_type_hints(function)["config"] is mode.config


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_the_example_of_a_mode_is_accepted(mode: Mode) -> None:
    parameters = dict(word.split("=", 1) for word in mode.example.split())
    _, warnings = load_config(mode.config, parameters)
    assert warnings == []


def test_modes_without_a_model_do_not_load_torch() -> None:
    loads = (
        "import sys, ppi_train.modes.released; from ppi_train.modes import find_mode; "
        "[find_mode(name).load() for name in ('prepare_data', 'split', 'sync')]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", loads], cwd=ROOT, check=False).returncode == 0


def test_the_names_of_modes_are_unique() -> None:
    names = [name for mode in MODES.values() for name in mode.names]
    assert len(names) == len(set(names))
    assert find_mode("main") is MODES["full_pipeline"]
    assert find_mode("pretrain_only") is MODES["train_only"]


def test_an_unknown_mode_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="there is no such run mode") as refused:
        execute_pipeline("trian_only", {})
    assert "did you mean train_only or pretrain_only" in str(refused.value)


TRAINING = {"train_only", "finetune_from_pretrain", "train_embedder", "resume", "full_pipeline"}


@pytest.mark.parametrize("name", sorted(MODES.keys() - TRAINING))
def test_one_of_several_processes_is_refused_in_modes_that_do_not_train(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="WORLD_SIZE\n  got: 2\n"):
        execute_pipeline(name, {})


@pytest.mark.parametrize("rank", ["", "2", "first"])
@pytest.mark.parametrize("name", sorted(TRAINING))
def test_a_process_that_does_not_know_its_rank_is_refused(
    name: str, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(ConfigError, match="RANK=\\$SLURM_PROCID"):
        execute_pipeline(name, {})


@pytest.mark.parametrize("size", ["1", "", "many"])
def test_a_single_process_of_torchrun_is_a_run(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ConfigError, match="run_id: required"):
        execute_pipeline("eval_only", {})


def test_several_tasks_of_a_job_step_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    with pytest.raises(ConfigError):
        execute_pipeline("eval_only", {})
    assert "SLURM_STEP_NUM_TASKS=3: each of these processes does the whole work" in caplog.text


def test_the_table_needs_neither_torch_nor_mlflow() -> None:
    code = (
        "import sys, ppi_train.modes\n"
        "heavy = {'torch', 'mlflow', 'pyarrow', 'numpy', 'click'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
