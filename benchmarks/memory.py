"""CPU seconds and peak resident memory of each mode.

    python benchmarks/memory.py [--rows train_only ...] [--large]

Runs the modes one after another in an empty folder, with one thread and a tracking store that already has its
tables: on the built-in example, and with `--large` on made pairs and proteins of a stated size. Prints user
and system CPU seconds with ended children, the largest process, and the command.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from against import PYTHON, ROOT, TABLES, Bench, mode

# Only the standard library: the kernel counts the memory of this process into that of those it starts.

FASTA = "data/example/sequences.fasta"
MADE = ("python", "{benchmarks}/made_pairs.py")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A command that is measured.

    In its words, `{trained}` is the ID of the latest run of `train_only`, `{before}` that of the one before.

    Args:
        name: For `--rows`.
        size: What it works on.
        words: The command.
        prepare: Commands that write what it reads, run once before it.
    """

    name: str
    size: str
    words: tuple[str, ...]
    prepare: tuple[tuple[str, ...], ...] = ()


TINY = {"model": "pooled_mlp", "hidden_dim": 16, "head_dim": 8, "members": 1, "epochs": 1}
EXAMPLE = (
    Row(name="prepare_data", size="example", words=mode("prepare_data", dataset="example")),
    Row(
        name="split",
        size="example",
        words=mode("split", pairs="data/example/train.tsv", output="mine", method="c3"),
    ),
    Row(name="audit", size="example", words=mode("audit", dataset="example")),
    Row(name="train_embedder", size="example, 1 epoch", words=mode("train_embedder", fasta=FASTA, epochs=1)),
    Row(name="embed", size="example", words=mode("embed", fasta=FASTA, output="mine.parquet")),
    Row(
        name="import_embeddings",
        size="example",
        words=mode(
            "import_embeddings",
            source="mine.npz",
            fasta=FASTA,
            output="theirs.parquet",
            embedder_name="noise",
        ),
        prepare=((*MADE, "archive", FASTA, "mine.npz"),),
    ),
    Row(name="train_only", size="example, 2 epochs", words=mode("train_only", epochs=2)),
    Row(
        name="finetune_from_pretrain",
        size="example, 2 epochs",
        words=mode("finetune_from_pretrain", pretrain_run_id="{trained}", epochs=2),
    ),
    Row(name="eval_only", size="example", words=mode("eval_only", run_id="{trained}")),
    Row(
        name="compare",
        size="example, 2 runs",
        words=mode("compare", run_ids="{trained},{before}"),
        prepare=(mode("train_only", epochs=1),),
    ),
    Row(
        name="predict",
        size="example, all pairs",
        words=mode(
            "predict", run_id="{trained}", dataset="example", all_pairs=True, top_k=5, output="best.parquet"
        ),
    ),
    Row(
        name="promote",
        size="example",
        words=mode("promote", run_id="{trained}", registered_model="ppi"),
    ),
    Row(name="sweep", size="example, 2 trials", words=mode("sweep", trials=2, epochs=1)),
    Row(
        name="sync",
        size="one run",
        words=mode("sync"),
        prepare=(mode("train_only", epochs=1, offline=True),),
    ),
    Row(name="clean", size="", words=mode("clean")),
    Row(name="full_pipeline", size="example, 2 epochs", words=mode("full_pipeline", epochs=2)),
)
OF_MILLIONS = {"embeddings": "proteins.parquet"}
LARGE = (
    Row(
        name="train_only",
        size="10^7 pairs of 10^5 proteins, 16 numbers each",
        words=mode("train_only", train_pairs="train.tsv", val_pairs="validation.tsv", **OF_MILLIONS, **TINY),
        prepare=(
            (*MADE, "cache", "proteins.parquet", "--proteins", "1e5"),
            (*MADE, "pairs", "train.tsv", "--proteins", "1e5", "--pairs", "1e7"),
            (*MADE, "pairs", "validation.tsv", "--proteins", "1e5", "--pairs", "1e5", "--seed", "1"),
            (*MADE, "pairs", "test.tsv", "--proteins", "1e5", "--pairs", "1e6", "--seed", "2"),
        ),
    ),
    Row(
        name="eval_only",
        size="10^6 pairs, audit and 1,000 resamples",
        words=mode("eval_only", run_id="{trained}", test_pairs="test.tsv", audit="overlap", **OF_MILLIONS),
    ),
    Row(
        name="eval_only",
        size="10^7 pairs, audit and 1,000 resamples",
        words=mode("eval_only", run_id="{trained}", test_pairs="train.tsv", audit="overlap", **OF_MILLIONS),
    ),
    Row(
        name="audit",
        size="10^7 training and 10^6 test pairs",
        words=mode("audit", train_pairs="train.tsv", test_pairs="test.tsv"),
    ),
    Row(
        name="predict",
        size="all pairs of 20,000 proteins, 10 best of each",
        words=mode(
            "predict", run_id="{trained}", fasta="some.fasta", embeddings="some.parquet",
            all_pairs=True, top_k=10, output="some_best.parquet",
        ),
        prepare=((*MADE, "cache", "some.parquet", "--proteins", "20000", "--fasta", "some.fasta"),),
    ),
    Row(
        name="embed",
        size="20,000 proteins, descriptors",
        words=mode("embed", fasta="some.fasta", output="described.parquet"),
    ),
)  # fmt: skip


def main() -> None:
    names = sorted({row.name for row in (*EXAMPLE, *LARGE)})
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", nargs="*", choices=names, default=names)
    parser.add_argument("--large", action="store_true", help="made pairs and proteins instead of the example")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        store = f"sqlite:///{bench.folder}/mlflow.db"
        subprocess.run([PYTHON, "-c", TABLES, store], check=True, capture_output=True)
        where = bench.folder / "work"
        print("| mode | on | CPU s | peak MB | command |\n| --- | --- | --- | --- | --- |", flush=True)
        for row in LARGE if given.large else EXAMPLE:
            for words in row.prepare:
                bench.run(filled(words, where), tree=ROOT, data=where, where=where)
            words = filled(row.words, where)
            # what a row writes the later ones read; so those that are not wanted run as well
            cost = bench.run(words, tree=ROOT, data=where, where=where)
            if row.name in given.rows:
                cells = (f"`{row.name}`", row.size, f"{cost.cpu_seconds:.1f}", f"{cost.peak_mb:,.0f}")
                print(f"| {' | '.join(cells)} | `{shown(row.words)}` |", flush=True)
        shutil.rmtree(where)


def filled(words: tuple[str, ...], where: Path) -> tuple[str, ...]:
    """The words of a command with the IDs of runs."""
    if not any("{trained}" in word or "{before}" in word for word in words):
        return words
    with sqlite3.connect(where / "mlflow.db") as store:
        runs = [
            run_id
            for (run_id,) in store.execute(
                "select runs.run_uuid from runs join tags on tags.run_uuid = runs.run_uuid "
                "where key = 'ppi.mode' and value = 'train_only' and status = 'FINISHED' "
                "order by start_time desc limit 2"
            )
        ]
    if not runs:
        sys.exit("no run of train_only")
    return tuple(word.replace("{trained}", runs[0]).replace("{before}", runs[-1]) for word in words)


def shown(words: tuple[str, ...]) -> str:
    """A command as `mlflow run` takes it."""
    name, options = words[2].removeprefix("entry_points."), words[3:]
    pairs = zip(options[::2], options[1::2], strict=True)
    text = " ".join(f"{option.removeprefix('--')}={value}" for option, value in pairs)
    return f"{name} {text}".replace("{trained}", "RUN_ID").replace("{before}", "ANOTHER_ID").strip()


if __name__ == "__main__":
    main()
