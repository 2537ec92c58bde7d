"""Tests of the package as a wheel, installed away from the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, without its dependencies."""
    source = tmp_path_factory.mktemp("source") / "checkout"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    built, target = source.parent / "wheels", source.parent / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(built), str(source)], check=True)
    (wheel,) = built.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


@pytest.mark.slow
def test_the_wheel_trains_and_predicts_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed), "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}

    def run(*words: str) -> str:
        command = [sys.executable, str(installed / "bin/ppi-train"), *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    where = "import ppi_train; print(ppi_train.__file__)"
    asked = [sys.executable, "-c", where]
    found = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.strip() == str(installed / "ppi_train/__init__.py")
    assert "train_only" in run("--help")
    assert "best epoch" in run("train_only", "--epochs", "1")
    scored = run("predict", "--dataset", "example", "--protein", "EX00001", "--output", "partners.tsv")
    assert "the released model human" in scored
    assert (tmp_path / "partners.tsv").read_text().count("\n") > 100
    assert not (installed / "entry_points").exists()
