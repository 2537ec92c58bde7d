"""Tests of the command line: help, unknown names, and a Python environment that lacks packages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from ppi_train import cli
from ppi_train.cli import run_mode
from ppi_train.config.fields import describe_fields
from ppi_train.modes import MODES, find_mode
from tests.support import ROOT

NAMES = [name for mode in MODES.values() for name in mode.names]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip


def help_of(*arguments: str) -> str:
    shown = CliRunner().invoke(cli.main, [*arguments, "--help"], terminal_width=100, max_content_width=100)
    assert shown.exit_code == 0
    return shown.output


@pytest.mark.parametrize("mode", NAMES)
def test_help_needs_neither_torch_nor_mlflow(mode: str) -> None:
    code = (
        "import sys\n"
        f"from entry_points.{mode} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'pyarrow', 'numpy', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "Example:" in done.stdout


def test_help_lists_the_modes_with_a_line_each() -> None:
    lines = [line.split(maxsplit=1) for line in help_of().splitlines()]
    for mode in MODES.values():
        assert [mode.name, mode.summary] in lines
        for alias in mode.aliases:
            assert [alias, f"the same as {mode.name}"] in lines


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_mode_shows_each_option_once_with_its_default(name: str) -> None:
    shown = " ".join(help_of(name).split())
    for spec in describe_fields(find_mode(name).config):
        (found,) = re.findall(rf" --{spec.name} (.*?)(?= --\w|$)", shown.partition("Example:")[0])
        assert " ".join(spec.rule.help.split()) in found
        if isinstance(spec.default, bool):
            assert f"[default: {str(spec.default).lower()}]" in found
        elif isinstance(spec.default, int | float):
            assert f"[default: {spec.default}]" in found
    example = shown.partition("Example:")[2]
    assert example.split()[:2] == ["ppi-train", name]


def test_help_of_a_mode_is_in_groups_and_says_what_is_required() -> None:
    shown = help_of("predict")
    headings = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    groups = ["Data", "Embedding", "Device and seed", "Prediction", "Run", "Tracking", "Parallel"]
    assert headings == ["Required", *groups, "Other", "Example"]
    required = shown.partition("Required:")[2].partition("Data:")[0]
    assert re.findall(r"--\w+", required) == ["--fasta", "--pairs", "--output"]
    assert "[required (or embeddings, or dataset)]" in " ".join(required.split())
    assert "Required:" not in help_of("train_only")


def test_help_shows_the_defaults_of_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "model_defaults", lambda: {"hidden_dim": {"pooled_mlp": 128, "v3": 64}})
    assert "[default: pooled_mlp 128, v3 64]" in " ".join(help_of("train_only").split())


def test_an_unknown_mode_is_refused_with_the_nearest_names() -> None:
    done = run("-m", "ppi_train", "trian_only", "--epochs", "1")
    assert done.returncode == 2
    assert "error: there is no such run mode" in done.stderr
    assert "did you mean train_only or pretrain_only" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["entry_points.train_only", "ppi_train train-only"])
def test_unknown_options_are_told_with_all_other_problems(command: str) -> None:
    done = run("-m", *command.split(), "--lerning_rate", "1", "--epochs", "0", "stray")
    assert done.returncode == 2
    assert "lerning_rate: no such parameter; did you mean learning_rate" in done.stderr
    assert "epochs: expected a value at least 1; got 0" in done.stderr
    assert "stray: no such parameter" in done.stderr


@pytest.mark.parametrize("command", ["entry_points.train_only", "ppi_train train_only"])
def test_parameters_as_mlflow_takes_them_are_answered_with_the_option(command: str) -> None:
    done = run("-m", *command.split(), "fasta=my.fasta", "epochs=3")
    assert done.returncode == 2
    assert "fasta=my.fasta: expected --fasta my.fasta" in done.stderr
    assert "epochs=3: expected --epochs 3" in done.stderr


def test_an_environment_that_was_left_half_made_is_told_without_a_traceback(tmp_path: Path) -> None:
    for package in Path(mlflow.__file__).parents[1].iterdir():
        if not package.name.startswith("mlflow"):
            (tmp_path / package.name).symlink_to(package)
    done = run("-S", "-m", "entry_points.train_only", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "error: the Python environment is not complete" in done.stderr
    assert "no module named mlflow" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ignored", [[], [signal.SIGINT], [signal.SIGHUP]])
def test_ignored_signals_of_a_terminal_stay_ignored(ignored: list[signal.Signals]) -> None:
    known = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in known}
    try:
        for number in known:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        assert run_mode("rollback", {"alias": "champion"}) == 2
        for number in known:
            assert (signal.getsignal(number) == signal.SIG_IGN) == (number in ignored)
            assert signal.getsignal(number) != signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("mode", ["eval_only", "sweep"])
def test_a_mistake_has_its_exit_code_where_nobody_reads_the_message(mode: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", f"entry_points.{mode}", "--run_id", "?", "--trials", "?"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=writer, check=False)
    os.close(writer)
    assert done.returncode == 2


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)], ids=str)
def test_closed_streams_are_opened_again(closed: tuple[int, ...], tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from ppi_train.io.terminal import open_closed_streams\n"
        "open_closed_streams()\n"
        "print('lost', file=sys.stderr)\n"
        f"places = [os.readlink(f'/proc/self/fd/{{number}}') for number in {closed}]\n"
        "open(sys.argv[1], 'w').write(' '.join(places))\n"
    )
    shell = f'exec "$@" {" ".join(f"{number}>&-" for number in closed)}'
    command = ["sh", "-c", shell, "sh", sys.executable, "-c", code, str(tmp_path / "places")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert (tmp_path / "places").read_text().split() == [os.devnull] * len(closed)
