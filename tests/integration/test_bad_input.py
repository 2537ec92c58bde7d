"""Tests of exit codes and messages for user mistakes.

A mistake ends with exit code 2, one message and no traceback, and the run is FAILED with that message.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from ppi_train.cli import run_mode
from ppi_train.data.benchmarks.prepare import Dataset

Case = Callable[["Files"], dict[str, str]]


class Files:
    """The example as a user's own tables, each of which a test may spoil."""

    def __init__(self, folder: Path, example: Dataset) -> None:
        self.folder = folder
        self.train = self._copy("train.tsv", example.splits["train"].pairs)
        self.val = self._copy("val.tsv", example.splits["validation"].pairs)
        self.fasta = self._copy("proteins.fasta", example.splits["train"].fasta)

    def _copy(self, name: str, source: Path) -> Path:
        target = self.folder / name
        target.write_bytes(source.read_bytes())
        return target

    def parameters(self) -> dict[str, str]:
        return {"train_pairs": str(self.train), "val_pairs": str(self.val), "fasta": str(self.fasta)}

    def write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)


def absent_file(files: Files) -> dict[str, str]:
    return {"train_pairs": str(files.folder / "nowhere.tsv")}


def both_labels(files: Files) -> dict[str, str]:
    header, first, *_ = files.train.read_text().splitlines()
    a, b, label = first.split("\t")
    spoilt = f"{header}\n{first}\n{b}\t{a}\t{1 - int(label)}\n"
    return {"train_pairs": files.write("both.tsv", spoilt.encode())}


def label_two(files: Files) -> dict[str, str]:
    return {"train_pairs": files.write("two.tsv", b"EX00000\tEX00001\t2\n")}


def no_embedding(files: Files) -> dict[str, str]:
    return {"train_pairs": files.write("ghost.tsv", files.train.read_bytes() + b"GHOST\tEX00001\t1\n")}


def duplicate_key(files: Files) -> dict[str, str]:
    return {"fasta": files.write("twice.fasta", files.fasta.read_bytes() + b">EX00000 again\nMKV\n")}


def empty_pairs(files: Files) -> dict[str, str]:
    return {"train_pairs": files.write("empty.tsv", b"")}


def empty_fasta(files: Files) -> dict[str, str]:
    return {"fasta": files.write("empty.fasta", b"")}


def short_parquet(files: Files) -> dict[str, str]:
    assert run_mode("embed", {"fasta": str(files.fasta), "output": str(files.folder / "whole.parquet")}) == 0
    whole = (files.folder / "whole.parquet").read_bytes()
    return {"embeddings": files.write("short.parquet", whole[: len(whole) // 2])}


CASES: list[tuple[Case, list[str]]] = [
    (absent_file, ["the pair table is not there", "nowhere.tsv"]),
    (both_labels, ["1 pair has both labels", "line 2 and line 3"]),
    (label_two, ["a label is neither 0 nor 1", "two.tsv, line 1", "'2'"]),
    (no_embedding, ["no embedding for 1 protein", "GHOST", "missing=drop"]),
    (duplicate_key, ["the key EX00000 has two sequences", "lines 1 and"]),
    (empty_pairs, ["the pair table is empty", "empty.tsv"]),
    (empty_fasta, ["the FASTA is empty", "empty.fasta"]),
    (short_parquet, ["the embedding cache is cut short or corrupt", "short.parquet"]),
]


@pytest.mark.parametrize(("spoil", "expected"), CASES, ids=[case.__name__ for case, _ in CASES])
def test_bad_data_ends_with_one_message_and_a_failed_run(
    spoil: Case,
    expected: list[str],
    store: mlflow.MlflowClient,
    example: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = Files(tmp_path, example)
    values = files.parameters() | spoil(files)
    capsys.readouterr()
    monkeypatch.setenv("MLFLOW_RUN_ID", store.create_run("1").info.run_id)
    assert run_mode("train_only", values) == 2
    check_failure(store, capsys.readouterr().err, expected)


def check_failure(store: mlflow.MlflowClient, shown: str, expected: list[str]) -> None:
    """The run that `mlflow run` would have made is FAILED, and tells what the terminal told."""
    assert "Traceback" not in shown
    run = store.search_runs(["1"], order_by=["attributes.start_time DESC"])[0]
    assert run.info.status == "FAILED"
    for text in expected:
        assert text in shown
        assert text in run.data.tags["ppi.error"]


def test_all_problems_of_a_config_are_told_at_once(
    store: mlflow.MlflowClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("lerning_rate: 0.1\nlearning_rate: abc\n")
    monkeypatch.setenv("MLFLOW_RUN_ID", store.create_run("1").info.run_id)
    assert run_mode("train_only", {"config": str(config), "epochs": "0"}) == 2
    told = ["did you mean learning_rate", "learning_rate: expected a finite number, got 'abc'", "epochs: "]
    check_failure(store, capsys.readouterr().err, told)


def test_a_run_id_that_does_not_exist(
    store: mlflow.MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", store.create_run("1").info.run_id)
    assert run_mode("eval_only", {"run_id": "no-such-run"}) == 2
    check_failure(store, capsys.readouterr().err, ["there is no such run", "no-such-run"])


def test_a_tracking_server_that_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
        monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        assert run_mode("train_only", {}) == 2
    shown = capsys.readouterr().err
    assert "could not reach the tracking server" in shown
    assert uri in shown
    assert "Traceback" not in shown
