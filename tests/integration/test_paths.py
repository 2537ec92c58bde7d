"""Tests of paths that cannot be used, as every path parameter of every mode.

Each ends with exit code 2 and one message, before the work, and the run is FAILED.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from ppi_train.config.fields import describe_fields
from ppi_train.errors import StorageError, UserError
from ppi_train.modes import MODES, execute_pipeline
from tests.support.small_data import SEQUENCES, TRAIN, VALIDATION, plain, write_sequences, write_table

ENDINGS = {"output": ".parquet", "edges": ".graphml"}
FOLDERS = ("output_dir", "data_dir", "mirror")
INPUTS = (
    *("fasta", "pairs", "train_pairs", "val_pairs", "test_pairs", "embeddings", "source", "proteins_a"),
    *("text_fasta", "exclude_fasta", "exclude_pairs", "node_sets", "complexes", "essential", "journal"),
)
# What a path is, given the folder of a test and the ending that the name needs.
KINDS: dict[str, Callable[[Path, str], str]] = {
    "in a file": lambda folder, ending: f"{folder}/file/x{ending}",
    "in a dangling link": lambda folder, ending: f"{folder}/dangling/x{ending}",
    "in a circle": lambda folder, ending: f"{folder}/circle/x{ending}",
    "not writable": lambda _folder, ending: f"/proc/x{ending}",
    "too long": lambda folder, ending: f"{folder}/{'x' * 300}{ending}",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_sequences(folder / "p.fasta", plain)
    write_table(folder / "train.tsv", TRAIN)
    write_table(folder / "val.tsv", VALIDATION)
    vectors: dict[str, Any] = {plain(n): np.full(4, n, np.float32) for n in range(len(SEQUENCES))}
    np.savez(folder / "source.npz", **vectors)
    (folder / "file").write_text("x")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "circle").symlink_to(folder / "circle")
    return folder


def parameters(data: Path) -> dict[str, dict[str, str]]:
    """Parameters by mode with which it would work, but for those of a trained run."""
    fasta, train, val = (str(data / name) for name in ("p.fasta", "train.tsv", "val.tsv"))
    own = {"train_pairs": train, "val_pairs": val, "fasta": fasta, "epochs": "1"}
    return {
        "prepare_data": {},
        "split": {"pairs": train, "fasta": fasta, "output": str(data / "split")},
        "audit": {"train_pairs": train, "test_pairs": val, "fasta": fasta},
        "train_embedder": {"fasta": fasta, "epochs": "1", "hidden_dim": "4", "window": "16"},
        "embed": {"fasta": fasta, "output": str(data / "new.parquet")},
        "import_embeddings": {
            "source": str(data / "source.npz"), "fasta": fasta, "embedder_name": "mine",
            "output": str(data / "imported.parquet"),
        },
        "train_only": own,
        "full_pipeline": own,
        "predict": {"run_id": "r", "all_pairs": "true", "fasta": fasta, "output": str(data / "q.parquet")},
        "sync": {},
    }  # fmt: skip


def cases() -> list[tuple[str, str, str]]:
    """Mode, parameter and kind: every kind for an output and the data of stages, one in turn for others."""
    found, kinds = [], list(KINDS)
    for mode in parameters(Path()):
        names = [spec.name for spec in describe_fields(MODES[mode].config)]
        every = {*ENDINGS, "data_dir"} if mode == "full_pipeline" else {*ENDINGS}
        found += [(mode, name, kind) for name in names if name in every for kind in kinds]
        # The run of `predict` is looked up before its inputs; the pipeline's stages are modes of this table.
        read = INPUTS if mode not in ("predict", "full_pipeline") else ()
        single = [name for name in names if name in (*read, *FOLDERS) and name not in every]
        found += [(mode, name, kinds[(len(found) + place) % 5]) for place, name in enumerate(single)]
    return [case for case in found if case[:2] not in (("predict", "data_dir"), ("predict", "mirror"))]


@pytest.mark.parametrize(("mode", "name", "kind"), cases())
def test_a_path_that_cannot_be_used(
    mode: str, name: str, kind: str, data: Path, tmp_path: Path, store: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PPI_TRAIN_MIRROR", raising=False)
    ending = "" if mode == "split" else ENDINGS.get(name, "")
    path = KINDS[kind](data, ending)
    given = {**parameters(data)[mode], name: path}
    if name == "essential":
        given["non_essential"] = path
    if name == "mirror":
        given = {"dataset": "bernett", "mirror": path, "data_dir": str(tmp_path)}
    if name == "data_dir" and mode in ("audit", "train_embedder", "embed"):
        given = {"data_dir": path}  # which own tables or another output would leave unused
    before = sorted(data.iterdir())
    with pytest.raises(UserError) as caught:
        execute_pipeline(mode, given)
    message = str(caught.value)
    assert path.removesuffix(ending) in message or str(data / "dangling") in message
    assert "to do: " in message or "where: " in message
    assert sorted(data.iterdir()) == before
    for run in store.search_runs(["1"]):  # none, where the folder of runs cannot be used
        assert (run.info.status, run.data.tags["ppi.error"]) == ("FAILED", message[:5000])


@pytest.mark.parametrize("ending", [".parquet", ".graphml"])
def test_a_folder_where_an_output_belongs(
    ending: str, data: Path, tmp_path: Path, store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"x{ending}").mkdir()
    name = "output" if ending == ".parquet" else "edges"
    given = {**parameters(data)["predict"], name: str(tmp_path / f"x{ending}"), "overwrite": "true"}
    with pytest.raises(UserError, match=rf"{name} cannot be written\n.*\n  got: Is a directory"):
        execute_pipeline("predict", given)


def test_a_folder_of_data_that_may_only_be_read(
    data: Path, tmp_path: Path, store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    given = {**parameters(data)["train_only"], "hidden_dim": "4", "members": "1", "data_dir": str(folder)}
    execute_pipeline("train_only", given)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be written")

    monkeypatch.setattr("ppi_train.runs.embedder.check_output_path", refuse)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    execute_pipeline("train_only", given)


def test_a_cache_of_checkpoints_that_cannot_be_made(
    data: Path, tmp_path: Path, store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    monkeypatch.chdir(tmp_path)
    small = {"hidden_dim": "4", "members": "1", "data_dir": str(tmp_path)}
    trained = execute_pipeline("train_only", {**parameters(data)["train_only"], **small}).run_id
    given = {**parameters(data)["predict"], "run_id": trained, "output": str(tmp_path / "q.parquet")}
    monkeypatch.delenv("PPI_TRAIN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", os.devnull)
    with pytest.raises(StorageError, match="the folder of downloaded checkpoints cannot be used") as caught:
        execute_pipeline("predict", given)
    assert "to do: set PPI_TRAIN_CACHE to a folder that can be written to" in str(caught.value)
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))
    assert execute_pipeline("predict", given).metrics["predict/proteins"] == len(SEQUENCES)
    # Where the checkpoint is there, nothing is written to the cache.
    monkeypatch.setattr("ppi_train.runs.checkpoints.os.access", lambda *_: False)
    monkeypatch.setattr("ppi_train.runs.checkpoints._locked", lambda _: pytest.fail("locked"))
    assert execute_pipeline("predict", {**given, "overwrite": "true"})
