"""Modes whose inputs and outputs lie in an object store, compared with the same ones on this disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from ppi_train.checkpoints import WEIGHTS
from ppi_train.data.fasta import sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.errors import ConfigError, DataError, StorageError
from ppi_train.modes import PipelineResult, execute_pipeline
from tests.support.object_store import Store, object_store, with_empty_cache
from tests.support.small_data import SEQUENCES, TRAIN, VALIDATION, plain, write_sequences, write_table


@pytest.fixture(scope="module")
def started() -> Iterator[Store]:
    with object_store() as objects:
        yield objects


@pytest.fixture
def objects(
    started: Store, store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """The object store with small inputs, which lie in a folder too."""
    del store
    folder = tmp_path / "inputs"
    folder.mkdir()
    write_table(folder / "train.tsv", TRAIN)
    write_table(folder / "val.tsv", VALIDATION)
    write_sequences(folder / "all.fasta", plain)
    write_residues(folder / "residues.parquet")
    for key in started.listing():
        started.client.delete_object(Bucket="lab", Key=key)
    for path in folder.iterdir():
        started.put(path.name, path.read_bytes())
    return with_empty_cache(started, tmp_path / "cache", monkeypatch)


def write_residues(path: Path) -> None:
    spec = CacheSpec(
        embedder={"name": "noise", "parameters": {}, "digest": "ab" * 32},
        dimension=8,
        granularity="residue",
        dtype="float32",
        max_length=None,
        truncation="head",
        fasta_digest="cd" * 32,
    )
    rng = np.random.default_rng(0)
    with CacheWriter(path, spec) as writer:
        for number, sequence in enumerate(SEQUENCES):
            states = rng.normal(size=(len(sequence), 8)).astype(np.float32)
            writer.add(plain(number), sequence_digest(sequence), len(sequence), states)


def trained(place: str, tmp_path: Path, **options: Any) -> PipelineResult:
    """A training on the inputs at a place, a folder or an address."""
    return execute_pipeline(
        "train_only",
        {
            "train_pairs": f"{place}/train.tsv",
            "val_pairs": f"{place}/val.tsv",
            "data_dir": str(tmp_path / "data"),
            "output_dir": str(tmp_path / "runs"),
            "epochs": 2,
            "device": "cpu",
            **options,
        },
    )


def weights(client: mlflow.MlflowClient, run_id: str, folder: Path) -> bytes:
    path = client.download_artifacts(run_id, f"checkpoints/best/{WEIGHTS}", str(folder))
    return Path(path).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["v3", "pooled_mlp"])
def test_training_is_the_same_from_a_store(
    objects: Store, store: mlflow.MlflowClient, tmp_path: Path, model: str
) -> None:
    del objects
    found = []
    for number, place in enumerate(("s3://lab", str(tmp_path / "inputs"))):
        cache = f"{place}/residues.parquet"
        result = trained(place, tmp_path, embeddings=cache, model=model)
        (tmp_path / str(number)).mkdir()
        found.append(weights(store, result.run_id, tmp_path / str(number)))
        assert store.get_run(result.run_id).data.params["embedding.embeddings"] == cache
    assert found[0] == found[1]


def test_a_run_shows_addresses_and_no_credentials(
    objects: Store, store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    del objects
    result = trained("s3://lab", tmp_path, fasta="s3://lab/all.fasta")
    run = store.get_run(result.run_id)
    shown = str((run.data.to_dictionary(), run.inputs))
    shown += (tmp_path / "runs" / result.run_id / "config.yaml").read_text()
    assert "train_pairs: s3://lab/train.tsv" in shown
    assert str(tmp_path / "cache") not in shown
    assert "testing" not in shown


@pytest.mark.slow
def test_a_run_is_evaluated_on_what_it_read_from_a_store(
    objects: Store, store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    del objects
    run_id = trained("s3://lab", tmp_path, embeddings="s3://lab/residues.parquet").run_id
    folders = {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "runs"), "device": "cpu"}
    result = execute_pipeline("eval_only", {"run_id": run_id, **folders})
    best = store.get_run(run_id).data.metrics["val/auroc_best"]
    assert result.metrics["val/auroc"] == pytest.approx(best)


@pytest.mark.slow
def test_an_interrupted_run_continues_from_a_store(
    objects: Store, store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    del objects
    run_id = trained("s3://lab", tmp_path, embeddings="s3://lab/residues.parquet").run_id
    store.set_terminated(run_id, "FAILED")
    assert execute_pipeline("resume", {"run_id": run_id}).run_id
    assert store.get_run(run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_processes_that_train_together_read_a_store(
    objects: Store, store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    del objects
    found = []
    for number, place in enumerate(("s3://lab", str(tmp_path / "inputs"))):
        cache = f"{place}/residues.parquet"
        result = trained(place, tmp_path, embeddings=cache, model="v3", processes=2)
        (tmp_path / str(number)).mkdir()
        found.append(weights(store, result.run_id, tmp_path / str(number)))
    assert found[0] == found[1]


def test_embeddings_are_sent_to_a_store(objects: Store, tmp_path: Path) -> None:
    options = {"data_dir": str(tmp_path / "data")}
    result = execute_pipeline(
        "embed", {**options, "fasta": "s3://lab/all.fasta", "output": "s3://lab/made.parquet"}
    )
    assert result.outputs["embeddings"] == "s3://lab/made.parquet"
    assert result.then[0].startswith("train_only -P embeddings=s3://lab/made.parquet ")
    local = tmp_path / "made.parquet"
    execute_pipeline("embed", {**options, "fasta": str(tmp_path / "inputs/all.fasta"), "output": str(local)})
    assert objects.get("made.parquet") == local.read_bytes()


def test_embeddings_are_imported_from_and_to_a_store(objects: Store, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {plain(number): np.full(4, number, "f4") for number in range(len(SEQUENCES))}
    np.savez(tmp_path / "vectors.npz", **arrays)
    objects.put("vectors.npz", (tmp_path / "vectors.npz").read_bytes())
    options = {"fasta": "s3://lab/all.fasta", "embedder_name": "numbers"}
    places = {"s3://lab/vectors.npz": "s3://lab/imported.parquet"}
    places[str(tmp_path / "vectors.npz")] = str(tmp_path / "imported.parquet")
    for source, output in places.items():
        execute_pipeline("import_embeddings", {**options, "source": source, "output": output})
    assert objects.get("imported.parquet") == (tmp_path / "imported.parquet").read_bytes()


def test_predictions_are_sent_to_a_store(objects: Store, store: mlflow.MlflowClient, tmp_path: Path) -> None:
    run_id = trained(str(tmp_path / "inputs"), tmp_path, embeddings="s3://lab/residues.parquet").run_id
    places = ("s3://lab", str(tmp_path))
    for place in places:
        result = execute_pipeline(
            "predict",
            {
                "run_id": run_id,
                "pairs": "s3://lab/val.tsv",
                "embeddings": "s3://lab/residues.parquet",
                "output": f"{place}/scores.parquet",
                "edges": f"{place}/edges.graphml",
                "device": "cpu",
            },
        )
        assert result.outputs["output"] == f"{place}/scores.parquet"
        run = store.get_run(result.run_id)
        assert run.data.tags["ppi.output"] == f"{place}/scores.parquet"
        artifacts = {item.path for item in store.list_artifacts(result.run_id, "predictions")}
        assert artifacts == {"predictions/scores.parquet", "predictions/edges.graphml"}
    for name in ("scores.parquet", "edges.graphml"):
        assert objects.get(name) == (tmp_path / name).read_bytes()


def test_a_folder_of_predictions_is_sent_with_its_manifest(objects: Store, tmp_path: Path) -> None:
    run_id = trained(str(tmp_path / "inputs"), tmp_path, embeddings="s3://lab/residues.parquet").run_id
    options = {"run_id": run_id, "pairs": "s3://lab/val.tsv", "embeddings": "s3://lab/residues.parquet"}
    options |= {"device": "cpu", "output": "s3://lab/scores/"}
    execute_pipeline("predict", options)
    execute_pipeline("predict", options | {"output": f"{tmp_path}/scores/"})
    for name in ("part-00000000.parquet", "_manifest.json"):
        assert objects.get(f"scores/{name}") == (tmp_path / "scores" / name).read_bytes()
    with pytest.raises(ConfigError, match=r"the output exists\n  where: s3://lab/scores/"):
        execute_pipeline("predict", options)


def test_an_output_in_a_store_is_not_replaced_unasked(objects: Store, tmp_path: Path) -> None:
    url = objects.put("made.parquet", b"mine")
    options = {"data_dir": str(tmp_path / "data"), "fasta": "s3://lab/all.fasta", "output": url}
    with pytest.raises(ConfigError, match=r"the output exists\n  where: s3://lab/made\.parquet"):
        execute_pipeline("embed", options)
    assert objects.get("made.parquet") == b"mine"
    execute_pipeline("embed", options | {"overwrite": True})
    assert objects.get("made.parquet").startswith(b"PAR1")


def test_an_output_that_cannot_be_sent_is_kept(
    objects: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, url: str) -> None:
        del path
        raise DataError("there is no such bucket", where=url)

    options = {"data_dir": str(tmp_path / "data"), "fasta": "s3://lab/all.fasta"}
    options["output"] = "s3://lab/made.parquet"
    with monkeypatch.context() as patch:
        patch.setattr("ppi_train.config.places.upload", fail)
        with pytest.raises(
            StorageError, match="the output could not be sent: there is no such bucket"
        ) as told:
            execute_pipeline("embed", options)
    (kept,) = (tmp_path / "cache").rglob("made.parquet")
    assert f"it is complete, in {kept}: send it yourself" in str(told.value)
    with pytest.raises(ConfigError, match="an output of an earlier command was not sent to the store"):
        execute_pipeline("embed", options)
    kept.unlink()
    execute_pipeline("embed", options)
    assert objects.get("made.parquet").startswith(b"PAR1")


def test_a_missing_bucket_is_said_before_the_work(objects: Store, tmp_path: Path) -> None:
    options = {"data_dir": str(tmp_path / "data"), "fasta": "s3://lab/all.fasta"}
    objects.reset()
    with pytest.raises(DataError, match=r"there is no such bucket\n  where: s3://nobodys/made\.parquet"):
        execute_pipeline("embed", options | {"output": "s3://nobodys/made.parquet"})
    assert not any("all.fasta" in request for request in objects.requests)


def test_what_cannot_lie_in_a_store(objects: Store) -> None:
    del objects
    for name in ("data_dir", "output_dir"):
        with pytest.raises(ConfigError, match=f"{name}: expected a folder of this machine"):
            execute_pipeline("train_only", {name: "s3://lab/folder"})
    with pytest.raises(ConfigError, match="expected a URL without user name and password"):
        execute_pipeline("train_only", {"embeddings": "s3://key:secret@lab/a.parquet"})
    with pytest.raises(ConfigError, match="an address without `::`"):
        execute_pipeline("train_only", {"embeddings": "simplecache::s3://lab/a.parquet"})


def test_messages_name_the_address(objects: Store, tmp_path: Path) -> None:
    objects.put("train.tsv", b"P10000\tP10001\t7\n")
    with pytest.raises(DataError, match=r"where: s3://lab/train.tsv"):
        trained("s3://lab", tmp_path, fasta="s3://lab/all.fasta")


@pytest.mark.slow
def test_a_command_reads_a_store(objects: Store, tmp_path: Path) -> None:
    """With the credentials of the environment, and nothing about them in what it prints."""
    command = [sys.executable, "-m", "ppi_train", "embed", "--fasta", "s3://lab/all.fasta"]
    command += ["--output", "s3://lab/made.parquet", "--data_dir", str(tmp_path / "data")]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())}, timeout=300
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "sending s3://lab/made.parquet" in printed
    assert "redentials" not in printed
    assert "made.parquet" in objects.listing()
    assert os.environ["PPI_TRAIN_CACHE"] not in printed
