"""Tests of the `predict` options: pair sources, embedding inputs, and file names."""

from __future__ import annotations

import pytest

from ppi_train.config.loading import load_config
from ppi_train.errors import ConfigError
from ppi_train.runs.configs import PredictConfig

RIGHT = {"run_id": "1", "fasta": "f", "all_pairs": "true", "output": "o.parquet"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"all_pairs": "false"},
            "pairs: required (or all_pairs=true, or protein, or proteins_a and proteins_b)",
        ),
        ({"protein": "P1,P2"}, "all_pairs and protein: give one of them, not both"),
        ({"pairs": "p.tsv"}, "pairs and all_pairs: give one of them, not both"),
        (
            {"pairs": "p.tsv", "proteins_b": "b"},
            "pairs and all_pairs and proteins_a: give one of them, not all",
        ),
        ({"all_pairs": "", "proteins_b": "b"}, "proteins_a: required, since the other list is given"),
        ({"fasta": ""}, "fasta: required (or embeddings, or dataset)"),
        ({"dataset": "example"}, "fasta and dataset: give one of them"),
        (
            {"output": ""},
            "output: required; the table to write, a name that ends in .parquet, .tsv or .csv",
        ),
        (
            {"output": "o.xlsx"},
            "output: expected a name that ends in .parquet, .tsv or .csv, or in / for a folder; got 'o.xlsx'",
        ),
        ({"output": "o.tsv", "edges": "./o.tsv"}, "output and edges: expected two names; got 'o.tsv'"),
        ({"training_identity": "no"}, "training_identity: expected one of auto, search, equal; got 'no'"),
        ({"edges": "o.sif"}, "edges: expected a name that ends in .graphml or .tsv; got 'o.sif'"),
        ({"output": "d/a#1.parquet"}, "output: expected a file name without #, which a tracking server"),
        ({"edges": "a\n\x07.tsv"}, r"edges: expected a file name without '\n' '\x07', which a tracking"),
        ({"edges": "a?%41.tsv"}, "edges: expected a file name without ? %, which a tracking server"),
        ({"model_uri": "models:/ppi/1"}, "run_id and model_uri: give one of them, not both"),
        ({"top_k": "0"}, "top_k: expected a value at least 1; got 0"),
        ({"min_probability": "50"}, "min_probability: expected a value at most 1; got 50.0"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(PredictConfig, RIGHT | given)
    assert message in str(caught.value)


def test_several_proteins_are_named_with_commas() -> None:
    config, warnings = load_config(PredictConfig, RIGHT | {"all_pairs": "", "protein": "P1, P2"})
    assert config.prediction.protein == ("P1", "P2")
    assert not warnings


def test_lists_may_bring_their_own_sequences() -> None:
    lists = {"all_pairs": "", "fasta": "", "proteins_a": "a.fasta", "proteins_b": "b.fasta"}
    config, warnings = load_config(PredictConfig, RIGHT | lists)
    assert config.prediction.proteins_a == "a.fasta"
    assert not warnings


def test_what_has_no_effect_on_a_table_of_pairs_is_told() -> None:
    _, warnings = load_config(
        PredictConfig, RIGHT | {"all_pairs": "", "pairs": "p.tsv", "top_k": "3", "include_self": "true"}
    )
    assert warnings == [
        "top_k=3 has no effect: the pairs are given by a table",
        "include_self=True has no effect: the pairs are given by a table",
    ]


def test_an_id_map_without_known_interactions_has_no_effect() -> None:
    _, warnings = load_config(PredictConfig, RIGHT | {"id_map": "aliases.txt"})
    assert warnings == ["id_map has no effect: no known interactions are given"]
