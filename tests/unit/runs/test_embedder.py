"""Tests of the precision of embedding and of a language model's training: chosen once, then kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppi_train.embeddings.options import EmbedderOptions
from ppi_train.modes.train_embedder import embedder_job
from ppi_train.runs.configs import EmbedConfig, TrainEmbedderConfig
from ppi_train.runs.embedder import EmbeddingSettings


def precision(embedder: str | None, asked: str) -> str:
    options = EmbedderOptions(embedder=embedder, embedder_run_id="r1", embedder_precision=asked)
    return EmbeddingSettings.of_options(options, device="cpu").precision


@pytest.mark.parametrize(("here", "taken"), [(True, "bf16"), (False, "float32")])
def test_auto_is_decided_before_the_work_is_shared(
    here: bool, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppi_train.runs.embedder.has_fast_bf16", lambda _: here)
    assert precision("protein_lm", "auto") == taken
    assert (
        precision("esm2", "auto") == precision("descriptors", "auto") == precision(None, "auto") == "float32"
    )
    for asked in ("float32", "bf16"):
        assert precision("protein_lm", asked) == precision("esm2", asked) == asked


@pytest.mark.parametrize("here", [True, False])
def test_new_proteins_are_embedded_with_the_precision_of_the_recipe(
    here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppi_train.runs.embedder.has_fast_bf16", lambda _: here)
    for parameters, kept in (({"run_id": "r1", "precision": "bf16"}, "bf16"), ({"run_id": "r1"}, "float32")):
        recipe = {
            "embedder": {"name": "protein_lm", "parameters": parameters, "digest": "d"},
            "granularity": "protein", "max_length": None, "truncation": "head",
        }  # fmt: skip
        assert EmbeddingSettings.of_recipe(recipe, dtype="float32", device="cpu").precision == kept


def test_protein_lm_has_no_fp16() -> None:
    problems = {
        embedder: EmbedConfig.of(
            dataset="example", embedder=embedder, embedder_run_id="r1", embedder_precision="fp16"
        ).problems()
        for embedder in ("protein_lm", "esm2")
    }
    assert problems == {
        "protein_lm": ["embedder_precision: fp16 is for embedder=esm2; protein_lm has float32 and bf16"],
        "esm2": [],
    }


@pytest.mark.parametrize(("here", "taken"), [(True, "bf16"), (False, "off")])
def test_a_language_models_run_keeps_the_precision_that_it_began_with(
    here: bool, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppi_train.models.device.has_fast_bf16", lambda _: here)
    fasta = tmp_path / "proteins.fasta"
    fasta.write_text("".join(f">P{number}\n{'ACDEFGHIKL' * 4}{'W' * number}\n" for number in range(20)))
    asked = TrainEmbedderConfig.of(fasta=str(fasta), device="cpu")
    job = embedder_job(asked)
    assert asked.compute.amp == "auto"
    assert job.config.values["amp"] == taken
    # As resume does, wherever it runs.
    monkeypatch.setattr("ppi_train.models.device.has_fast_bf16", lambda _: not here)
    assert embedder_job(TrainEmbedderConfig.of(**job.config.values)).config.values["amp"] == taken
