"""End-to-end tests of `network=`: from downloaded files to a report, and what is refused before embedding."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from ppi_train.data.fasta import AMINO_ACIDS
from ppi_train.data.pairs import read_pairs
from ppi_train.data.splits import SIDES
from ppi_train.errors import ConfigError, DataError
from ppi_train.modes import execute_pipeline
from tests.support.made_species import ALIASES, FASTA, LINKS, write_species

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def species(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], set[Pair]]:
    """The downloads of a made-up species as parameters, and its interactions."""
    folder = tmp_path_factory.mktemp("species")
    interactions = write_species(folder)
    files = {"network": folder / LINKS, "fasta": folder / FASTA, "id_map": folder / ALIASES}
    return {name: str(path) for name, path in files.items()} | {"min_score": 400}, interactions


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    return {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "runs")}


def artifacts(client: mlflow.MlflowClient, run_id: str, path: str | None = None) -> set[str]:
    found: set[str] = set()
    for item in client.list_artifacts(run_id, path):
        found |= artifacts(client, run_id, item.path) if item.is_dir else {item.path}
    return found


@pytest.mark.slow
def test_the_whole_job_ends_in_a_report_and_is_reused(
    store: mlflow.MlflowClient,
    species: tuple[dict[str, Any], set[Pair]],
    places: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    given, interactions = species
    parameters = given | places | {"epochs": 3, "audit": "overlap"}
    result = execute_pipeline("full_pipeline", parameters)
    assert result.metrics["test/auroc"] > 0.75
    run = store.get_run(result.run_id)
    assert run.info.run_name == "full_pipeline-pooled_mlp-4932.protein.physical.links.v12.0"
    assert run.data.tags["ppi.network"] == LINKS
    assert run.data.tags["ppi.network_layout"] == "STRING links"
    assert run.data.params["prepared.network"] == given["network"]
    assert run.data.params["split.negative_ratio"] == "1.0"
    assert artifacts(store, result.run_id) >= {"network/network.json", "network/identifiers.tsv"}
    assert "report.html" in artifacts(store, result.outputs["evaluate"])
    assert "split: c3" in caplog.text
    assert "negatives: 1 to 1, degree-matched, seed 0" in caplog.text
    (folder,) = Path(places["data_dir"], "networks").iterdir()
    tables = [read_pairs(folder / f"{side}.tsv") for side in SIDES]
    assert sum(table.positives for table in tables) < len(interactions)
    again = execute_pipeline("full_pipeline", parameters)
    assert dict(again.outputs) == dict(result.outputs)  # every stage is the earlier run


def test_training_on_a_network_is_training_on_its_tables(
    store: mlflow.MlflowClient, species: tuple[dict[str, Any], set[Pair]], places: dict[str, Any]
) -> None:
    given, _ = species
    short = places | {"epochs": 1}
    of_network = execute_pipeline("train_only", given | short)
    (folder,) = Path(places["data_dir"], "networks").iterdir()
    tables = {"train_pairs": str(folder / "train.tsv"), "val_pairs": str(folder / "validation.tsv")}
    of_tables = execute_pipeline("train_only", short | tables | {"fasta": str(folder / "sequences.fasta")})
    for name in ("val/auroc", "val/loss"):
        assert of_network.metrics[f"{name}_best"] == of_tables.metrics[f"{name}_best"]
    run = store.get_run(of_network.run_id)
    assert run.data.params["data.train_pairs"] == tables["train_pairs"]
    assert run.data.params["network.min_score"] == "400.0"
    for named_after_the_network in (run, store.get_run(of_tables.run_id)):
        assert named_after_the_network.data.tags["ppi.dataset"] == "4932.protein.physical.links.v12.0"
    assert run.data.params["network.network"] == ""  # by then the run has tables of its own
    assert "network/identifiers.tsv" in artifacts(store, of_network.run_id)


@pytest.mark.slow
def test_split_and_audit_take_a_network(
    store: mlflow.MlflowClient,
    species: tuple[dict[str, Any], set[Pair]],
    places: dict[str, Any],
    tmp_path: Path,
) -> None:
    del store
    given, interactions = species
    output = tmp_path / "split"
    data_dir = {"data_dir": places["data_dir"]}
    split = execute_pipeline("split", given | {"output": str(output), "method": "random"})
    tables = [read_pairs(output / f"{side}.tsv") for side in SIDES]
    assert sum(table.positives for table in tables) == len(interactions)
    assert split.metrics["data/dropped_edges"] == 0
    assert (output / "identifiers.tsv").exists()
    audit = execute_pipeline("audit", given | places | {"split_method": "random"})
    assert audit.metrics["audit/shared_proteins_share"] > 0.9
    assert audit.metrics["audit/shared_pairs"] == 0
    kept_apart = execute_pipeline("audit", given | places | data_dir)
    assert kept_apart.metrics["audit/shared_proteins"] == 0


def test_negatives_are_drawn_for_tables_of_interactions(
    store: mlflow.MlflowClient,
    species: tuple[dict[str, Any], set[Pair]],
    places: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    given, interactions = species
    pairs = sorted(interactions)
    np.random.default_rng(0).shuffle(pairs)
    paths = {}
    for name, rows in {"train_pairs": pairs[:2_000], "val_pairs": pairs[2_000:2_300]}.items():
        path = tmp_path / f"{name}.tsv"
        path.write_text("".join(f"{a}\t{b}\t1\n" for a, b in rows))
        paths[name] = str(path)
    own = paths | places | {"fasta": given["fasta"], "epochs": 1}
    with pytest.raises(DataError, match="the train pairs have one class only") as caught:
        execute_pipeline("train_only", own)
    assert "negatives=degree_matched" in str(caught.value)
    known = {"known": given["network"], "id_map": given["id_map"]}
    result = execute_pipeline("train_only", own | known | {"negatives": "degree_matched"})
    assert "no negatives in train and validation: drawing 1 to 1, degree-matched" in caplog.text
    with np.errstate(all="ignore"):
        assert result.metrics["val/auroc_best"] > 0.5
    params = store.get_run(result.run_id).data.params
    table = read_pairs(params["data.train_pairs"])
    assert (len(table), table.positives) == (4_000, 2_000)
    names = np.array(table.proteins)[table.index[table.required_labels == 0]]
    assert not {tuple(sorted(row)) for row in names.tolist()} & interactions


RANDOM = np.random.default_rng(0)
NAMES = [f"P{10_000 + number}" for number in range(60)]


def mitab(a: str, b: str, taxid: int) -> str:
    columns = [f"uniprotkb:{a}", f"uniprotkb:{b}", *["-"] * 13]
    columns[9] = columns[10] = f"taxid:{taxid}(a species)"
    return "\t".join(columns)


def some_pairs(names: list[str], count: int = 300) -> list[Pair]:
    pairs = RANDOM.choice(names, (count, 2))
    return [(str(a), str(b)) for a, b in pairs if a != b]


@pytest.mark.parametrize(
    ("network", "names", "message", "said"),
    [
        (
            [
                mitab(a, b, taxid)
                for taxid, names in ((9606, NAMES[:30]), (10090, NAMES[30:]))
                for a, b in some_pairs(names)
            ],
            NAMES,
            "the network has interactions of 2 organisms",
            ["taxid 9606", "taxid 10090"],
        ),
        (
            [
                "protein1 protein2 combined_score",
                *(f"9606.EN{a} 9606.EN{b} 900" for a, b in some_pairs(NAMES)),
            ],
            NAMES,
            "the id_map has none of the names",
            ["10090.XP10000", "9606.ENP10000"],
        ),
        (
            [f"GENE{a}\tGENE{b}" for a, b in some_pairs(NAMES)],
            [f"{name}-{isoform}" for name in NAMES for isoform in (1, 2)],
            "most names of the network stand for several sequences",
            ["P10000-1", "P10000-2", "ids=canonical"],
        ),
        ([f"{NAMES[0]}\t{name}" for name in NAMES[1:]], NAMES, "the network is a star", ["59 partners"]),
        (
            [f"{a}\t{b}" for a, b in pairwise(NAMES[:32])],
            NAMES,
            "too small",
            ["31 pairs"],
        ),
    ],
    ids=["two species", "aliases of another species", "genes and isoforms", "a star", "thirty pairs"],
)
def test_each_mistake_is_one_message_before_anything_is_embedded(
    store: mlflow.MlflowClient,
    places: dict[str, Any],
    tmp_path: Path,
    network: list[str],
    names: list[str],
    message: str,
    said: list[str],
) -> None:
    del store
    (tmp_path / "network.txt").write_text("".join(f"{line}\n" for line in network))
    records = (
        f">sp|{name}|NAME_SPEC Protein OS=A species OX=9606 GN=GENE{name.partition('-')[0]} PE=1 SV=1\n"
        f"{''.join(RANDOM.choice(list(AMINO_ACIDS), 50))}\n"
        for name in names
    )
    (tmp_path / "a.fasta").write_text("".join(records))
    aliases = [f"10090.X{name}\t{name}\tUniProt_AC\n" for name in NAMES]
    (tmp_path / "aliases.txt").write_text("#string_protein_id\talias\tsource\n" + "".join(aliases))
    files = {"network": "network.txt", "fasta": "a.fasta", "id_map": "aliases.txt"}
    if not network[0].startswith("protein1"):
        del files["id_map"]
    given = {name: str(tmp_path / file) for name, file in files.items()}
    with pytest.raises(DataError, match=message) as caught:
        execute_pipeline("full_pipeline", given | places)
    assert all(text in str(caught.value) for text in said)
    assert not Path(places["data_dir"], "embeddings").exists()


def test_what_does_not_go_together_is_named(store: mlflow.MlflowClient, tmp_path: Path) -> None:
    del store
    with pytest.raises(ConfigError, match="network and train_pairs: give one of them, not both") as caught:
        execute_pipeline("train_only", {"network": "a", "train_pairs": "b", "dataset": "example"})
    assert "network and dataset: give one" in str(caught.value)
    assert "fasta: required, since network is given" in str(caught.value)
    with pytest.raises(ConfigError, match="network and pairs: give one of them"):
        execute_pipeline("split", {"network": "a", "pairs": "b", "fasta": "c", "output": str(tmp_path)})
