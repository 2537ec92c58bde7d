"""Tests of language models that learn from several proteomes, from the FASTAs to an evaluation."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from ppi_train.data.fasta import AMINO_ACIDS, read_fasta, sequence_digest, write_fasta
from ppi_train.errors import DataError
from ppi_train.modes import execute_pipeline
from ppi_train.runs.language_text import logged_text_digests
from tests.support.small_data import (
    SEQUENCES,
    TRAIN,
    VALIDATION,
    as_string,
    plain,
    write_sequences,
    write_table,
)

SMALL: dict[str, Any] = {"hidden_dim": 4, "epochs": 1, "window": 32, "batch_size": 4}
_RANDOM = np.random.default_rng(5)
YEAST = ["".join(_RANDOM.choice(list(AMINO_ACIDS), 60)) for _ in range(20)]
FLY = ["".join(_RANDOM.choice(list(AMINO_ACIDS), 50)) for _ in range(5)]


@pytest.fixture(autouse=True)
def _own_checkpoint_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """Parameters of runs on a small FASTA; two further ones lie beside it, one of which uses its names."""
    named = {plain(number): sequence for number, sequence in enumerate(YEAST)}
    write_fasta(tmp_path / "yeast.fasta", {**named, "SAME": SEQUENCES[2]})
    write_fasta(tmp_path / "fly.fasta", {f"F{number}": sequence for number, sequence in enumerate(FLY)})
    return {
        "fasta": write_sequences(tmp_path / "human.fasta", plain),
        "data_dir": str(tmp_path / "data"),
        "output_dir": str(tmp_path / "runs"),
    }


def further(tmp_path: Path) -> dict[str, str]:
    return {"text_fasta": f"{tmp_path / 'yeast.fasta'},{tmp_path / 'fly.fasta'}"}


def pairs(tmp_path: Path) -> dict[str, str]:
    return {
        "train_pairs": write_table(tmp_path / "train.tsv", TRAIN),
        "val_pairs": write_table(tmp_path / "val.tsv", VALIDATION),
    }


def artifact(run: Any, path: str) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://")) / path


def datasets_of(run: Any) -> dict[str, Any]:
    return {item.dataset.name: item.dataset for item in run.inputs.dataset_inputs}


def test_a_run_logs_each_file_and_its_whole_text(
    store: mlflow.MlflowClient, given: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    result = execute_pipeline("train_embedder", given | SMALL | further(tmp_path))
    run = store.get_run(result.run_id)
    assert run.data.params["embedder.text_fasta"] == further(tmp_path)["text_fasta"]
    read = datasets_of(run)
    assert sorted(read) == ["fly/text_fasta_2", "human/sequences", "yeast/text_fasta_1"]
    yeast = read["yeast/text_fasta_1"]
    assert yeast.digest == read_fasta(tmp_path / "yeast.fasta").digest[:36]
    assert str(tmp_path / "yeast.fasta") in yeast.source
    assert run.data.metrics["data/text_fasta_sequences"] == 25
    assert run.data.metrics["data/text_fasta_residues"] == sum(map(len, [*YEAST, *FLY]))
    logged: dict[str, str] = {}
    for part in ("train", "held_out"):
        logged |= read_fasta(artifact(run, f"text/{part}.fasta")).sequences
    assert sorted(logged.values()) == sorted([*SEQUENCES, *YEAST, *FLY])
    assert (logged[plain(1)], logged[f"{plain(1)}@yeast"]) == (SEQUENCES[1], YEAST[1])
    described = json.loads(artifact(run, "checkpoints/best/checkpoint.json").read_text())
    assert described["text"]["sequences"] == 41
    assert described["text"]["digest"].startswith(read["human/sequences"].digest)
    assert [file["name"] for file in described["text"]["text_fasta"]] == ["yeast", "fly"]
    assert described["config"]["text_fasta"] == further(tmp_path)["text_fasta"].split(",")
    assert f"text_fasta: {tmp_path / 'yeast.fasta'} adds 20 of its 21 sequences" in caplog.text


@pytest.mark.usefixtures("store")
def test_an_interrupted_run_continues_on_the_same_files_only(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "ppi_train.modes.train_embedder._log_end", lambda *_: signal.raise_signal(signal.SIGINT)
        )
        with pytest.raises(KeyboardInterrupt):
            execute_pipeline("train_embedder", given | SMALL | further(tmp_path))
    (run,) = mlflow.MlflowClient().search_runs(["1"])
    shutil.copy(tmp_path / "fly.fasta", tmp_path / "fly_before.fasta")
    write_fasta(tmp_path / "fly.fasta", {"F0": FLY[0]})
    changed = "not those that the run was trained on: (sequences, text_fasta_2|text_fasta_2, sequences)"
    with pytest.raises(DataError, match=changed):
        execute_pipeline("resume", {"run_id": run.info.run_id})
    shutil.copy(tmp_path / "fly_before.fasta", tmp_path / "fly.fasta")
    result = execute_pipeline("resume", {"run_id": run.info.run_id})
    assert result.metrics["val/perplexity_best"] > 1


def test_an_evaluation_counts_the_proteins_that_the_language_model_has_read(
    store: mlflow.MlflowClient, given: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    out = {plain(number): SEQUENCES[number] for number in range(4)}
    write_fasta(tmp_path / "out.fasta", out)
    # Protein 2 stands in `yeast.fasta` as well, and is left out of that too.
    excluded = {"exclude_fasta": str(tmp_path / "out.fasta")}
    embedder = execute_pipeline("train_embedder", given | SMALL | further(tmp_path) | excluded).run_id
    used = {"embedder": "protein_lm", "embedder_run_id": embedder, "epochs": 1, "members": 1, "hidden_dim": 4}
    trained = execute_pipeline("train_only", given | pairs(tmp_path) | used)
    test = write_table(tmp_path / "test.tsv", [(number, number - 1, number % 2) for number in range(1, 8)])
    asked = given | {"run_id": trained.run_id, "test_pairs": test, "bootstrap_resamples": 0}
    result = execute_pipeline("eval_only", asked)
    assert result.metrics["test/proteins_in_language_text"] == 4
    run = store.get_run(result.run_id)
    assert run.data.metrics["test/proteins_in_language_text"] == 4
    said = f"Of the 8 scored proteins 4 have a sequence that the language model of run {embedder} has read"
    assert said in caplog.text
    assert said in artifact(run, "report.html").read_text()

    text = artifact(store.get_run(embedder), "text")
    shutil.rmtree(text)  # as `mlflow gc` or a rule of the store may do
    gone = execute_pipeline("eval_only", asked)
    assert "test/proteins_in_language_text" not in gone.metrics
    assert gone.metrics["test/auroc"] == result.metrics["test/auroc"]
    assert f"the text of the language model of run {embedder} cannot be read" in caplog.text


def test_a_text_that_is_not_the_one_that_was_read_says_nothing(
    store: mlflow.MlflowClient, given: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = execute_pipeline("train_embedder", given | SMALL | further(tmp_path)).run_id
    known = logged_text_digests(embedder)
    assert known == frozenset(map(sequence_digest, (*SEQUENCES, *YEAST, *FLY)))
    write_fasta(artifact(store.get_run(embedder), "text/held_out.fasta"), {"X": YEAST[0][::-1]})
    assert logged_text_digests(embedder) is None
    assert f"the text among the artifacts of run {embedder}" in caplog.text


@pytest.mark.slow
def test_a_pipeline_trains_again_when_a_further_file_has_changed(
    store: mlflow.MlflowClient, given: dict[str, Any], tmp_path: Path
) -> None:
    asked = given | pairs(tmp_path) | further(tmp_path) | {
        "embedder": "protein_lm", "lm_hidden_dim": 4, "lm_epochs": 1, "epochs": 1, "members": 1,
        "hidden_dim": 4, "bootstrap_resamples": 0, "test_pairs": str(tmp_path / "test.tsv"),
    }  # fmt: skip
    write_table(tmp_path / "test.tsv", [(0, 1, 1), (1, 2, 0), (0, 2, 1)])
    # The windows of the pipeline are longer than the other texts here.
    long = {
        name: [sequence * 6 for sequence in texts] for name, texts in (("human", SEQUENCES), ("fly", FLY))
    }
    for name, named in (("human", plain), ("fly", as_string)):
        write_fasta(
            tmp_path / f"{name}.fasta",
            {named(number): sequence for number, sequence in enumerate(long[name])},
        )
    write_fasta(tmp_path / "yeast.fasta", {plain(number): text * 6 for number, text in enumerate(YEAST)})
    first = execute_pipeline("full_pipeline", asked)
    run = store.get_run(first.outputs["train_embedder"])
    # Those under the names of the test proteins are left out: which sequence is meant is not known.
    assert run.data.metrics["data/text_fasta_sequences"] == 22
    assert run.data.metrics["data/excluded_sequences"] == 6
    assert first.metrics["test/proteins_in_language_text"] == 0
    again = execute_pipeline("full_pipeline", asked)
    assert again.outputs["train_embedder"] == first.outputs["train_embedder"]
    write_fasta(tmp_path / "fly.fasta", {"F0": long["fly"][0]})
    changed = execute_pipeline("full_pipeline", asked)
    assert changed.outputs["train_embedder"] != first.outputs["train_embedder"]
