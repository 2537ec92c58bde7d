"""Tests of the leakage audit and the network metrics of `eval_only`."""

from __future__ import annotations

import json
import pickle
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.data.pairs import PairTable, read_pairs, write_pairs
from ppi_train.errors import ConfigError, DataError
from ppi_train.modes import PipelineResult, execute_pipeline

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[mlflow.MlflowClient]:
    """A client of one store for all these tests, which the code under test uses as well."""
    folder = tmp_path_factory.mktemp("networks")
    shutil.copy(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("PPI_TRAIN_CACHE", str(folder / "cache"))
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        client = mlflow.MlflowClient(uri)
        experiment = client.create_experiment("test", artifact_location=(folder / "artifacts").as_uri())
        patch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        yield client


@pytest.fixture(scope="module")
def folders(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"data_dir": str(data_dir), "output_dir": str(tmp_path_factory.mktemp("runs"))}


@pytest.fixture(scope="module")
def trained(client: mlflow.MlflowClient, folders: dict[str, Any]) -> PipelineResult:
    del client
    return execute_pipeline("train_only", folders | {"epochs": 2})


@pytest.fixture(scope="module")
def asked(folders: dict[str, Any], trained: PipelineResult) -> dict[str, Any]:
    """What the evaluations have in common."""
    return folders | {"run_id": trained.run_id, "bootstrap_resamples": 50}


@pytest.fixture(scope="module")
def test(example: Dataset) -> PairTable:
    return read_pairs(example.splits["test"].pairs)


def positives(table: PairTable) -> set[Pair]:
    index = table.index[table.labels == 1].tolist()
    return {(table.proteins[a], table.proteins[b]) for a, b in index}


def similarity(called: set[Pair], true: set[Pair], nodes: list[str]) -> float:
    """Of one node set, by its definition: what both have, twice, over what either has."""
    held = set(nodes)
    ours, theirs = ({pair for pair in pairs if held.issuperset(pair)} for pairs in (called, true))
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours or theirs else 1.0


def test_the_called_network_is_compared_with_all_that_is_named(
    client: mlflow.MlflowClient,
    asked: dict[str, Any],
    example: Dataset,
    test: PairTable,
    tmp_path: Path,
) -> None:
    true = positives(test)
    rng = np.random.default_rng(0)
    sets = {
        size: [rng.choice(test.proteins, size, replace=False).tolist() for _ in "abcd"] for size in (30, 50)
    }
    (tmp_path / "bfs.json").write_text(json.dumps(sets))
    # Proteins without an edge in truth, of which the model calls some: a density over nothing.
    apart = next(
        nodes
        for nodes in (sorted(rng.choice(test.proteins, 8, replace=False).tolist()) for _ in range(100_000))
        if not any(set(nodes).issuperset(pair) for pair in true)
    )
    (tmp_path / "own.pkl").write_bytes(pickle.dumps({8: [set(apart)], 150: [set(test.proteins[:150])]}))
    complexes = sorted(true)[:12]
    lines = [f"c{number // 3}\t{a}\t{b}\n" for number, (a, b) in enumerate(complexes)]
    (tmp_path / "complexes.tsv").write_text("".join(lines))
    (tmp_path / "essential.txt").write_text("\n".join(test.proteins[:60]))
    (tmp_path / "others.txt").write_text("\n".join(test.proteins[60:]))
    named = {
        "node_sets": f"bfs={tmp_path}/bfs.json,{tmp_path}/own.pkl",
        "complexes": str(tmp_path / "complexes.tsv"),
        "essential": str(tmp_path / "essential.txt"),
        "non_essential": str(tmp_path / "others.txt"),
    }
    result = execute_pipeline("eval_only", asked | named | {"audit": "off"})
    metrics = client.get_run(result.run_id).data.metrics

    # The same network by another way: `predict` on all pairs of the test proteins.
    sequences = read_fasta(example.splits["test"].fasta).sequences
    write_fasta(tmp_path / "test.fasta", {name: sequences[name] for name in test.proteins})
    scores = tmp_path / "all.parquet"
    wanted = {"fasta": str(tmp_path / "test.fasta"), "output": str(scores), "all_pairs": "true"}
    execute_pipeline("predict", {name: asked[name] for name in ("data_dir", "run_id")} | wanted)
    table = pd.read_parquet(scores)
    called = table[table.probability >= 0.5]
    edges = {(min(a, b), max(a, b)) for a, b in zip(called.protein_a, called.protein_b, strict=True)}
    assert metrics["network/edges"] == len(edges)
    assert metrics["network/true_edges"] == len(true)
    expected = np.mean([similarity(edges, true, nodes) for group in sets.values() for nodes in group])
    assert metrics["network/bfs/graph_similarity"] == pytest.approx(expected, abs=1e-12)
    assert metrics["network/bfs/degree_mmd_ratio"] > 0
    groups = [complexes[start : start + 3] for start in range(0, 12, 3)]
    recall = np.mean([len(edges.intersection(group)) / 3 for group in groups])
    assert metrics["function/complex_recall"] == pytest.approx(recall)
    assert metrics["function_true/complex_recall"] == 1
    assert 0 < metrics["function/essential_precision_at_100"] < 1

    # The threshold of the same density as the truth comes nearer to its number of edges.
    assert metrics["network_matched/threshold"] > 0.5
    assert abs(metrics["network_matched/edges"] - len(true)) < abs(len(edges) - len(true))
    assert "function_matched/complex_precision" in metrics

    # So does the number of edges that the training network lets expect, which needs no true edge.
    assert "function_expected/complex_precision" in metrics
    assert 0.5 < metrics["network_expected/bfs/relative_density"] < 2
    best = metrics["network_best/bfs/graph_similarity"]
    for called in ("network", "network_matched", "network_expected"):
        assert metrics[f"{called}/bfs/graph_similarity"] <= best
    assert metrics["network/estimated_edges"] > 0
    assert 0 < metrics["network_all/bfs/graph_similarity"] < best

    # What is infinite is in the file alone, and a walk that is not known has no noise to compare with.
    assert "network/own/relative_density" not in metrics
    assert "network/own/degree_mmd_ratio" not in metrics
    assert metrics["network/own/degree_mmd"] > 0
    path = mlflow.artifacts.download_artifacts(run_id=result.run_id, artifact_path="network.json")
    written = json.loads(Path(path).read_text())
    assert written["at_0.5"]["node_sets"]["own"]["overall"]["relative_density"] == "infinite"
    assert set(written["at_0.5"]["node_sets"]["bfs"]["by_size"]) == {"30", "50"}
    assert any("kind own" in note for note in written["notes"])
    assert "same walk and size in the training network" in written["expected_edges"]
    at_half = next(point for point in written["over_thresholds"] if point["threshold_logit"] == 0)
    assert at_half["edges"] == len(edges)
    similarities = at_half["node_sets"]["bfs"]["graph_similarity"]
    assert similarities == pytest.approx(metrics["network/bfs/graph_similarity"])
    figures = {artifact.path for artifact in client.list_artifacts(result.run_id, "figures")}
    assert "figures/graph_similarity.png" in figures
    page = Path(mlflow.artifacts.download_artifacts(run_id=result.run_id, artifact_path="report.html"))
    assert "Graph similarity and relative density over thresholds" in page.read_text()


def test_node_sets_can_be_drawn_and_a_run_without_validation_pairs_says_so(
    client: mlflow.MlflowClient,
    asked: dict[str, Any],
    example: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = {
        name: str(shutil.copy(example.splits[split].pairs, tmp_path / f"{split}.tsv"))
        for name, split in {"train_pairs": "train", "val_pairs": "validation"}.items()
    }
    folders = {name: asked[name] for name in ("data_dir", "output_dir")}
    fasta = {"fasta": str(example.splits["train"].fasta)}
    trained = execute_pipeline("train_only", folders | own | fasta | {"epochs": 1})
    root = Path(client.get_run(trained.run_id).info.artifact_uri.removeprefix("file://"))
    (root / "pairs/validation.parquet").unlink()
    Path(own["val_pairs"]).unlink()
    asked = asked | {"run_id": trained.run_id, "test_pairs": str(example.splits["test"].pairs)}
    stated = {"node_sets": "draw", "audit": "off", "network_density": 0.9}  # far below 0.5
    drawn = execute_pipeline("eval_only", asked | stated)
    metrics = drawn.metrics
    proteins = len(read_pairs(example.splits["test"].pairs).proteins)
    expected = 0.9 * proteins * (proteins - 1) / 2
    assert metrics["network_expected/edges"] == pytest.approx(expected, abs=5)  # but for equal scores
    assert metrics["network_expected/threshold"] < metrics["network/threshold"] == 0.5
    for kind in ("bfs", "dfs", "random_walk"):
        assert 0 <= metrics[f"network/{kind}/graph_similarity"] <= 1
        assert metrics[f"network/{kind}/spectral_mmd_ratio"] > 0
    assert not any(name.startswith("network_matched/") for name in metrics)
    assert "no threshold that matches the density, for want of validation pairs" in caplog.text
    left_out = client.get_run(drawn.run_id).data.tags["ppi.left_out"]
    assert "no threshold that matches the density" in left_out


def test_what_does_not_fit_the_test_set_is_refused_and_nothing_is_lost(
    client: mlflow.MlflowClient, asked: dict[str, Any], test: PairTable, tmp_path: Path
) -> None:
    sets = tmp_path / "sets.json"
    sets.write_text(json.dumps({"2": [[test.proteins[0], "P99999"]]}))
    with pytest.raises(DataError, match="the node sets have 1 protein that is not known") as caught:
        execute_pipeline("eval_only", asked | {"node_sets": str(sets), "audit": "off"})
    assert "P99999" in str(caught.value)
    assert str(sets) in str(caught.value)
    run = client.search_runs(["1"], max_results=1)[0]
    assert run.info.status == "FAILED"
    assert "test/auroc" in run.data.metrics

    harm = tmp_path / "harm.pkl"
    harm.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="does not hold plain node sets"):
        execute_pipeline("eval_only", asked | {"node_sets": f"bfs={harm}"})
    assert "test/auroc" not in client.search_runs(["1"], max_results=1)[0].data.metrics

    complexes = tmp_path / "complexes.tsv"
    complexes.write_text(f"c1\t{test.proteins[0]}\tQ00000\n")
    with pytest.raises(DataError, match="not in the network") as caught:
        execute_pipeline("eval_only", asked | {"complexes": str(complexes), "audit": "off"})
    assert "complex c1" in str(caught.value)
    with pytest.raises(ConfigError) as refused:
        execute_pipeline("eval_only", asked | {"node_sets": "draw,x.json", "essential": "some.txt"})
    assert "essential and non_essential: give both or none" in str(refused.value)
    assert "node_sets: draw must be given alone" in str(refused.value)


def test_every_evaluation_is_audited_and_gives_the_gain_over_what_is_trivial(
    client: mlflow.MlflowClient, asked: dict[str, Any]
) -> None:
    result = execute_pipeline("eval_only", asked)
    run = client.get_run(result.run_id)
    metrics = run.data.metrics
    assert metrics["audit/c3_pairs_share"] == 1
    best = max(metrics["audit/nearest_auprc"], metrics["audit/degree_auprc"])
    assert metrics["test/auprc_over_trivial"] == pytest.approx(metrics["test/auprc"] - best)
    low, high = (metrics[f"test/auprc_over_trivial_ci_{end}"] for end in ("low", "high"))
    assert low < metrics["test/auprc_over_trivial"] < high
    assert "audit.json" in {artifact.path for artifact in client.list_artifacts(result.run_id)}
    assert not any(name.startswith("network") for name in metrics)

    overlap = execute_pipeline("eval_only", asked | {"audit": "overlap", "split": "validation"}).metrics
    assert overlap["audit/c3_pairs_share"] == 1
    assert "audit/nearest_auprc" not in overlap
    assert overlap["val/auroc_over_trivial"] == pytest.approx(overlap["val/auroc"] - 0.5)
    train = execute_pipeline("eval_only", asked | {"split": "train"}).metrics
    assert not any(name.startswith("audit/") or "over_trivial" in name for name in train)


@pytest.mark.slow
def test_what_an_ancestor_was_trained_on_counts_as_seen(
    folders: dict[str, Any],
    asked: dict[str, Any],
    example: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sides = {split: read_pairs(files.pairs) for split, files in example.splits.items()}
    rows = np.arange(len(sides["test"]))
    own = {"train_pairs": rows % 4 != 0, "val_pairs": rows % 4 == 0}
    for name, keep in own.items():
        write_pairs(tmp_path / f"{name}.tsv", sides["test"].select(keep))
    cache = tmp_path / "embeddings.parquet"
    fasta = {"fasta": str(example.splits["train"].fasta)}
    execute_pipeline("embed", {"data_dir": folders["data_dir"], "output": str(cache)} | fasta)
    given = {name: str(tmp_path / f"{name}.tsv") for name in own} | {"embeddings": str(cache), "epochs": 1}
    tuned = execute_pipeline("finetune_from_pretrain", folders | given | {"pretrain_run_id": asked["run_id"]})
    seen = sides["train"].select(np.arange(len(sides["train"])) < 500)
    write_pairs(tmp_path / "seen.tsv", seen)
    again = asked | {"run_id": tuned.run_id, "test_pairs": str(tmp_path / "seen.tsv")}
    audit = execute_pipeline("eval_only", again | {"embeddings": str(cache)}).metrics
    assert audit["audit/shared_pairs"] == 500
    assert audit["audit/train_pairs"] == len(sides["train"]) + own["train_pairs"].sum()
    # The finetuned run knows embeddings alone; the ancestor's FASTA happens to hold all of the sequences.
    assert "audit/nearest_auroc" in audit
    alone = execute_pipeline("train_only", folders | given)
    blind = execute_pipeline("eval_only", again | {"run_id": alone.run_id, "embeddings": str(cache)}).metrics
    assert "audit/nearest_auroc" not in blind
    assert blind["audit/c3_pairs"] == 500
    assert "how similar the proteins are to those of training is not measured" in caplog.text


@pytest.mark.slow
def test_arabidopsis_has_the_metrics_of_pring(
    client: mlflow.MlflowClient, folders: dict[str, Any], mirror: str
) -> None:
    real = folders | {"dataset": "pring_arath", "mirror": mirror}
    trained = execute_pipeline("train_only", real | {"epochs": 2})
    evaluated = execute_pipeline(
        "eval_only", folders | {"run_id": trained.run_id, "mirror": mirror, "bootstrap_resamples": 100}
    )
    metrics = client.get_run(evaluated.run_id).data.metrics
    assert metrics["network/true_edges"] == 7_186
    assert metrics["audit/c3_pairs_share"] == 1
    for kind in ("bfs", "dfs", "random_walk"):
        assert 0.1 < metrics[f"network/{kind}/graph_similarity"] < 0.6
        # Trained on as many negatives as positives, it calls far too many edges at 0.5.
        assert metrics[f"network/{kind}/relative_density"] > 2
        assert metrics[f"network_matched/{kind}/relative_density"] < 2
    # One number of edges for all kinds: sets by depth-first search, which are sparse, get too many of them.
    expected = [
        metrics[f"network_expected/{kind}/relative_density"] for kind in ("bfs", "dfs", "random_walk")
    ]
    assert 0.5 < statistics.geometric_mean(expected) < 2
    path = mlflow.artifacts.download_artifacts(run_id=evaluated.run_id, artifact_path="network.json")
    written = json.loads(Path(path).read_text())
    assert written["scored_pairs"] == 500_500
    assert set(written["matched"]["node_sets"]["dfs"]["by_size"]) == {
        str(size) for size in range(20, 201, 20)
    }
