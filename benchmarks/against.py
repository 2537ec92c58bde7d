"""CPU seconds and peak memory of this tree against another commit, in turn A B A B.

The other commit is checked out in a temporary folder. Each command runs in an empty folder of its own, with
one thread, and a tracking store that already has its tables.

    python benchmarks/against.py --commit 4e26ede [--rows train_only ...] [--rounds 2]

Prints the least CPU seconds (user and system, with ended children) and the largest process of both, and the
ratios. To add a row, add it to `ROWS`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Only the standard library: the kernel counts the memory of this process into that of those it starts.

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
TABLES = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Work that is measured.

    In a command, `{data}` is the row's data folder, `{benchmarks}` the folder of this file (also for the old
    tree), and the first word `python` this interpreter. A command that prints a line `cpu_seconds NUMBER`
    measures itself, without its start: that number then stands for the whole command's.

    Args:
        name: For `--rows`.
        new: The command, as words.
        old: The command of the other commit, where it differs.
        prepare: Commands that write what is read, run once in the data folder, by the other commit, since
            this tree reads what earlier ones have written.
    """

    name: str
    new: tuple[str, ...]
    old: tuple[str, ...] = ()
    prepare: tuple[tuple[str, ...], ...] = ()


def mode(name: str, **options: object) -> tuple[str, ...]:
    """The command of a mode."""
    words = (word for option, value in options.items() for word in (f"--{option}", str(value)))
    return ("python", "-m", f"entry_points.{name}", *words)


LANGUAGE_MODEL = ("python", "{benchmarks}/language_model.py")


def step(model: str, *options: object) -> tuple[str, ...]:
    """The command that measures training steps of a model."""
    return ("python", "{benchmarks}/training_step.py", model, *map(str, options))


RUN_ID = (
    "import mlflow; runs = mlflow.search_runs(search_all_experiments=True); "
    "print(runs.run_id[0], file=open('run_id', 'w'))"
)
# The similar sequences are looked for in the first round only, and the least of the rounds counts.
EVALUATE = (
    "cp {data}/mlflow.db . && exec python -m entry_points.eval_only --run_id $(cat {data}/run_id) "
    "--dataset bernett --split validation --data_dir {data}/data"
)

ROWS = (
    Row(name="train_only", new=mode("train_only", epochs=2)),
    Row(name="pooled_mlp step", new=step("pooled_mlp", 804, "--steps", 60)),
    Row(name="v3 step", new=step("v3", 384, "--pairs", 4096, "--proteins", 700, "--steps", 8)),
    Row(name="contact_map step", new=step("contact_map", 384, "--pairs", 16, "--proteins", 32, "--steps", 3)),
    Row(name="embed", new=(*LANGUAGE_MODEL, "embed")),
    Row(
        name="train_embedder",
        new=mode("train_embedder", fasta="{data}/proteins.fasta", epochs=1),
        prepare=((*LANGUAGE_MODEL, "write"),),
    ),
    Row(
        name="read_pairs",
        new=("python", "{benchmarks}/pair_reading.py", "read", "{data}/pairs.tsv"),
        prepare=(("python", "{benchmarks}/pair_reading.py", "make", "{data}/pairs.tsv"),),
    ),
    Row(
        name="eval_only",
        new=("sh", "-c", EVALUATE),
        prepare=(mode("train_only", dataset="bernett", epochs=1), ("python", "-c", RUN_ID)),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run of a command took."""

    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Bench:
    """The temporary folder in which commands run."""

    folder: Path

    def run(self, words: tuple[str, ...], *, tree: Path, data: Path, where: Path) -> Cost:
        """Runs a command in a folder and measures it; ends the benchmark if it fails."""
        where.mkdir(parents=True, exist_ok=True)
        store = where / "mlflow.db"
        if not store.exists():
            shutil.copy(self.folder / "mlflow.db", store)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(tree),
            "PYTHONDONTWRITEBYTECODE": "",  # users keep the compiled modules
            "MLFLOW_TRACKING_URI": f"sqlite:///{store}",
        }
        command = [word.format(data=data, benchmarks=ROOT / "benchmarks") for word in words]
        command[0] = PYTHON if command[0] == "python" else command[0]
        with (where / "stdout").open("w") as printed, (where / "stderr").open("w") as errors:
            process = subprocess.Popen(command, cwd=where, env=environment, stdout=printed, stderr=errors)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)}\n{(where / 'stderr').read_text()}")
        measured = own_seconds((where / "stdout").read_text())
        total = usage.ru_utime + usage.ru_stime
        return Cost(cpu_seconds=total if measured is None else measured, peak_mb=usage.ru_maxrss / 1000)

    def compare(self, row: Row, old_tree: Path, *, rounds: int) -> None:
        """Runs a row in turn in both trees and prints its line."""
        data = self.folder / row.name / "data"
        for words in row.prepare:
            self.run(words, tree=old_tree, data=data, where=data)
        news: list[Cost] = []
        olds: list[Cost] = []
        for number in range(rounds):
            for tree, words, costs in ((old_tree, row.old or row.new, olds), (ROOT, row.new, news)):
                where = self.folder / row.name / f"{number}-{len(costs)}-{tree.name}"
                costs.append(self.run(words, tree=tree, data=data, where=where))
                shutil.rmtree(where)
        print(line(row.name, olds, news), flush=True)
        shutil.rmtree(self.folder / row.name)


def own_seconds(printed: str) -> float | None:
    """The CPU seconds that a command measured itself; None if it did not."""
    found = [text.split()[1] for text in printed.splitlines() if text.startswith("cpu_seconds ")]
    return float(found[-1]) if found else None


def line(name: str, olds: list[Cost], news: list[Cost]) -> str:
    """A row of the printed table."""
    old, new = (min(cost.cpu_seconds for cost in costs) for costs in (olds, news))
    old_peak, new_peak = (max(cost.peak_mb for cost in costs) for costs in (olds, news))
    seconds = ", ".join(f"{a.cpu_seconds:.2f} {b.cpu_seconds:.2f}" for a, b in zip(olds, news, strict=True))
    return (
        f"| {name} | {old:.2f} | {new:.2f} | {new / old:.2f} "
        f"| {old_peak:,.0f} | {new_peak:,.0f} | {new_peak / old_peak:.2f} | {seconds} |"
    )


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """A worktree of a commit, for as long as the block runs."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", str(folder), commit], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def main() -> None:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser()
    parser.add_argument("--commit", default="4e26ede", help="the commit to compare with")
    parser.add_argument("--rows", nargs="*", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        # Both trees use the same MLflow, whose first use of a store makes its tables.
        store = f"sqlite:///{bench.folder}/mlflow.db"
        subprocess.run([PYTHON, "-c", TABLES, store], check=True, capture_output=True)
        print(f"| work | CPU s, {given.commit} | now | ratio | peak MB | now | ratio | CPU s in turn |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        with checked_out(given.commit, bench.folder / "old") as old_tree:
            for row in ROWS:
                if row.name in given.rows:
                    bench.compare(row, old_tree, rounds=given.rounds)


if __name__ == "__main__":
    main()
