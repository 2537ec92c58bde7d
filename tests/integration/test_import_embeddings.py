"""End-to-end tests of `import_embeddings`, with training and evaluation."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import h5py
import mlflow
import numpy as np
import pytest

from ppi_train.cli import run_mode
from ppi_train.config.loading import load_config
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.embeddings.embedders import make_embedder
from ppi_train.embeddings.embedders.base import EmbedderRequest
from ppi_train.errors import CacheError, ConfigError, DataError
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.runs.configs import MODES


class Lab:
    """The example as a lab would have it: its own numbers, in HDF5 and in `.npy` files."""

    def __init__(self, folder: Path, example: Dataset) -> None:
        self.folder, self.example = folder, example
        self.sequences = dict(read_fasta(example.splits["train"].fasta).sequences)

    def proteins(self, *splits: str) -> list[str]:
        return sorted({protein for split in splits for protein in read_pairs(self.pairs(split)).proteins})

    def pairs(self, split: str) -> Path:
        return self.example.splits[split].pairs

    def source(self, name: str, proteins: list[str]) -> dict[str, str]:
        """Writes the embeddings of some proteins and their FASTA; gives both as parameters."""
        vectors = make_embedder(EmbedderRequest(name="descriptors")).embed(
            [self.sequences[protein] for protein in proteins]
        )
        write_fasta(self.folder / f"{name}.fasta", {protein: self.sequences[protein] for protein in proteins})
        with h5py.File(self.folder / f"{name}.h5", "w") as file:
            for protein, vector in zip(proteins, vectors, strict=True):
                file[f"some/{protein}"] = vector
        return {"source": str(self.folder / f"{name}.h5"), "fasta": str(self.folder / f"{name}.fasta")}

    def imported(self, name: str, *splits: str, **parameters: object) -> PipelineResult:
        source = self.source(name, self.proteins(*splits))
        output = str(self.folder / f"{name}.parquet")
        given = {"output": output, "embedder_name": "lab_lm", **source, **parameters}
        return execute_pipeline("import_embeddings", given)

    def trained(self, embeddings: str, **parameters: object) -> PipelineResult:
        pairs = {"train_pairs": str(self.pairs("train")), "val_pairs": str(self.pairs("validation"))}
        given = {"embeddings": embeddings, "epochs": 2, "output_dir": str(self.folder / "runs")}
        return execute_pipeline("train_only", pairs | given | parameters)

    def evaluated(self, run_id: str, **parameters: object) -> PipelineResult:
        given = {"run_id": run_id, "test_pairs": str(self.pairs("test")), "bootstrap_resamples": 0}
        return execute_pipeline(
            "eval_only", given | {"output_dir": str(self.folder / "evaluated")} | parameters
        )


@pytest.fixture
def lab(tmp_path: Path, example: Dataset) -> Lab:
    return Lab(tmp_path, example)


@pytest.mark.slow
def test_workers_import_the_same_bytes(store: mlflow.MlflowClient, lab: Lab) -> None:
    alone = Path(lab.imported("mine", "train").outputs["embeddings"]).read_bytes()
    result = lab.imported("mine", "train", workers=2, overwrite=True)
    assert Path(result.outputs["embeddings"]).read_bytes() == alone
    run = store.get_run(result.run_id)
    assert run.data.metrics["system/workers"] == 2
    assert run.data.metrics["system/retried_tasks"] == 0
    assert run.data.tags["ppi.dask_dashboard"].startswith("http://127.0.0.1:")
    assert not list(lab.folder.glob(".mine.parquet.parts"))


def test_imported_embeddings_train_and_score_like_those_made_here(
    store: mlflow.MlflowClient, lab: Lab, data_dir: Path
) -> None:
    result = lab.imported("mine", "train", "validation")
    run = store.get_run(result.run_id)
    assert run.info.run_name == "import_embeddings-mine"
    assert run.data.tags["ppi.embedder"] == "lab_lm"
    assert len(run.data.tags["ppi.embedding_cache_digest"]) == 64
    assert run.data.metrics["embedding/proteins"] == len(lab.proteins("train", "validation"))
    assert run.data.params["embedding.source"].endswith("mine.h5")
    mode, *given = shlex.split(result.then[0])
    load_config(MODES[mode], dict(word.split("=", 1) for word in given if word != "-P"))  # runs as printed
    theirs = lab.trained(result.outputs["embeddings"])
    ours = execute_pipeline(
        "train_only", {"epochs": 2, "data_dir": str(data_dir), "output_dir": str(lab.folder / "ours")}
    )
    assert theirs.metrics["val/auroc_best"] == ours.metrics["val/auroc_best"]
    assert store.get_run(theirs.run_id).data.tags["ppi.embedder"] == "lab_lm"


@pytest.mark.slow
def test_a_model_of_one_import_scores_another_by_the_same_embedder_and_no_other(
    store: mlflow.MlflowClient, lab: Lab
) -> None:
    trained = lab.trained(lab.imported("mine", "train", "validation").outputs["embeddings"])
    later = lab.imported("later", "test")
    scored = lab.evaluated(trained.run_id, embeddings=later.outputs["embeddings"])
    assert scored.metrics["test/auroc"] > 0.6
    tags = [store.get_run(run.run_id).data.tags for run in (trained, scored)]
    assert tags[0]["ppi.embedding_cache_digest"] != tags[1]["ppi.embedding_cache_digest"]
    other = lab.imported("other", "test", embedder_name="other_lm")
    with pytest.raises(CacheError, match="another embedder than asked for"):
        lab.evaluated(trained.run_id, embeddings=other.outputs["embeddings"])
    with pytest.raises(CacheError, match="trained on imported embeddings") as caught:
        lab.evaluated(trained.run_id, fasta=str(lab.folder / "later.fasta"))
    assert "-e import_embeddings -P embedder_name=lab_lm" in str(caught.value)


@pytest.mark.usefixtures("store")
def test_an_output_is_kept_unless_it_may_be_overwritten(lab: Lab) -> None:
    first = Path(lab.imported("mine", "test").outputs["embeddings"])
    whole = first.read_bytes()
    with pytest.raises(ConfigError, match="the output exists"):
        lab.imported("mine", "test")
    (lab.folder / ".mine.parquet.parts").mkdir()  # of a killed `embed`
    with pytest.raises(ConfigError, match="the output exists"):
        lab.imported("mine", "test")
    np.savez(lab.folder / "nothing.npz", EX99999=np.ones(3))
    with pytest.raises(DataError, match="no embedding belongs to a protein of the FASTA"):
        lab.imported("mine", "test", overwrite=True, source=str(lab.folder / "nothing.npz"))
    assert first.read_bytes() == whole
    lab.imported("mine", "test", overwrite=True)
    assert first.read_bytes() == whole


@pytest.mark.usefixtures("store")
def test_a_layer_that_the_source_does_not_know_is_said_to_have_no_effect(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.imported("mine", "test", layer=33)
    assert "layer=33 has no effect" in caplog.text


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["source: required", "fasta: required", "output: required", "embedder_name: required"]),
        ({"embedder_name": "descriptors"}, ["descriptors is an embedder of this project"]),
        ({"embedder_name": "two words"}, ["expected letters, digits", "'two words'"]),
        ({"layer": "-1"}, ["layer: expected a value at least 0"]),
    ],
)
def test_a_config_that_cannot_be_is_told_whole(
    given: dict[str, Any], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_mode("import_embeddings", given) == 2
    shown = capsys.readouterr().err
    assert all(text in shown for text in expected), shown
