"""Tests of the choice of a model: flat hyper-parameters, defaults, bounds and warnings."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ppi_train.config.fields import describe_fields
from ppi_train.config.loading import load_config
from ppi_train.errors import ConfigError
from ppi_train.models.registry import MODEL_FACTORIES, model_defaults
from ppi_train.runs.configs import TrainConfig


def test_the_command_line_has_the_hyperparameters_of_every_model() -> None:
    names = {spec.name for spec in describe_fields(TrainConfig) if spec.section == "model"}
    declared = {item.name for factory in MODEL_FACTORIES.values() for item in factory.offered()}
    assert names == {"model"} | declared
    (choices,) = [spec.rule.choices for spec in describe_fields(TrainConfig) if spec.name == "model"]
    assert choices == tuple(MODEL_FACTORIES)


@pytest.mark.parametrize("name", MODEL_FACTORIES)
def test_a_models_own_defaults_fill_what_is_not_given(name: str) -> None:
    config, warnings = load_config(TrainConfig, {"model": name, "hidden_dim": "40"})
    defaults = {item.name: item.default for item in MODEL_FACTORIES[name].offered()}
    assert config.model.hyperparameters == defaults | {"hidden_dim": 40}
    assert warnings == []


def test_what_the_model_lacks_has_no_effect() -> None:
    config, warnings = load_config(TrainConfig, {"slots": "3", "heads": "2", "members": "2"})
    assert sorted(warnings) == [
        "heads=2 has no effect: pooled_mlp has no such parameter",
        "slots=3 has no effect: pooled_mlp has no such parameter",
    ]
    assert "slots" not in config.model.hyperparameters


@pytest.mark.parametrize("model", ["pooled_mlp", "contact_map"])
def test_bounds_are_those_of_the_model_that_has_the_parameter(model: str) -> None:
    with pytest.raises(ConfigError, match="max_residues: expected a value at least 2; got 1"):
        load_config(TrainConfig, {"model": model, "max_residues": "1"})


def test_where_models_differ_the_help_says_so() -> None:
    helps = {spec.name: spec.rule.help for spec in describe_fields(TrainConfig)}
    assert helps["slots"] == "Learned summaries of a protein's residues, of each member."
    assert "pooled_mlp, v3: Width of a protein's state, of each member." in helps["hidden_dim"]
    assert "Width of a residue's state." in helps["hidden_dim"]


def test_the_defaults_of_each_model() -> None:
    defaults = model_defaults()
    assert defaults["members"] == {"pooled_mlp": 4, "v3": 4}
    assert defaults["batch_size"] == {
        "contact_map": 16,
        "pair_transformer": 64,
        "pooled_mlp": 1024,
        "v3": 4096,
    }


def test_no_model_is_imported_to_declare_it() -> None:
    code = (
        "import ppi_train.runs.configs, sys; sys.exit(str({'torch', 'numpy', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
