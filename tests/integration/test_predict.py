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
from ppi_train.data.pairs import read_pairs
from ppi_train.data.similarity import find_similar
from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.errors import CacheError, ConfigError, DataError, TrackingError
from ppi_train.inference.output import read_about
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.runs.training_pairs import ordered_pairs
from tests.support.network_layouts import biogrid_row, header

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
    pairs = tmp_path / "candidates.tsv"
    scored[["protein_a", "protein_b"]].to_csv(pairs, sep="\t", index=False)
    test = str(example.splits["test"].fasta)
    result, table = predicted(given | {"pairs": str(pairs), "fasta": test})
    assert list(table["protein_a"]) == list(scored["protein_a"])
    assert list(table["protein_b"]) == list(scored["protein_b"])
    np.testing.assert_allclose(table["probability"], scored["probability"], atol=1e-5)
    np.testing.assert_allclose(table["logit"], scored["logit"], atol=1e-4)
    assert (table["uncertainty"] > 0).all()
    run = store.get_run(result.run_id)
    assert run.info.run_name == "predict-pooled_mlp-candidates"
    assert run.data.tags["ppi.evaluated_run_id"] == trained.run_id
    assert run.data.params["prediction.pairs"] == str(pairs)
    assert run.data.metrics["predict/pairs"] == run.data.metrics["predict/kept"] == len(scored)
    assert run.data.metrics["system/pairs_per_second"] > 0
    output = Path(given["output"])
    assert run.data.tags["ppi.output"] == str(output)
    assert run.data.tags["ppi.output_digest"] == hashlib.sha256(output.read_bytes()).hexdigest()
    (logged,) = store.list_artifacts(result.run_id, "predictions")
    assert (logged.path, logged.file_size) == ("predictions/table.parquet", output.stat().st_size)
    assert run.inputs
    assert run.inputs.dataset_inputs[0].dataset.name == "candidates/pairs"
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
    assert list(table.columns) == [
        "protein_a", "protein_b", "probability", "logit", "in_training", "nearest_training_identity",
    ]  # fmt: skip
    edges = tmp_path / "net.graphml"
    few = {"top_k": 2, "edges": str(edges), "output": str(tmp_path / "few.parquet")}
    result, best = predicted(everything | few)
    wanted = set()
    for name in read_fasta(fasta).sequences:
        of_it = table[(table["protein_a"] == name) | (table["protein_b"] == name)]
        wanted |= set(by_pair(of_it.nlargest(2, "probability")).index)
    assert set(by_pair(best).index) == wanted
    assert networkx.read_graphml(edges).number_of_edges() == len(best) == result.metrics["predict/kept"]
    assert (np.diff(best["logit"]) <= 0).all()
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
    with pytest.raises(CacheError, match="no embedding for 3 proteins"):
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
    with pytest.raises(CacheError, match=r"no embedding for 1 protein\n.*\n  got: GHOST"):
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


@pytest.fixture
def pool(example: Dataset, tmp_path: Path) -> Path:
    """The proteins of some training and some test pairs."""
    sequences = read_fasta(example.splits["test"].fasta).sequences
    trained = read_pairs(example.splits["train"].pairs).proteins[:40]
    tested = read_pairs(example.splits["test"].pairs).proteins[:20]
    path = tmp_path / "pool.fasta"
    write_fasta(path, {name: sequences[name] for name in (*trained, *tested)})
    return path


def pair_names(table: pd.DataFrame) -> list[frozenset[str]]:
    return [frozenset(pair) for pair in zip(table["protein_a"], table["protein_b"], strict=True)]


def test_training_pairs_are_marked_under_any_name_of_their_sequences(
    given: dict[str, Any], pool: Path, example: Dataset, tmp_path: Path
) -> None:
    train = read_pairs(example.splits["train"].pairs)
    trained = {frozenset(pair) for pair in ordered_pairs(train)}
    asked = given | {"all_pairs": True, "fasta": str(pool), "uncertainty": False}
    result, table = predicted(asked)
    expected = [pair in trained for pair in pair_names(table)]
    assert 0 < sum(expected) < len(expected)
    assert list(table["in_training"]) == expected
    assert result.metrics["predict/in_training"] == sum(expected)
    other_names = tmp_path / "renamed.fasta"
    write_fasta(other_names, {f"my_{name}": text for name, text in read_fasta(pool).sequences.items()})
    renamed = {"fasta": str(other_names), "output": str(tmp_path / "renamed.parquet")}
    _, again = predicted(asked | renamed)
    assert list(again["in_training"]) == expected


def test_how_near_a_pair_is_to_training(
    given: dict[str, Any], pool: Path, example: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sequences = read_fasta(example.splits["test"].fasta).sequences
    train = read_pairs(example.splits["train"].pairs)
    asked = given | {"all_pairs": True, "fasta": str(pool), "uncertainty": False}
    _, table = predicted(asked)
    names = list(read_fasta(pool).sequences)
    similar = find_similar([sequences[name] for name in names], [sequences[name] for name in train.proteins])
    nearest = dict(zip(names, similar.nearest(len(names)), strict=True))
    assert {nearest[name] for name in names if name in train.proteins} == {1.0}
    wanted = [min(nearest[name] for name in pair) for pair in pair_names(table)]
    np.testing.assert_allclose(table["nearest_training_identity"], wanted, atol=1e-6)
    caplog.set_level("INFO")
    equal = {"training_identity": "equal", "output": str(tmp_path / "equal.parquet")}
    _, table = predicted(asked | equal)
    both = [pair <= set(train.proteins) for pair in pair_names(table)]
    assert list(table["nearest_training_identity"].fillna(-1)) == [1.0 if seen else -1.0 for seen in both]
    assert (
        "nearest_training_identity is known only for the 40 of 60 proteins that are in training"
        in caplog.text
    )


def test_known_pairs_are_marked_or_left_out_before_the_best_are_chosen(
    given: dict[str, Any], pool: Path, tmp_path: Path
) -> None:
    asked = given | {"all_pairs": True, "fasta": str(pool), "uncertainty": False}
    _, everything = predicted(asked)
    best = everything.nlargest(100, "logit")
    known = tmp_path / "known.tsv"
    interactions = best[["protein_b", "protein_a"]].assign(label=[1] * 50 + [0] * 50)
    interactions.to_csv(known, sep="\t", index=False, header=["protein_a", "protein_b", "label"])
    marked = {"known": str(known), "output": str(tmp_path / "marked.parquet")}
    result, table = predicted(asked | marked)
    positive = set(pair_names(best[:50]))
    assert list(table["known"]) == [pair in positive for pair in pair_names(table)]
    assert result.metrics["predict/known"] == 50
    only_new = {"novel_only": True, "top_k": 2, "output": str(tmp_path / "new.parquet")}
    _, new = predicted(asked | marked | only_new)
    left = table[~table["known"] & ~table["in_training"]]
    wanted = set()
    for name in read_fasta(pool).sequences:
        of_it = left[(left["protein_a"] == name) | (left["protein_b"] == name)]
        wanted |= set(pair_names(of_it.nlargest(2, "logit")))
    assert set(pair_names(new)) == wanted
    pairs = tmp_path / "pairs.tsv"
    table[["protein_a", "protein_b"]].to_csv(pairs, sep="\t", index=False)
    listed = {"all_pairs": False, "pairs": str(pairs), "output": str(tmp_path / "listed.parquet")}
    _, from_list = predicted(asked | marked | listed | {"novel_only": True})
    assert pair_names(from_list) == pair_names(left)


def test_known_pairs_of_other_names_are_refused(given: dict[str, Any], pool: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.tsv"
    known.write_text("TP53\tMDM2\nBRCA1\tBARD1\n")
    asked = given | {"all_pairs": True, "known": str(known)}
    with pytest.raises(DataError, match="no name of the network is that of a protein") as refused:
        predicted(asked | {"fasta": str(pool)})
    assert "BARD1, BRCA1, MDM2" in str(refused.value)
    cache = str(tmp_path / "cache.parquet")
    execute_pipeline("embed", {"fasta": str(pool), "output": cache, "embedding_dtype": "float16"})
    with pytest.raises(DataError, match="no protein of the known interactions is among") as refused:
        predicted(asked | {"embeddings": cache})
    assert "BARD1, BRCA1, MDM2" in str(refused.value)
    assert not Path(given["output"]).exists()


def test_known_pairs_of_string_are_mapped(given: dict[str, Any], pool: Path, tmp_path: Path) -> None:
    first, second, third, *_ = read_fasta(pool).sequences
    links, aliases = tmp_path / "links.txt", tmp_path / "aliases.txt"
    links.write_text(
        "protein1 protein2 combined_score\n1.P1 1.P2 900\n1.P2 1.P1 900\n1.P3 1.P4 400\n1.P4 1.P3 400\n"
    )
    rows = [("#string_protein_id", "alias", "source"), ("1.P1", first, "UniProt_AC")]
    rows += [("1.P2", second, "UniProt_AC"), ("1.P3", third, "UniProt_AC"), ("1.P4", "GHOST", "UniProt_AC")]
    aliases.write_text("".join("\t".join(row) + "\n" for row in rows))
    asked = {"all_pairs": True, "fasta": str(pool), "known": str(links), "id_map": str(aliases)}
    _, table = predicted(given | asked)
    assert pair_names(table[table["known"]]) == [frozenset((first, second))]


def test_known_pairs_of_biogrid_are_read_with_partners_of_other_organisms(
    given: dict[str, Any], pool: Path, tmp_path: Path
) -> None:
    first, second, *_ = read_fasta(pool).sequences
    known = tmp_path / "BIOGRID-ORGANISM.tab3.txt"
    rows = [biogrid_row(first, second), biogrid_row(first, "P0DTC2", taxids=(9606, 2697049))]
    known.write_text("\n".join([header("biogrid_tab3"), *rows]) + "\n")
    _, table = predicted(given | {"all_pairs": True, "fasta": str(pool), "known": str(known)})
    assert pair_names(table[table["known"]]) == [frozenset((first, second))]


def test_genes_and_descriptions_stand_beside_accessions(
    given: dict[str, Any], pool: Path, tmp_path: Path
) -> None:
    fasta, edges = tmp_path / "uniprot.fasta", tmp_path / "net.graphml"
    first, *_ = names = list(read_fasta(pool).sequences)
    records = [
        f">sp|{name}|{name}_EX Kinase {name}, putative OS=Exemplum OX=1 GN=gene{number} PE=1\n{sequence}\n"
        for number, (name, sequence) in enumerate(read_fasta(pool).sequences.items())
    ]
    fasta.write_text("".join(records).replace(" GN=gene5 ", " "))
    asked = {"fasta": str(fasta), "protein": first, "edges": str(edges), "output": str(tmp_path / "t.csv")}
    execute_pipeline("predict", given | asked)
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table.columns)[-4:] == ["gene_a", "gene_b", "description_a", "description_b"]
    genes = {name: f"gene{number}" for number, name in enumerate(names)} | {names[5]: ""}
    assert list(table["gene_b"].fillna("")) == [genes[name] for name in table["protein_b"]]
    assert set(table["description_a"]) == {f"Kinase {first}, putative"}
    nodes = networkx.read_graphml(edges).nodes
    assert {name: nodes[name].get("gene", "") for name in names} == genes


def test_how_many_are_right_where_interactions_are_rare(
    given: dict[str, Any], fasta: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    result, table = predicted(given | {"all_pairs": True, "fasta": str(fasta)})
    # Half of the example's validation pairs interact, so that the prior odds were 1.
    odds = np.exp(table["logit"].nlargest(100).to_numpy(np.float64))
    for ratio in (100, 1000):
        expected = (odds / (odds + ratio)).mean()
        assert result.metrics[f"expected/precision_at_100_1to{ratio}"] == pytest.approx(expected)
    assert "expected to interact, of the 100 pairs of highest score" in caplog.text


def test_without_training_pairs_only_known_pairs_can_be_left_out(
    given: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("ppi_train.modes.predict.marks.training_lineage", lambda *_, **__: None)
    asked = given | {"all_pairs": True, "fasta": str(pool), "novel_only": True}
    with pytest.raises(DataError, match="no pair can be said to be new"):
        predicted(asked)
    first, second, *_ = read_fasta(pool).sequences
    known = tmp_path / "known.tsv"
    known.write_text(f"{first}\t{second}\n")
    _, table = predicted(asked | {"known": str(known)})
    assert list(table.columns) == ["protein_a", "protein_b", "probability", "logit", "uncertainty", "known"]
    assert len(table) == 60 * 59 // 2 - 1
    assert frozenset((first, second)) not in pair_names(table)
    assert "no column in_training: the training pairs cannot be read" in caplog.text


def test_the_ranked_partners_of_a_protein(
    given: dict[str, Any], pool: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = list(read_fasta(pool).sequences)
    first, second = names[7], names[3]
    _, everything = predicted(given | {"all_pairs": True, "fasta": str(pool)})
    of_first = [pair for pair in by_pair(everything).sort_values(ascending=False).index if first in pair]
    output, edges = tmp_path / "partners.tsv", tmp_path / "partners.graphml"
    asked = given | {"fasta": str(pool), "output": str(output), "protein": first, "edges": str(edges)}
    caplog.set_level("INFO")
    execute_pipeline("predict", asked)
    table = pd.read_csv(output, sep="\t")
    assert set(table["protein_a"]) == {first}
    assert pair_names(table) == of_first
    assert networkx.read_graphml(edges).nodes[first]["degree"] == len(table) == len(names) - 1
    assert f"the best partners of {first}\n" in caplog.text
    assert f"1   {table['protein_b'][0]}  {table['probability'][0]:.4f}" in caplog.text
    (written,) = (message for message in caplog.messages if "written: " in message)
    assert written == f"59 of 59 pairs kept; written: {output} (59 rows), {edges} (59 edges)"
    several = {"protein": f"{second},{first},{second}", "top_k": 5, "output": str(tmp_path / "two.csv")}
    execute_pipeline("predict", asked | several | {"edges": ""})
    table = pd.read_csv(tmp_path / "two.csv")
    wanted = set()
    for name in (first, second):
        of_it = [pair for pair in by_pair(everything).sort_values(ascending=False).index if name in pair]
        wanted |= set(of_it[:5])
    assert set(pair_names(table)) == wanted
    assert (np.diff(table["logit"]) <= 0).all()


def test_a_protein_that_is_not_there_is_refused_with_the_nearest_names(
    given: dict[str, Any], pool: Path
) -> None:
    name = next(iter(read_fasta(pool).sequences))
    with pytest.raises(DataError, match="there is no such protein") as refused:
        predicted(given | {"fasta": str(pool), "protein": f"{name},{name}x"})
    assert f"did you mean {name}" in str(refused.value)


def test_a_folder_of_parts(
    store: mlflow.MlflowClient, given: dict[str, Any], fasta: Path, tmp_path: Path
) -> None:
    asked = given | {"all_pairs": True, "fasta": str(fasta), "top_k": 2}
    _, table = predicted(asked)
    folder = tmp_path / "scores"
    result, parts = predicted(asked | {"output": f"{folder}/"})
    pd.testing.assert_frame_equal(parts, table)
    names = ["_manifest.json", "part-00000000.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == names
    artifacts = store.list_artifacts(result.run_id, "predictions/scores")
    assert sorted(Path(artifact.path).name for artifact in artifacts) == names
    tags = store.get_run(result.run_id).data.tags
    assert tags["ppi.output_digest"] == hashlib.sha256((folder / names[0]).read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match=r"the output folder has another prediction\n.*\n  got: top_k=2"):
        predicted(asked | {"output": f"{folder}/", "top_k": 3})
    predicted(asked | {"output": f"{folder}/", "top_k": 3, "overwrite": True})
    assert read_about(folder)["top_k"] == 3


@pytest.mark.slow
def test_workers_write_the_same_table(
    store: mlflow.MlflowClient, given: dict[str, Any], fasta: Path, tmp_path: Path
) -> None:
    asked = given | {"all_pairs": True, "fasta": str(fasta), "min_probability": 0.5}
    predicted(asked)
    other = tmp_path / "by_workers.parquet"
    result, _ = predicted(asked | {"output": str(other), "workers": 2, "overwrite": True})
    assert other.read_bytes() == Path(given["output"]).read_bytes()
    metrics = store.get_run(result.run_id).data.metrics
    assert (metrics["system/workers"], metrics["system/retried_tasks"], metrics["predict/tasks"]) == (2, 0, 1)
