"""Consistency of the project files with the commands and the schema.

The files are MLproject, conda.yaml and pyproject.toml.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib

import click
import pytest
import yaml

from entry_points.mlproject import render
from ppi_train.config.fields import describe_fields
from ppi_train.config.options import DATASET_NAMES
from ppi_train.data.benchmarks.prepare import DATASETS
from ppi_train.runs.configs import MODES
from tests.support import ROOT


def test_mlproject_is_what_the_schema_gives() -> None:
    assert (ROOT / "MLproject").read_text() == render(), "run: python -m entry_points.mlproject > MLproject"


@pytest.mark.parametrize("mode", MODES)
def test_command_options_mlproject_parameters_and_schema_agree(mode: str) -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"][mode]
    command: click.Command = importlib.import_module(f"entry_points.{mode}").main
    options = {name for parameter in command.params for name in parameter.opts}
    schema = {spec.name for spec in describe_fields(MODES[mode])} | {"config"}
    assert set(project["parameters"]) == schema
    assert options == {f"--{name}" for name in schema}
    assert project["command"].split()[:3] == ["python", "-m", f"entry_points.{mode}"]
    for name in schema:
        assert f"--{name} {{{name}}}" in project["command"]


def test_the_schema_names_the_data_sets_of_the_catalogue() -> None:
    assert set(DATASET_NAMES) == set(DATASETS)


def test_conda_yaml_agrees_with_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    python, pip, from_pip = conda["dependencies"]
    assert from_pip["pip"] == project["dependencies"]
    assert pip == "pip"
    assert python.startswith("python=" + project["requires-python"].removeprefix(">="))


@pytest.mark.parametrize("mode", MODES)
def test_help_needs_neither_torch_nor_mlflow(mode: str) -> None:
    code = (
        "import sys\n"
        f"from entry_points.{mode} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'pyarrow', 'numpy', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "Options:" in done.stdout


def test_every_file_of_the_package_is_installed_with_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["ppi_train"]
    files = [
        path
        for path in (ROOT / "ppi_train").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert files
    for path in files:
        relative = path.relative_to(ROOT / "ppi_train")
        assert any(relative.match(pattern) for pattern in patterns), f"{relative} is in no wheel"
