"""Tests of parameters that contain shell characters.

MLflow puts parameters into a bash command; they must do no harm there.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.projects._project_spec import load_project

from entry_points.command import _unknown_options
from entry_points.embed import main
from ppi_train.config.fields import describe_fields
from ppi_train.runs.configs import MODES
from tests.support import ROOT


def attacks(target: Path) -> list[str]:
    """Texts that make a file, if any shell reads them as code; and others that quoting may spoil."""
    touch = f"touch {target}"
    return [
        f"$({touch})", f"`{touch}`", f"; {touch}", f"x; {touch} #", f"| {touch}", f"&& {touch}",
        f"\n{touch}\n", f"'; {touch}; '", f"\"; {touch}; \"", f"\\'; {touch}; \\'", f"' ; {touch} ; echo '",
        f"> {target}", f"<({touch})", f"${{x:-$({touch})}}", f"$'\\x27; {touch}'", f"x\r\n{touch}",
        "$HOME", "~", "*", "a b  c ", "{fasta}", "{0.__class__}", "%s", "!!", "\\", "\\n", "\t",
        "-", "--", "--config=/etc/passwd", "--config", "-P x=y", "--fasta", "=", "a=b", "#", "'", '"',
        f"& {touch} &", "é→蛋白質 🧬",
    ]  # fmt: skip


# Takes the place of Python in the command: tells what arrives.
SHIM = """#!{python} -IS
import json, sys
with open({told!r}, "w") as sink:
    sink.write(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def arrived(tmp_path: Path) -> Callable[[str, dict[str, str]], list[str]]:
    """What an entry point gets as arguments, by MLflow's own command, run as MLflow runs it."""
    told = tmp_path / "told"
    shim = tmp_path / "bin" / "python"
    shim.parent.mkdir()
    shim.write_text(SHIM.format(python=sys.executable, told=str(told)))
    shim.chmod(0o755)
    environment = {**os.environ, "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(mode: str, parameters: dict[str, str]) -> list[str]:
        line = load_project(str(ROOT)).get_entry_point(mode).compute_command(parameters, None)
        subprocess.run(["bash", "-c", line], env=environment, cwd=tmp_path, check=True)
        _, module, *arguments = json.loads(told.read_text())
        assert module == f"entry_points.{mode}"
        assert {path.name for path in tmp_path.iterdir()} == {"bin", "told"}
        return [str(argument) for argument in arguments]

    return run


@pytest.mark.parametrize("mode", MODES)
def test_what_mlflow_hands_to_bash_arrives_as_it_was_given(
    mode: str, arrived: Callable[[str, dict[str, str]], list[str]], tmp_path: Path
) -> None:
    texts = attacks(tmp_path / "target")
    names = [spec.name for spec in describe_fields(MODES[mode])]
    command = importlib.import_module(f"entry_points.{mode}").main
    for turn in range(0, len(texts), len(names)):
        given = dict(zip(names, texts[turn:], strict=False))
        context = command.make_context(mode, arrived(mode, given))
        assert {name: value for name, value in context.params.items() if value} == given
        assert context.args == []
        assert not (tmp_path / "target").exists()


def test_the_name_of_a_parameter_is_no_code_either(
    arrived: Callable[[str, dict[str, str]], list[str]], tmp_path: Path
) -> None:
    name = f"x; touch {tmp_path / 'target'}; y"
    context = main.make_context("embed", arrived("embed", {name: "1"}))
    assert list(_unknown_options(context.args)) == [name]
    assert not (tmp_path / "target").exists()


def mlflow_run(mode: str, **parameters: str) -> subprocess.CompletedProcess[str]:
    given = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", mode, "--env-manager", "local", *given]
    return subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("mode", "parameter", "message"),
    [
        ("embed", "fasta", "the FASTA is not there"),
        pytest.param("eval_only", "run_id", "there is no such run", marks=pytest.mark.slow),
        pytest.param("train_only", "train_pairs", "the pair table is not there", marks=pytest.mark.slow),
        pytest.param("import_embeddings", "source", "is not there", marks=pytest.mark.slow),
        pytest.param("promote", "model_uri", "not the URI of a registered model", marks=pytest.mark.slow),
    ],
)
def test_mlflow_run_does_not_run_its_parameters(
    mode: str, parameter: str, message: str, store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    nasty = f"$(touch {target}); touch {target} `touch {target}` '\"; touch {target} #é"
    (tmp_path / "x.fasta").write_text(">P1\nMKV\n")
    needed = {
        "eval_only": {},
        "embed": {"output": str(tmp_path / "cache.parquet")},
        "train_only": {"val_pairs": "x.tsv", "fasta": "x.fasta"},
        "import_embeddings": {
            "fasta": str(tmp_path / "x.fasta"),
            "output": str(tmp_path / "cache.parquet"),
            "embedder_name": "x",
        },
        "promote": {"registered_model": "ppi"},
    }[mode]
    done = mlflow_run(mode, **{parameter: nasty}, **needed)
    assert done.returncode != 0
    (run,) = store.search_runs(["1"])
    assert message in run.data.tags["ppi.error"]
    assert nasty in run.data.tags["ppi.error"]
    assert not target.exists()
