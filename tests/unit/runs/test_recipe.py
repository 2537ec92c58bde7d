"""Tests of the recipe that the whole pipeline takes for `protein_lm`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppi_train.config.loading import load_config
from ppi_train.data.fasta import AMINO_ACIDS, write_fasta
from ppi_train.runs.configs import PipelineConfig
from ppi_train.runs.recipe import with_best_recipe

LANGUAGE = {"embedder": "protein_lm"}
RECIPE = {"model": "v3", "granularity": "residue", "epochs": 10, "fresh_negatives": True}


def taken(given: dict[str, Any]) -> dict[str, object]:
    config, _ = load_config(PipelineConfig, given)
    return {name: with_best_recipe(config).values[name] for name in RECIPE}


def test_the_language_model_comes_with_its_best_recipe() -> None:
    assert taken(LANGUAGE) == RECIPE
    assert taken(LANGUAGE | {"dataset": "bernett", "seed": 3}) == RECIPE


def test_what_is_given_stays() -> None:
    assert taken(LANGUAGE | {"epochs": 2, "fresh_negatives": False}) == RECIPE | {
        "epochs": 2,
        "fresh_negatives": False,
    }


def test_a_parameter_of_its_model_has_an_effect() -> None:
    config, warnings = load_config(PipelineConfig, LANGUAGE | {"slots": 2})
    assert with_best_recipe(config).model.hyperparameters["slots"] == 2
    assert warnings == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"embedder": "esm2"},
        LANGUAGE | {"model": "pooled_mlp"},
        LANGUAGE | {"num_layers": 2},
        LANGUAGE | {"granularity": "protein"},
        LANGUAGE | {"embeddings": "mine.parquet"},
    ],
    ids=str,
)
def test_it_is_for_that_embedder_and_model_alone(given: dict[str, Any]) -> None:
    config, _ = load_config(PipelineConfig, given)
    assert with_best_recipe(config) == config


def test_negatives_that_may_have_been_measured_are_kept() -> None:
    own = LANGUAGE | {"train_pairs": "t.tsv", "val_pairs": "v.tsv", "fasta": "p.fasta"}
    assert taken(own) == RECIPE | {"fresh_negatives": False}
    finetuned = {"finetune_train_pairs": "t.tsv", "finetune_val_pairs": "v.tsv", "finetune_fasta": "p.fasta"}
    assert taken(LANGUAGE | finetuned) == RECIPE | {"fresh_negatives": False}


@pytest.mark.parametrize(("labels", "fresh"), [((1, 1, 1), True), ((1, 0, 1), False)])
def test_negatives_are_fresh_where_the_training_table_has_none(
    tmp_path: Path, labels: tuple[int, ...], fresh: bool
) -> None:
    """A table that has negatives keeps them, also if others are asked for; see `with_drawn_negatives`."""
    table = tmp_path / "t.tsv"
    table.write_text("".join(f"P{row}\tP{row + 1}\t{label}\n" for row, label in enumerate(labels)))
    own = {"train_pairs": str(table), "val_pairs": "v.tsv", "fasta": "p.fasta", "negatives": "uniform"}
    assert taken(LANGUAGE | own) == RECIPE | {"fresh_negatives": fresh}


@pytest.mark.parametrize(
    ("labelled", "negatives", "fresh"),
    [(False, {}, True), (True, {}, False), (True, {"negatives": "uniform"}, True)],
    ids=["drawn", "of the file", "drawn in place of those of the file"],
)
def test_negatives_of_a_network_are_fresh_where_they_are_drawn(
    tmp_path: Path, labelled: bool, negatives: dict[str, str], fresh: bool
) -> None:
    rng = np.random.default_rng(0)
    names = [f"P{number:03}" for number in range(120)]
    write_fasta(tmp_path / "p.fasta", {name: "".join(rng.choice(list(AMINO_ACIDS), 60)) for name in names})
    pairs = {tuple(sorted(rng.choice(names, 2, replace=False).tolist())) for _ in range(900)}
    endings = [f"\t{row % 2}" if labelled else "" for row in range(len(pairs))]
    lines = [f"{a}\t{b}{ending}\n" for (a, b), ending in zip(sorted(pairs), endings, strict=True)]
    (tmp_path / "n.tsv").write_text("".join(lines))
    given = {"network": str(tmp_path / "n.tsv"), "fasta": str(tmp_path / "p.fasta")}
    given |= negatives | {"data_dir": str(tmp_path / "data")}
    assert taken(LANGUAGE | given) == RECIPE | {"fresh_negatives": fresh}
