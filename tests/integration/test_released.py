"""Tests of released models: building one, its run on a tracking server, and its use in every mode."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import torch

import ppi_train
from ppi_train import released
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.errors import CheckpointError, ConfigError, DataError, TrackingError
from ppi_train.modes import execute_pipeline
from ppi_train.modes.released import released_run_id
from ppi_train.released import RECORD, Release, find_release, release_names
from ppi_train.tracking.outbox.records import End, Files
from ppi_train.tracking.released_run import TAG, find_released_run, log_released_run
from scripts import build_release
from tests.support import ROOT

TINY = {"model": "v3", "hidden_dim": 8, "members": 2, "epochs": 1, "granularity": "residue"}


@pytest.fixture(scope="module")
def places(client: mlflow.MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Data and runs of this module's own: other tests count the caches of language models in theirs."""
    del client
    folders = {"data_dir": "data", "output_dir": "runs"}
    return {name: str(tmp_path_factory.mktemp(folder)) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def built(
    client: mlflow.MlflowClient, places: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a small release, of the name `human`, built as the real one."""
    del client
    folder = tmp_path_factory.mktemp("released") / "human"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_release, "MODEL", TINY)
        patch.setattr(build_release, "LANGUAGE", {"hidden_dim": 16, "epochs": 1})
        run_id = build_release.trained("example", 0, **places)
    build_release.build(run_id, "human", folder)
    return folder


@pytest.fixture
def release(built: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """The small release in place of those of the package."""
    monkeypatch.setattr(released, "_FOLDER", built.parent)
    return find_release("human")


def only_data(places: dict[str, Any]) -> dict[str, Any]:
    """The places of a mode without an output folder."""
    return {"data_dir": places["data_dir"]}


def runs_of(client: mlflow.MlflowClient, key: str) -> list[mlflow.entities.Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string=f"tags.`{TAG}` = '{key}'"))


@pytest.mark.parametrize("name", release_names())
def test_the_package_carries_whole_releases_without_code_or_local_paths(name: str) -> None:
    release = find_release(name)
    release.verify()
    files = [path for path in release.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors", ".parquet", ".gz"}
    assert sum(path.stat().st_size for path in files if path.suffix == ".safetensors") <= 10_000_000
    for path in files:
        if path.suffix == ".json":
            assert not re.search(r'"/|[A-Z]:\\\\|sqlite:|"file:', path.read_text()), path
    assert released.DEFAULT in release_names()


def test_predict_without_a_run_takes_the_released_model_and_logs_its_run_once(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    release: Release,
    example: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = only_data(places) | {"fasta": str(example.splits["test"].fasta), "all_pairs": True, "top_k": 2}
    with caplog.at_level("INFO"):
        first = execute_pipeline("predict", asked | {"output": str(tmp_path / "first.tsv")})
    run_id = client.get_run(first.run_id).data.tags["ppi.evaluated_run_id"]
    assert f"the released model human is run {run_id}" in caplog.text
    assert "docs/reference/model-card.md" in caplog.text
    again = execute_pipeline("predict", asked | {"output": str(tmp_path / "again.tsv"), "released": "human"})
    assert client.get_run(again.run_id).data.tags["ppi.evaluated_run_id"] == run_id
    assert (tmp_path / "first.tsv").read_bytes() == (tmp_path / "again.tsv").read_bytes()
    for part in ("model", "embedder"):
        (run,) = runs_of(client, release.key_of(part))
        assert run.info.status == "FINISHED"


def test_its_run_is_like_one_that_was_trained_here(
    client: mlflow.MlflowClient, places: dict[str, Any], release: Release, example: Dataset, tmp_path: Path
) -> None:
    run_id = released_run_id("human")
    run = client.get_run(run_id)
    assert run.data.tags["ppi.mode"] == "train_only"
    assert run.data.params["model.model"] == "v3"
    assert run.data.params["embedding.embedder_run_id"] == release.embedder_id
    assert run.inputs is not None
    datasets = {item.dataset.name for item in run.inputs.dataset_inputs}
    assert datasets == {"example/train", "example/validation"}
    trained = release.run("model").metrics
    assert run.data.metrics["val/auroc_best"] == trained["val/auroc_best"]

    scored = execute_pipeline("eval_only", places | {"run_id": run_id, "split": "validation"})
    assert scored.metrics["val/auroc"] == pytest.approx(
        trained["val/auroc_best"], abs=0.01
    )  # rounded weights
    finetuned = execute_pipeline(
        "finetune_from_pretrain", places | {"pretrain_run_id": "released:human", "epochs": 1}
    )
    assert client.get_run(finetuned.run_id).data.tags["ppi.lineage"] == run_id
    pairs = only_data(places) | {"released": "human", "pairs": str(example.splits["train"].pairs)}
    output = tmp_path / "scores.tsv"
    execute_pipeline("predict", pairs | {"fasta": str(example.splits["train"].fasta), "output": str(output)})
    table = pd.read_csv(output, sep="\t")
    assert table["in_training"].all()
    assert (table["nearest_training_identity"] == 1).all()


def test_promote_registers_it_by_its_figures_and_the_version_serves(
    client: mlflow.MlflowClient, places: dict[str, Any], release: Release
) -> None:
    result = execute_pipeline("promote", places | {"released": "human"})
    version = client.get_model_version_by_alias("ppi-human", "champion")
    run_id = released_run_id("human")
    assert (result.exit_code, version.tags["ppi.run_id"]) == (0, run_id)
    assert version.tags[TAG] == release.key_of("model")
    assert version.tags["ppi.embedder_run_id"] == release.embedder_id
    auprc = release.run("model").metrics["val/auprc_best"]
    assert float(version.tags["ppi.validation.auprc"]) == pytest.approx(auprc, abs=1e-6)
    again = execute_pipeline("promote", places | {"released": "human"})
    assert (again.exit_code, again.outputs["verdict"]) == (0, "not promoted")
    assert client.get_model_version_by_alias("ppi-human", "champion").version == version.version

    served = mlflow.pyfunc.load_model("models:/ppi-human@champion")
    sequences = pd.DataFrame({"sequence_a": ["GIVEQCCTSICSLYQLENYCN"], "sequence_b": ["FVNQHLCGSHLVEALYLV"]})
    own = ppi_train.load_model().predict(sequences)
    assert served.predict(sequences)["logit"][0] == pytest.approx(own["logit"][0], abs=1e-6)


def test_a_floor_refuses_it(places: dict[str, Any], release: Release) -> None:
    del release
    asked = {"released": "human", "registered_model": "strict", "min_auprc": 0.999}
    assert execute_pipeline("promote", places | asked).exit_code == 3


def test_its_language_model_embeds_for_other_models(
    client: mlflow.MlflowClient, places: dict[str, Any], release: Release
) -> None:
    asked = {"embedder": "protein_lm", "embedder_run_id": "released:human", "epochs": 1}
    result = execute_pipeline("train_only", places | asked)
    assert client.get_run(result.run_id).data.tags["ppi.embedder_run_id"] == release.embedder_id
    assert ppi_train.load_model(result.run_id)


def test_a_later_package_finds_the_language_model_in_its_run(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del client
    run_id, embedder = released_run_id("human"), release.embedder_id
    released_run_id("human", part="embedder")
    monkeypatch.setattr(released, "_FOLDER", tmp_path)  # which carries none
    scored = execute_pipeline("eval_only", places | {"run_id": run_id, "split": "validation"})
    auroc = release.run("model").metrics["val/auroc_best"]
    assert scored.metrics["val/auroc"] == pytest.approx(auroc, abs=0.01)
    other = {"embedder": "protein_lm", "embedder_run_id": embedder.replace("@", "@0")}
    with pytest.raises(CheckpointError, match="another version of the released language model") as caught:
        execute_pipeline("embed", only_data(places) | other | {"dataset": "example"})
    assert "promote -P released=human" in str(caught.value)


@pytest.mark.parametrize(
    "file",
    ["model/weights.safetensors", "embedder/checkpoint.json", "pairs/train.parquet", "model/COMPLETE.json"],
)
def test_a_changed_file_is_refused_with_its_digest(
    release: Release, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(release.folder, tmp_path / "human")
    monkeypatch.setattr(released, "_FOLDER", tmp_path)
    changed = tmp_path / "human" / file
    content = changed.read_bytes()
    changed.write_bytes(content.replace(b"1", b"2", 1) if file.endswith("json") else content[:-1] + b"\0")
    with pytest.raises(CheckpointError) as caught:
        released_run_id("human")
    assert "sha256" in str(caught.value)
    assert file.partition("/")[0] in str(caught.value)


def test_a_missing_record_a_wrong_name_and_two_models_are_refused(
    release: Release, places: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "human").mkdir()
    (tmp_path / "human" / RECORD).write_text(json.dumps({"name": "human"}))  # without digests
    with pytest.raises(ConfigError, match="did you mean human"):
        execute_pipeline("eval_only", places | {"released": "humn"})
    with pytest.raises(ConfigError, match="run_id and released: give one of them, not both"):
        execute_pipeline("explain", places | {"released": "human", "run_id": "0" * 32})
    monkeypatch.setattr(released, "_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match="install ppi_train again"):
        find_release("human").key_of("model")
    shutil.copytree(release.folder, tmp_path / "human", dirs_exist_ok=True)
    (tmp_path / "human/model/weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="install ppi_train again"):
        find_release("human").verify()
    assert release.folder != tmp_path


def test_dna_is_refused(places: dict[str, Any], release: Release, tmp_path: Path) -> None:
    del release
    fasta = tmp_path / "dna.fasta"
    fasta.write_text("".join(f">gene{number}\n{'ACGTTGCA' * 40}{'GATC' * number}\n" for number in range(4)))
    output = tmp_path / "scores.tsv"
    asked = {"fasta": str(fasta), "all_pairs": True, "output": str(output)}
    with pytest.raises(DataError, match="DNA or RNA"):
        execute_pipeline("predict", only_data(places) | asked)
    assert not output.exists()


def test_a_run_that_was_left_unfinished_is_completed(client: mlflow.MlflowClient, tmp_path: Path) -> None:
    """What a killed process or a failing store has left is never taken for whole."""
    key = "released:test-model@0123456789ab"
    (tmp_path / "there.txt").write_text("content\n")
    end = End(status="FINISHED", time=1_700_000_000_000)
    missing = Files(folder=str(tmp_path), artifact_path="pairs", digests={"missing.txt": "0" * 64})
    with pytest.raises((TrackingError, OSError, ValueError)):
        log_released_run(key, mode="train_only", name="released-test", records=[missing, end])
    (left,) = runs_of(client, key)
    assert left.info.status == "FAILED"
    assert find_released_run(key) is None
    assert log_released_run(key, mode="train_only", name="released-test", records=[end]) == left.info.run_id
    assert find_released_run(key) == left.info.run_id
    assert len(runs_of(client, key)) == 1


def test_weights_that_half_precision_cannot_hold_are_not_packed() -> None:
    with pytest.raises(ValueError, match="float16 cannot hold"):
        build_release.halved({"wide": torch.full((200, 100), 70_000.0)})


@pytest.mark.slow
def test_the_packaged_weights_give_the_figures_of_the_card(places: dict[str, Any], mirror: str) -> None:
    asked = {"released": "human", "dataset": "human", "split": "validation", "mirror": mirror}
    fast = {"audit": "off", "bootstrap_resamples": 0}
    measured = execute_pipeline("eval_only", places | asked | fast).metrics
    card = (ROOT / "docs/reference/model-card.md").read_text()
    row = re.search(r"^\| human, validation \| (\.\d{4}) \(.*?\) \| (\.\d{4}) ", card, re.MULTILINE)
    assert row is not None
    # Other processors round differently in the last digit that the card shows.
    assert measured["val/auroc"] == pytest.approx(float(row[1]), abs=2e-4)
    assert measured["val/auprc"] == pytest.approx(float(row[2]), abs=2e-4)


def test_the_card_names_the_weights_and_the_data_of_the_package() -> None:
    card = (ROOT / "docs/reference/model-card.md").read_text()
    release = find_release("human")
    digests = [release.record["digests"][part][:12] for part in ("model", "embedder")]
    data = [str(dataset["digest"]) for dataset in release.run("model").datasets]
    for text in (*digests, *data, release.run("model").tags["ppi.code_version"]):
        assert text in card
