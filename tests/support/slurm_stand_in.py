"""Stand-ins for Slurm's commands: a job is a process here, and a node is a process of it.

As in Slurm, the script is copied before it starts, so that it cannot find files by its own path; a job
that is queued again keeps its number; and `scancel --signal` reaches the steps, not the script.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support import ROOT, default_signals

JOB = "4711"
_STATE = "SLURM_STAND_IN"
_OPTIONS = {
    "job-name", "nodes", "ntasks", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "mem", "time",
    "output", "open-mode", "requeue", "signal",
}  # fmt: skip


class Slurm:
    """A folder with the stand-ins, and the job that was submitted with them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, folder / "bin"
        self.commands.mkdir(parents=True)
        for name in COMMANDS:
            program = self.commands / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {__name__} {name} "$@"\n')
            program.chmod(0o755)

    def submit(self, script: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Starts `sbatch --wait`, which ends with the job."""
        return subprocess.Popen(
            ["sbatch", "--wait", str(script), *words],
            cwd=self.folder,
            env={
                **os.environ,
                **environment,
                "PATH": f"{self.commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                _STATE: str(self.folder),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=default_signals,
        )

    def near_time_limit(self) -> None:
        """Sends the script the signal that it asks for before the time limit."""
        os.kill(int((self.folder / "script.pid").read_text()), signal.SIGUSR1)


def sbatch(state: Path, words: list[str]) -> int:
    assert words.pop(0) == "--wait"
    lines = Path(words[0]).read_text().splitlines()
    found = (re.match(r"#SBATCH --([\w-]+)=?(.*)", line) for line in lines)
    options = {option[1]: option[2] for option in found if option}
    assert options.keys() <= _OPTIONS, options
    script = shutil.copy(words[0], state / "slurm_script")
    nodes = int(options["nodes"])
    environment = {
        **os.environ,
        "SLURM_JOB_ID": JOB,
        "SLURM_SUBMIT_DIR": str(Path.cwd()),
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_JOB_NODELIST": f"node[1-{nodes}]",
        "SLURM_CPUS_PER_TASK": options["cpus-per-task"],
    }
    for restarts in range(3):
        if restarts:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
        job = subprocess.Popen(["bash", script, *words[1:]], env=environment)
        (state / "script.pid").write_text(str(job.pid))
        code = job.wait()
        try:
            (state / "requeued").unlink()
        except FileNotFoundError:
            return code
    raise AssertionError("the job is queued again and again")


def srun(state: Path, words: list[str]) -> int:
    while words[0].startswith("--"):
        words.pop(0)
    nodes = range(int(os.environ["SLURM_JOB_NUM_NODES"]))
    tasks = [
        subprocess.Popen(
            words, env={**os.environ, "SLURM_NODEID": str(node), "SLURM_PROCID": str(node)}, process_group=0
        )
        for node in nodes
    ]
    (state / "steps").write_text(" ".join(str(task.pid) for task in tasks))
    return max(abs(task.wait()) for task in tasks)


def scancel(state: Path, words: list[str]) -> int:
    assert words == ["--signal=TERM", JOB]
    for group in (state / "steps").read_text().split():
        with suppress(ProcessLookupError):
            os.killpg(int(group), signal.SIGTERM)
    return 0


def scontrol(state: Path, words: list[str]) -> int:
    if words == ["requeue", JOB]:
        (state / "requeued").touch()
        time.sleep(0.2)  # Slurm ends the script meanwhile
        return 0
    assert words == ["show", "hostnames", os.environ["SLURM_JOB_NODELIST"]], shlex.join(words)
    for _ in range(int(os.environ["SLURM_JOB_NUM_NODES"])):
        sys.stdout.write("localhost\n")
    return 0


COMMANDS: dict[str, Callable[[Path, list[str]], int]] = {
    "sbatch": sbatch, "srun": srun, "scancel": scancel, "scontrol": scontrol,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(COMMANDS[sys.argv[1]](Path(os.environ[_STATE]), sys.argv[2:]))
