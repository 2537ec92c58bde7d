"""Tests of `predict`: pairs, all pairs, and lists against lists.

The scores must be those of `eval_only`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import networkx
import numpy as np
import pandas as pd
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.errors import CacheError, ConfigError, DataError, TrackingError
from ppi_train.inference.output import read_about
from ppi_train.modes import PipelineResult, execute_pipeline

PROTEINS = 60


@pytest.fixture(scope="module")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow.MlflowClient]:
    """The module's own store, so that one training serves all tests."""
    folder = tmp_path_factory.mktemp("predict")
    shutil.copy(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("PPI_TRAIN_CACHE", str(folder / "cache"))
        patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        client = mlflow.MlflowClient(uri)
        experiment = client.create_experiment("test", artifact_location=(folder / "artifacts").as_uri())
        patch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        yield client


@pytest.fixture(scope="module")
def folders(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    del store
    return {"data_dir": str(data_dir), "output_dir": str(tmp_path_factory.mktemp("runs"))}


@pytest.fixture(scope="module")
def trained(folders: dict[str, Any]) -> PipelineResult:
    return execute_pipeline("train_only", folders | {"epochs": 1, "embedding_dtype": "float16"})


@pytest.fixture(scope="module")
def scored(folders: dict[str, Any], trained: PipelineResult) -> pd.DataFrame:
    """What `eval_only` wrote of the test pairs."""
    result = execute_pipeline("eval_only", folders | {"run_id": trained.run_id, "bootstrap_resamples": 0})
    return pd.read_parquet(Path(result.outputs["predictions"]) / "predictions/test.parquet")


@pytest.fixture
def given(folders: dict[str, Any], trained: PipelineResult, tmp_path: Path) -> dict[str, Any]:
    """What every prediction is given."""
    return {
        "data_dir": folders["data_dir"],
        "run_id": trained.run_id,
        "output": str(tmp_path / "out" / "table.parquet"),
    }


@pytest.fixture(scope="module")
def fasta(example: Dataset, scored: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some proteins, of which some are in test pairs."""
    sequences = read_fasta(example.splits["test"].fasta).sequences
    names = list(dict.fromkeys([*scored["protein_a"], *scored["protein_b"]]))[:PROTEINS]
    path = tmp_path_factory.mktemp("fasta") / "some.fasta"
    write_fasta(path, {name: sequences[name] for name in names})
    return path


def by_pair(table: pd.DataFrame) -> pd.Series:
    """Probabilities by unordered pair."""
    pairs = [frozenset(pair) for pair in zip(table["protein_a"], table["protein_b"], strict=True)]
    assert len(set(pairs)) == len(pairs)
    return pd.Series(table["probability"].to_numpy(), index=pairs)


def predicted(config: dict[str, Any]) -> tuple[PipelineResult, pd.DataFrame]:
    result = execute_pipeline("predict", config)
    return result, pd.read_parquet(result.outputs["output"])


def test_a_table_of_pairs_is_scored_as_eval_only_scores_it(
    store: mlflow.MlflowClient, given: dict[str, Any], trained: PipelineResult, scored: pd.DataFrame,
    example: Dataset, tmp_path: Path,
) -> None:  # fmt: skip
    pairs = tmp_path / "pairs.tsv"
    scored[["protein_a", "protein_b"]].to_csv(pairs, sep="\t", index=False)
    test = str(example.splits["test"].fasta)
    result, table = predicted(given | {"pairs": str(pairs), "fasta": test})
    assert list(table["protein_a"]) == list(scored["protein_a"])
    assert list(table["protein_b"]) == list(scored["protein_b"])
    np.testing.assert_allclose(table["probability"], scored["probability"], atol=1e-5)
    assert (table["uncertainty"] > 0).all()
    run = store.get_run(result.run_id)
    assert run.info.run_name == "predict-pooled_mlp-pairs"
    assert run.data.tags["ppi.evaluated_run_id"] == trained.run_id
    assert run.data.params["prediction.pairs"] == str(pairs)
    assert run.data.metrics["predict/pairs"] == run.data.metrics["predict/kept"] == len(scored)
    assert run.data.metrics["throughput/pairs_per_second"] > 0
    output = Path(given["output"])
    assert run.data.tags["ppi.output"] == str(output)
    assert run.data.tags["ppi.output_digest"] == hashlib.sha256(output.read_bytes()).hexdigest()
    (logged,) = store.list_artifacts(result.run_id, "predictions")
    assert (logged.path, logged.file_size) == ("predictions/table.parquet", output.stat().st_size)
    assert run.inputs
    assert run.inputs.dataset_inputs[0].dataset.name == "pairs/pairs"
    assert read_about(output)["run_id"] == trained.run_id
    assert [path.name for path in output.parent.iterdir()] == ["table.parquet"]


def test_all_pairs_of_a_fasta_by_the_uri_of_a_model(
    store: mlflow.MlflowClient, given: dict[str, Any], trained: PipelineResult, scored: pd.DataFrame,
    fasta: Path, tmp_path: Path,
) -> None:  # fmt: skip
    experiment = store.get_run(trained.run_id).info.experiment_id
    (model,) = store.search_logged_models([experiment], filter_string=f"source_run_id = '{trained.run_id}'")
    named = given | {"run_id": "", "model_uri": f"models:/{model.model_id}"}
    _, table = predicted(named | {"all_pairs": True, "fasta": str(fasta)})
    assert len(table) == PROTEINS * (PROTEINS - 1) // 2
    scan, single = by_pair(table), by_pair(scored)
    common = scan.index.intersection(single.index)
    assert len(common) > 10
    np.testing.assert_allclose(scan[common], single[common], atol=1e-5)
    cache = str(tmp_path / "cache.parquet")
    execute_pipeline("embed", {"fasta": str(fasta), "output": cache, "embedding_dtype": "float16"})
    _, again = predicted(
        named | {"all_pairs": True, "embeddings": cache, "output": str(tmp_path / "2.parquet")}
    )
    pd.testing.assert_frame_equal(again, table)


def test_the_best_partners_as_a_network(given: dict[str, Any], fasta: Path, tmp_path: Path) -> None:
    everything = given | {"all_pairs": True, "fasta": str(fasta), "uncertainty": False}
    _, table = predicted(everything)
    assert list(table.columns) == ["protein_a", "protein_b", "probability"]
    edges = tmp_path / "net.graphml"
    few = {"top_k": 2, "edges": str(edges), "output": str(tmp_path / "few.parquet")}
    result, best = predicted(everything | few)
    wanted = set()
    for name in read_fasta(fasta).sequences:
        of_it = table[(table["protein_a"] == name) | (table["protein_b"] == name)]
        wanted |= set(by_pair(of_it.nlargest(2, "probability")).index)
    assert set(by_pair(best).index) == wanted
    assert networkx.read_graphml(edges).number_of_edges() == len(best) == result.metrics["predict/kept"]
    least = float(best["probability"].median())
    above = {"min_probability": least, "output": str(tmp_path / "above.parquet")}
    _, kept = predicted(everything | above)
    assert len(kept) == (table["probability"] >= np.float32(least)).sum()


def test_a_list_against_a_list(given: dict[str, Any], fasta: Path, tmp_path: Path) -> None:
    names = list(read_fasta(fasta).sequences)
    baits, preys = tmp_path / "baits.txt", tmp_path / "preys.fasta"
    baits.write_text("\n".join(names[:5]) + "\n")
    write_fasta(preys, dict(list(read_fasta(fasta).sequences.items())[3:10]))
    lists = given | {"proteins_a": str(baits), "proteins_b": str(preys)}
    with pytest.raises(CacheError, match="3 proteins have no embedding"):
        predicted(lists)  # the baits have no sequence
    _, table = predicted(lists | {"fasta": str(fasta)})
    assert len(by_pair(table)) == 5 * 7 - 2 - 1
    assert set(table["protein_a"]) <= set(names[:5])
    assert set(table["protein_b"]) == set(names[3:10])
    with_self = {"include_self": True, "output": str(tmp_path / "self.parquet")}
    _, table = predicted(lists | {"fasta": str(fasta)} | with_self)
    assert (table["protein_a"].astype(str) == table["protein_b"].astype(str)).sum() == 2
    preys.write_text(f"{names[9]}\n")
    with pytest.raises(ConfigError, match="neither sequences nor embeddings"):
        predicted(lists | {"output": str(tmp_path / "other.parquet")})


def test_a_protein_without_embedding_is_refused_or_dropped(
    store: mlflow.MlflowClient, given: dict[str, Any], fasta: Path, tmp_path: Path
) -> None:
    first, second = list(read_fasta(fasta).sequences)[:2]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"{first},GHOST\n{second},{first}\n{first},{first}\n")
    asked = given | {"pairs": str(pairs), "fasta": str(fasta)}
    with pytest.raises(CacheError, match=r"1 proteins have no embedding\n.*\n  got: GHOST"):
        predicted(asked)
    result, table = predicted(asked | {"missing": "drop"})
    assert set(by_pair(table).index) == {frozenset([first, second]), frozenset([first])}
    assert store.get_run(result.run_id).data.metrics["predict/dropped"] == 1


def test_an_output_that_exists_stays(given: dict[str, Any], fasta: Path, tmp_path: Path) -> None:
    asked = given | {"all_pairs": True, "fasta": str(fasta), "min_probability": 0.5}
    predicted(asked)
    before = Path(given["output"]).read_bytes()
    with pytest.raises(ConfigError, match="the output exists"):
        predicted(asked | {"top_k": 1})
    assert Path(given["output"]).read_bytes() == before
    predicted(asked | {"top_k": 1, "overwrite": True})
    assert Path(given["output"]).read_bytes() != before
    edges = tmp_path / "edges.tsv"
    edges.touch()
    with pytest.raises(ConfigError, match="the output exists"):
        predicted(asked | {"output": str(tmp_path / "new.parquet"), "edges": str(edges)})


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"run_id": "0" * 32}, TrackingError, "there is no such run"),
        ({"top_k": 10**9}, ConfigError, "top_k is too large"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(
    changed: dict[str, Any], error: type[Exception], message: str, given: dict[str, Any], fasta: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ppi_train.inference.predict._MOST_PARTNERS", 1000)
    with pytest.raises(error, match=message):
        predicted(given | {"all_pairs": True, "fasta": str(fasta)} | changed)
    assert not Path(given["output"]).exists()
    assert not parts_folder(Path(given["output"])).exists()


def test_a_single_protein_has_no_pair(given: dict[str, Any], fasta: Path, tmp_path: Path) -> None:
    (name, sequence), *_ = read_fasta(fasta).sequences.items()
    write_fasta(tmp_path / "one.fasta", {name: sequence})
    asked = given | {"all_pairs": True, "fasta": str(tmp_path / "one.fasta")}
    with pytest.raises(DataError, match="there is no pair to score"):
        predicted(asked)
    _, table = predicted(asked | {"include_self": True})
    assert len(table) == 1
