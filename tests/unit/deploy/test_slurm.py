"""Tests of the files for Slurm, with stand-ins for its commands."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from ppi_train.config.loading import load_config
from ppi_train.io.terminal import signals_kept
from ppi_train.modes import find_mode
from tests.support import ROOT
from tests.support.slurm_stand_in import JOB, Slurm

with signals_kept():
    from dask_jobqueue.slurm import SLURMJob

FILES = ROOT / "deploy/slurm"
SCRIPTS = sorted(FILES.glob("*.sbatch"))
# Writes down its words; the first of several starts leaves a checkpoint and waits for the signal.
PROGRAM = """#!/bin/bash
exec 2>/dev/null  # bash reports what is ended by a signal
printf '%s\\n' "$0 $*" >> words
[ "${SLURM_NODEID:-0}" = 0 ] || exit 0
[ -z "$INTERRUPTED" ] || [ -n "$SLURM_RESTART_COUNT" ] && exit "$CODE"
trap 'kill $!; exit 143' TERM
mkdir -p "$PWD/runs/slurm-$SLURM_JOB_ID/abc123/checkpoints/last"
sleep 60 & wait
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    """The commands of Slurm, `torchrun` and `ppi-train`, which all only write down what they get."""
    slurm = Slurm(tmp_path / "job folder")
    for name in ("torchrun", "ppi-train"):
        program = slurm.commands / name
        program.write_text(PROGRAM)
        program.chmod(0o755)
    return slurm


def run(slurm: Slurm, script: str, *words: str, code: int = 0, interrupted: bool = False) -> tuple[int, str]:
    """The exit code of a job and its first word; it comes near the time limit, if it is to be interrupted."""
    job = slurm.submit(FILES / script, *words, CODE=str(code), INTERRUPTED="yes" if interrupted else "")
    for _ in range(300 if interrupted else 0):
        time.sleep(0.1)
        if list(slurm.folder.glob("runs/*/abc123/checkpoints/last")):
            slurm.near_time_limit()
            break
    output, _ = job.communicate(timeout=60)
    return job.returncode, output.partition(" ")[0].strip()


def started(slurm: Slurm) -> list[str]:
    """What was started, each command once for all nodes."""
    lines = (slurm.folder / "words").read_text().splitlines()
    return list(dict.fromkeys(line.replace(f"{slurm.commands}/", "") for line in lines))


def launched(mode: str, attempt: int = 0) -> str:
    return (
        "torchrun --nnodes=2 --nproc-per-node=1 --max-restarts=0 --rdzv-backend=c10d "
        f"--rdzv-endpoint=localhost:24711 --rdzv-id={JOB}-{attempt} --shutdown-timeout=240 "
        f"-m ppi_train {mode}"
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.name))
def test_the_shell_can_read_a_script(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=True, capture_output=True).stderr == b""
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)


def test_a_training_starts_one_launcher_on_each_node(slurm: Slurm) -> None:
    assert run(slurm, "train.sbatch", "train_only", "--dataset", "bernett") == (0, "")
    output = slurm.folder / f"runs/slurm-{JOB}"
    assert started(slurm) == [launched(f"train_only --dataset bernett --output_dir {output}")]
    assert len((slurm.folder / "words").read_text().splitlines()) == 2


def test_a_training_that_fails_is_not_queued_again(slurm: Slurm) -> None:
    assert run(slurm, "train.sbatch", "train_only", code=2) == (2, "")
    assert len(started(slurm)) == 1


def test_near_the_time_limit_a_training_is_queued_again_and_continues_its_run(slurm: Slurm) -> None:
    assert run(slurm, "train.sbatch", "train_only", interrupted=True) == (0, "")
    first, second = started(slurm)
    assert first == launched(f"train_only --output_dir {slurm.folder}/runs/slurm-{JOB}")
    assert second == launched("resume --run_id abc123", attempt=1)


def test_the_whole_pipeline_is_queued_again_with_the_same_command(slurm: Slurm) -> None:
    assert run(slurm, "train.sbatch", "full_pipeline", interrupted=True) == (0, "")
    mode = f"full_pipeline --output_dir {slurm.folder}/runs/slurm-{JOB}"
    assert started(slurm) == [launched(mode), launched(mode, attempt=1)]


def test_a_scan_is_queued_again_with_the_same_command(slurm: Slurm) -> None:
    file = slurm.folder / "deploy/slurm/workers.yaml"
    file.parent.mkdir(parents=True)
    shutil.copy(FILES / "workers.yaml", file)
    words = ("predict", "--output", "partners", "--workers", "64")
    assert run(slurm, "scan.sbatch", *words, interrupted=True) == (0, "")
    expected = f"ppi-train {' '.join(words)} --cluster slurm:{file}"
    assert (slurm.folder / "words").read_text().splitlines() == [f"{slurm.commands}/{expected}"] * 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.name))
def test_the_mode_of_the_example_takes_its_parameters(script: Path) -> None:
    text = script.read_text().replace(" \\\n#", "")
    (example,) = re.findall(rf"^#   sbatch deploy/slurm/{script.name} (.*)$", text, re.MULTILINE)
    mode, *words = shlex.split(example)
    values = {word.removeprefix("--"): value for word, value in zip(words[::2], words[1::2], strict=True)}
    if script.name == "scan.sbatch":
        values["cluster"] = f"slurm:{FILES / 'workers.yaml'}"
    _, warnings = load_config(find_mode(mode).config, values)
    assert warnings == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.name))
def test_without_a_mode_nothing_is_started(slurm: Slurm, script: Path) -> None:
    code, output = run(slurm, script.name)
    assert code == 2
    assert output == "error:"
    assert not (slurm.folder / "words").exists()


def test_the_jobs_of_the_workers_are_those_of_the_file() -> None:
    settings = yaml.safe_load((FILES / "workers.yaml").read_text())
    script = SLURMJob(scheduler="tls://node1:8786", name="worker", **settings).job_script()
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for line in ("#SBATCH -J ppi-train-worker", "#SBATCH --cpus-per-task=8", "#SBATCH -t 04:00:00"):
        assert line in script.splitlines()
    (command,) = (line for line in script.splitlines() if "dask_worker" in line)
    for words in ("--nworkers 8", "--nthreads 1", "--lifetime 225m --lifetime-stagger 10m"):
        assert words in command
