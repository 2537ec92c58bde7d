"""Tests of the recipe that the whole pipeline takes for `protein_lm`."""

from __future__ import annotations

from typing import Any

import pytest

from ppi_train.config.loading import load_config
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
    assert taken(own | {"negatives": "uniform"}) == RECIPE
    finetuned = {"finetune_train_pairs": "t.tsv", "finetune_val_pairs": "v.tsv", "finetune_fasta": "p.fasta"}
    assert taken(LANGUAGE | finetuned) == RECIPE | {"fresh_negatives": False}
