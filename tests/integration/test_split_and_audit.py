"""End-to-end tests of `split` and `audit` on a user's own benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from ppi_train.cli import run_mode
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.data.pairs import PairTable, pairs_from_ids, read_pairs, write_pairs
from ppi_train.data.splits import SIDES
from ppi_train.errors import ConfigError, DataError
from ppi_train.modes import execute_pipeline
from tests.support.commands import run_command

Pair = tuple[str, str]


def pairs_of(table: PairTable, label: int) -> set[Pair]:
    kept = table.index[table.labels == label]
    return {(table.proteins[a], table.proteins[b]) for a, b in kept.tolist()}


@pytest.fixture(scope="module")
def network(example: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The example's training edges as a lab's network: with its negatives, and a protein with itself."""
    folder = tmp_path_factory.mktemp("network")
    table = read_pairs(example.splits["train"].pairs)
    names = np.array(table.proteins)
    a, b = (list(names[column]) for column in table.index.T)
    labels = list(table.labels) if table.labels is not None else []
    whole = pairs_from_ids([*a, names[0]], [*b, names[0]], [*labels, 1], "network")
    write_pairs(folder / "network.tsv", whole)
    return {"pairs": str(folder / "network.tsv"), "fasta": str(example.splits["train"].fasta)}


def runs_of(store: mlflow.MlflowClient) -> list[mlflow.entities.Run]:
    (experiment,) = store.search_experiments(filter_string="name = 'test'")
    return list(store.search_runs([experiment.experiment_id]))


def read_sides(folder: Path) -> dict[str, PairTable]:
    return {side: read_pairs(folder / f"{side}.tsv") for side in SIDES}


def test_a_split_is_written_tracked_audited_and_trains(
    store: mlflow.MlflowClient, network: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "c3"
    result = execute_pipeline("split", network | {"output": str(output), "negative_ratio": 2, "seed": 5})
    sides = read_sides(output)
    edges = {pair for pair in pairs_of(read_pairs(network["pairs"]), 1) if pair[0] != pair[1]}
    kept = {pair for table in sides.values() for pair in pairs_of(table, 1)}
    assert kept <= edges
    assert not edges & {pair for table in sides.values() for pair in pairs_of(table, 0)}
    proteins = [set(table.proteins) for table in sides.values()]
    assert sum(map(len, proteins)) == len(set.union(*proteins))

    record = json.loads((output / "split.json").read_text())
    assert record["dropped_between_sides"] == len(edges) - len(kept) == result.metrics["data/dropped_edges"]
    assert record["left_out"] == 3_001
    assert (record["method"], record["seed"], record["negative_ratio"]) == ("c3", 5, 2.0)
    assert {side: entry["digest"] for side, entry in record["sides"].items()} == {
        side: table.digest for side, table in sides.items()
    }
    assert all(entry["negatives"] == 2 * entry["positives"] for entry in record["sides"].values())

    run = store.get_run(result.run_id)
    assert run.info.run_name == "split-network"
    assert run.data.params["split.method"] == "c3"
    assert run.data.metrics["audit/c3_pairs_share"] == 1.0
    assert run.data.metrics["audit/shared_pairs"] == 0
    assert run.data.metrics["audit/degree_auroc"] == 0.5
    assert {artifact.path for artifact in store.list_artifacts(result.run_id)} == {"split.json", "audit.json"}
    own = {"train_pairs": result.outputs["train"], "val_pairs": result.outputs["validation"]}
    places = {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "runs")}
    trained = execute_pipeline("train_only", own | places | {"fasta": network["fasta"], "epochs": 1})
    assert trained.metrics["val/auroc_best"] > 0.5


@pytest.mark.usefixtures("store")
def test_the_same_seed_writes_the_same_bytes_and_nothing_is_overwritten_unasked(
    network: dict[str, Any], tmp_path: Path
) -> None:
    given = {"pairs": network["pairs"], "method": "random_walk"}
    first, second = tmp_path / "first", tmp_path / "second"
    execute_pipeline("split", given | {"output": str(first)})
    execute_pipeline("split", given | {"output": str(second)})
    names = [*(f"{side}.tsv" for side in SIDES), "split.json"]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    with pytest.raises(ConfigError, match="the output folder holds a split already"):
        execute_pipeline("split", given | {"output": str(second), "seed": 1})
    assert (second / "split.json").read_bytes() == (first / "split.json").read_bytes()
    execute_pipeline("split", given | {"output": str(second), "seed": 1, "overwrite": True})
    assert (second / "test.tsv").read_bytes() != (first / "test.tsv").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_clustered_split_leaves_no_similar_protein_where_c3_does(
    network: dict[str, Any], tmp_path: Path
) -> None:
    # Every protein gets a twin of another name, but for one residue in ten, with the same partners.
    sequences = read_fasta(network["fasta"]).sequences
    edges = [pair for pair in sorted(pairs_of(read_pairs(network["pairs"]), 1))[:200] if pair[0] != pair[1]]
    twins = {
        f"{name}t": "A".join(sequence[i : i + 9] for i in range(0, len(sequence), 10))
        for name, sequence in sequences.items()
    }
    write_fasta(tmp_path / "twins.fasta", {**sequences, **twins})
    doubled = pairs_from_ids(
        [a for a, _ in edges] + [f"{a}t" for a, _ in edges],
        [b for _, b in edges] + [f"{b}t" for _, b in edges],
        None,
        "doubled",
    )
    write_pairs(tmp_path / "doubled.tsv", doubled)
    given = {"pairs": str(tmp_path / "doubled.tsv"), "fasta": str(tmp_path / "twins.fasta")}
    given |= {"val_fraction": "0.2", "test_fraction": "0.3"}
    above = {
        method: execute_pipeline(
            "split", given | {"method": method, "output": str(tmp_path / method)}
        ).metrics["audit/identity_above_40_share"]
        for method in ("c3", "clustered")
    }
    assert above["c3"] > 0.2
    assert above["clustered"] == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["pairs: required", "output: required"]),
        ({"method": "clustered"}, ["fasta: required with method=clustered"]),
        ({"val_fraction": "0.6", "test_fraction": "0.5"}, ["expected a sum below 1; got 1.1"]),
        ({"negative_ratio": "0", "method": "halves"}, ["negative_ratio: expected a value above 0", "c3"]),
    ],
)
@pytest.mark.usefixtures("store")
def test_a_split_that_cannot_be_is_told_whole(
    given: dict[str, str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_mode("split", given) == 2
    shown = capsys.readouterr().err
    assert all(text in shown for text in expected), shown


def test_the_command_audits_the_example_by_default(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path
) -> None:
    folders = ["--data_dir", str(data_dir), "--output_dir", str(tmp_path / "runs")]
    done = run_command("audit", *folders)
    assert done.returncode == 0, done.stderr
    assert "test pairs, no protein in training (C3)" in done.stderr
    (run,) = runs_of(store)
    assert run.info.run_name == "audit-example"
    assert run.data.metrics["audit/c3_pairs"] == 2_000
    # Short proteins with many copies of one planted motif are alike, though they share no ancestor.
    assert 0 < run.data.metrics["audit/identity_above_40_share"] < 0.3
    assert run.data.metrics["audit/identity_above_90_share"] == 0
    assert run.data.metrics["audit/nearest_auroc"] > run.data.metrics["audit/degree_auroc"] == 0.5
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="audit.json")
    measures = json.loads(Path(path).read_text())["measures"]
    assert {f"audit/{name}" for name in measures} == set(run.data.metrics) - _system(run.data.metrics)
    assert run.inputs is not None
    assert len(run.inputs.dataset_inputs) == 2


def _system(names: Any) -> set[str]:
    return {name for name in names if name.startswith("system/")}


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_leak_is_seen_and_trivial_baselines_score_on_it(network: dict[str, Any], tmp_path: Path) -> None:
    given = {**network, "method": "random", "negatives": "uniform", "output": str(tmp_path / "random")}
    made = execute_pipeline("split", given)
    assert made.metrics["audit/c1_pairs_share"] > 0.9
    assert made.metrics["audit/identity_above_90_share"] > 0.9
    # Half of the test pairs are told to the training set.
    train, test = (read_pairs(made.outputs[side]) for side in ("train", "test"))
    half = test.select(np.arange(len(test)) % 2 == 0)
    leaky = _joined(train, half)
    write_pairs(tmp_path / "leaky.tsv", leaky)
    leak = {"train_pairs": str(tmp_path / "leaky.tsv"), "test_pairs": made.outputs["test"]}
    audit = execute_pipeline(
        "audit", leak | {"fasta": network["fasta"], "output_dir": str(tmp_path / "runs")}
    ).metrics
    assert audit["audit/shared_pairs"] == len(half)
    assert audit["audit/nearest_auroc"] > made.metrics["audit/nearest_auroc"] + 0.1
    assert made.metrics["audit/degree_auroc"] > 0.55


def _joined(*tables: PairTable) -> PairTable:
    names = [np.array(table.proteins) for table in tables]
    a, b = (
        [str(name) for of, table in zip(names, tables, strict=True) for name in of[table.index[:, end]]]
        for end in (0, 1)
    )
    labels = np.concatenate([table.labels for table in tables if table.labels is not None])
    return pairs_from_ids(a, b, labels, "joined")


def test_what_cannot_be_audited_is_refused(store: mlflow.MlflowClient, tmp_path: Path) -> None:
    write_pairs(tmp_path / "train.tsv", pairs_from_ids(["A", "C"], ["B", "D"], [1, 0], "train"))
    write_pairs(tmp_path / "test.tsv", pairs_from_ids(["A", "C"], ["D", "B"], [1, 0], "test"))
    write_pairs(tmp_path / "positive.tsv", pairs_from_ids(["A", "C"], ["D", "B"], [1, 1], "positive"))
    write_fasta(tmp_path / "some.fasta", {"A": "MKV", "B": "MKL"})
    train = {"train_pairs": str(tmp_path / "train.tsv"), "output_dir": str(tmp_path / "runs")}
    # One class cannot be ranked; what it shares with training is told all the same.
    positive = execute_pipeline("audit", train | {"test_pairs": str(tmp_path / "positive.tsv")}).metrics
    assert positive["audit/c1_pairs"] == 2
    assert "audit/degree_auroc" not in positive
    test = train | {"test_pairs": str(tmp_path / "test.tsv")}
    with pytest.raises(DataError, match="no sequence for 2 proteins of the pairs") as caught:
        execute_pipeline("audit", test | {"fasta": str(tmp_path / "some.fasta")})
    assert "C, D" in str(caught.value)
    with pytest.raises(ConfigError, match="train_pairs and test_pairs: give both or none"):
        execute_pipeline("audit", train)
    metrics = execute_pipeline("audit", test).metrics
    assert metrics["audit/c1_pairs"] == 2
    assert "audit/nearest_auroc" not in metrics
    assert [run.info.status for run in runs_of(store)].count("FAILED") == 1
