"""What `mlflow run` adds to a command: CPU seconds of `mlflow run . -e train_only` and of its parts.

    python benchmarks/project_start.py [--rounds 3]

Prints the least CPU seconds (user and system, with ended children) of `mlflow run` of a project whose command
does nothing, of `python -m entry_points.train_only`, of `mlflow run` of that, and what the last takes beyond
the sum of the first two.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLES = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
NOTHING = "name: nothing\nentry_points:\n  main:\n    command: 'true'\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    mlflow = [sys.executable, "-m", "mlflow", "run", "--env-manager", "local"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "nothing").mkdir()
        (folder / "nothing" / "MLproject").write_text(NOTHING)
        store = folder / "mlflow.db"
        subprocess.run([sys.executable, "-c", TABLES, f"sqlite:///{store}"], check=True, capture_output=True)
        where = {"data_dir": f"{folder}/run/data", "output_dir": f"{folder}/run/runs"}
        options = {"epochs": "2", **where}  # `mlflow run` starts the command in the project's folder
        commands = {
            "mlflow run of nothing": [*mlflow, str(folder / "nothing")],
            "the command": [
                sys.executable, "-m", "entry_points.train_only",
                *(word for option, value in options.items() for word in (f"--{option}", value)),
            ],
            "mlflow run of the command": [
                *mlflow, str(ROOT), "-e", "train_only",
                *(word for item in options.items() for word in ("-P", "=".join(item))),
            ],
        }  # fmt: skip
        least = dict.fromkeys(commands, float("inf"))
        for _ in range(given.rounds):
            for name, words in commands.items():
                least[name] = min(least[name], seconds(words, folder, store))
    for name, value in least.items():
        print(f"{name}: {value:.2f} CPU s")
    nothing, command, both = least.values()
    print(f"beyond the sum: {both - nothing - command:.2f} CPU s")


def seconds(words: list[str], folder: Path, store: Path) -> float:
    """The CPU seconds of a command, run in an empty folder with a fresh copy of the store."""
    where = folder / "run"
    where.mkdir()
    shutil.copy(store, where / "mlflow.db")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{where}/mlflow.db",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    process = subprocess.Popen(
        words, cwd=where, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    shutil.rmtree(where)
    if process.returncode:
        sys.exit(f"failed: {' '.join(words)}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
