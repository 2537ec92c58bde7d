"""Tests of search spaces: reading, messages, suggestions, grids and defaults."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection
from pathlib import Path

import optuna
import pytest
import yaml

from ppi_train.config.loading import load_config
from ppi_train.errors import ConfigError
from ppi_train.models.registry import MODEL_FACTORIES
from ppi_train.modes.sweep.searched import Searched, stored
from ppi_train.modes.sweep.space import DEFAULT_PARAMETERS, SearchSpace, default_space, read_space
from ppi_train.runs.configs import TrainConfig

V3 = frozenset({"v3"})
BOTH = """
parameters:
  learning_rate: {low: 1e-4, high: 1e-2, log: true}
  model: [pooled_mlp, v3]
  epochs: {low: 4, high: 13, step: 2}
  weight_decay: {low: 0.1, high: 0.45, step: 0.1}
  dropout: {low: 0.0, high: 0.5, when: {model: v3}}
  slots: {values: [2, "4", 8]}
  num_layers: {low: 1, high: 3}
  max_length: [null, 512]
  early_stopping_metric: [val/auroc, val/loss]
"""


def _read(
    tmp_path: Path, text: str, given: Collection[str] = (), config: TrainConfig | None = None
) -> SearchSpace:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    return read_space(str(path), config or TrainConfig(), given)


def _problems(tmp_path: Path, text: str, given: Collection[str] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _read(tmp_path, text, given)
    first, *rest = str(caught.value).splitlines()
    count = "a problem" if len(rest) == 1 else f"{len(rest)} problems"
    assert first == f"the search space {tmp_path / 'search.yaml'} has {count}:"
    return [line.removeprefix("  - ") for line in rest]


def _of(tmp_path: Path, entry: str, sampler: str = "tpe") -> list[str]:
    return _problems(tmp_path, f"sampler: {sampler}\nparameters:\n  {entry}\n")


def test_a_file_is_read_with_the_types_of_the_schema_and_the_model_first(tmp_path: Path) -> None:
    space = _read(tmp_path, BOTH)
    by_name = {searched.name: searched for searched in space.parameters}
    assert (space.sampler, space.names[:3]) == ("tpe", ("model", "learning_rate", "epochs"))
    assert by_name["model"] == Searched(name="model", kind="choice", values=("pooled_mlp", "v3"))
    assert by_name["learning_rate"] == Searched(
        name="learning_rate", kind="number", low=1e-4, high=1e-2, log=True
    )
    # The highest values are those that whole steps reach.
    assert by_name["epochs"] == Searched(name="epochs", kind="integer", low=4, high=12, step=2)
    assert by_name["weight_decay"].high == 0.4
    assert by_name["dropout"].models == V3
    assert (by_name["slots"].values, by_name["slots"].models) == ((2, 4, 8), V3)
    assert by_name["num_layers"].models == frozenset({"pooled_mlp"})
    assert (by_name["max_length"].values, by_name["max_length"].models) == ((None, 512), None)
    assert by_name["early_stopping_metric"].values == ("val/auroc", "val/loss")


def test_without_a_searched_model_that_of_the_command_counts(tmp_path: Path) -> None:
    text = "parameters:\n  slots: [2, 4]\n  dropout: [0.1]\n"
    space = _read(tmp_path, text, {"model"}, TrainConfig.of(model="v3"))
    assert [searched.models for searched in space.parameters] == [V3, V3]
    assert _problems(tmp_path, text) == [
        "slots: no trial has it: it is of v3, not of pooled_mlp",
    ]


def test_the_description_is_json_and_does_not_depend_on_the_order(tmp_path: Path) -> None:
    space = _read(tmp_path, BOTH)
    parameters = dict(reversed(yaml.safe_load(BOTH)["parameters"].items()))
    other = _read(tmp_path, yaml.safe_dump({"sampler": "random", "parameters": parameters}, sort_keys=False))
    assert other.names != space.names
    assert json.dumps(other.description()) == json.dumps(space.description())
    assert space.description()["max_length"] == {"kind": "choice", "values": [None, 512]}
    assert space.description()["epochs"] == {
        "kind": "integer",
        "low": 4,
        "high": 12,
        "log": False,
        "step": 2,
    }
    assert space.description()["slots"] == {"kind": "choice", "values": [2, 4, 8], "models": ["v3"]}
    assert _read(tmp_path, BOTH.replace("high: 13", "high: 15")).description() != space.description()


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            "lerning_rate: [1]",
            "lerning_rate: no such parameter; did you mean learning_rate or min_learning_rate?",
        ),
        (
            "epochs: {low: 8, high: 4}",
            "epochs: low and high: expected low below high; low is 8, and high is 4",
        ),
        ("epochs: {low: 4, high: 4}", "epochs: low and high: expected low below high; both are 4"),
        (
            "weight_decay: {low: 0, high: 1, log: yes}",
            "weight_decay: low: log needs a value above 0; got 0.0",
        ),
        ("epochs: {low: 1, high: 9, log: yes, step: 2}", "epochs: step does not go with log"),
        ("epochs: {low: 1, high: 9, step: 0}", "epochs: step: expected a value above 0; got 0"),
        ("epochs: {low: 1, high: 9, step: 9}", "epochs: step: 9 is more than the whole range"),
        ("epochs: {low: 1, high: 9, step: 0.5}", "epochs: step: expected a whole number, got 0.5"),
        ("epochs: {low: 1.5, high: 9}", "epochs: low: expected a whole number, got 1.5"),
        ("epochs: {low: 1, high: .inf}", "epochs: high: expected a whole number, got inf"),
        (
            f"epochs: {{low: 1, high: 1{'0' * 400}}}",
            f"epochs: expected a value at most 1000000; got 1{'0' * 400}",
        ),
        ("epochs: {low: 1, high: 9, log: maybe}", "epochs: log: expected true or false, got 'maybe'"),
        ("epochs: {low: 1}", "epochs: high is missing"),
        ("epochs: {log: true}", "epochs: expected values, or low and high"),
        ("epochs: 3", "epochs: expected a list of values, or low and high; got 3"),
        ("epochs: {low: 1, high: 9, stpe: 2}", "epochs.stpe: no such key; did you mean step?"),
        ("epochs: {values: [1], low: 1}", "epochs: low does not go with values"),
        ("epochs: {values: 3}", "epochs: expected a list of one or more values; got 3"),
        ("epochs: []", "epochs: expected a list of one or more values; got []"),
        ("epochs: [4, 8, '4']", "epochs: '4' is listed twice"),
        ("epochs: [4, null]", "epochs: expected a whole number, got None"),
        ("epochs: [0, 4]", "epochs: expected a value at least 1; got 0"),
        ("dropout: {low: 0, high: 1}", "dropout: expected a value below 1; got 1.0"),
        ("dropout: [0.5, -1]", "dropout: expected a value at least 0; got -1.0"),
        ("device: [cpu, gpu]", "device: expected auto, cpu, cuda or cuda:N; got 'gpu'"),
        (
            "weight_decay: {low: 0, high: 1000, step: 1e-9}",
            "weight_decay: low and high are more than 1,000,000 steps apart",
        ),
        (
            "amp: {low: 1, high: 2}",
            "amp: low and high are for numbers, and this is text; list its values",
        ),
        (
            "embedder: [descriptors, protein_lm]",
            "embedder: with protein_lm, embedder_run_id: required with embedder=protein_lm; "
            "the ID of a run of train_embedder",
        ),
        ("fasta: [a.fasta]", "fasta: cannot be searched: all trials have the same files"),
        ("embeddings: [a]", "embeddings: cannot be searched: all trials have the same embeddings"),
        ("output_dir: [a]", "output_dir: cannot be searched: the sweep decides where its trials write"),
        ("data_dir: [a]", "data_dir: cannot be searched: the sweep decides where its trials write"),
        ("mirror: [a]", "mirror: cannot be searched: all trials have the same data"),
        ("split_seed: [0, 1]", "split_seed: cannot be searched: all trials have the same data"),
        ("dataset: [example]", "dataset: cannot be searched: all trials have the same data"),
        ("missing: [drop]", "missing: cannot be searched: all trials have the same data"),
        ("processes: [1]", "processes: cannot be searched: the sweep divides the machine among its trials"),
        ("offline: [yes]", "offline: cannot be searched: the sweep decides where its trials are recorded"),
        (
            "tracking_flush_seconds: [1]",
            "tracking_flush_seconds: cannot be searched: the sweep decides where its trials are recorded",
        ),
        (
            "epochs: {values: [1], when: {model: v4}}",
            "epochs: when: no such model: 'v4'; known: contact_map, pair_transformer, pooled_mlp, v3",
        ),
        (
            "epochs: {values: [1], when: {model: v3}}",
            "epochs: when: no trial has the model v3, only pooled_mlp",
        ),
        (
            "epochs: {values: [1], when: v3}",
            "epochs: when: expected `model:` and one model or a list of them; got 'v3'",
        ),
        (
            "epochs: {values: [1], when: {model: [[v3]]}}",
            "epochs: when: expected `model:` and one model or a list of them; got {'model': [['v3']]}",
        ),
        (
            "slots: {values: [1], when: {model: pooled_mlp}}",
            "slots: when: pooled_mlp has no such parameter; it is of v3",
        ),
        (
            "model: {values: [v3], when: {model: v3}}",
            "model: when: a condition is one of the model, and does not go with it",
        ),
    ],
)
def test_each_mistake_has_its_message(tmp_path: Path, entry: str, problem: str) -> None:
    assert _of(tmp_path, entry) == [problem]


def test_mistakes_outside_the_parameters(tmp_path: Path) -> None:
    assert _problems(tmp_path, "sampler: gird\ntrials: 3\nparameters: {epochs: [1]}") == [
        "trials: no such key; known: sampler, parameters",
        "sampler: expected one of tpe, random, grid; got 'gird'; did you mean grid?",
    ]
    expected = "parameters: expected one or more names with their values, such as `epochs: [4, 8]`; got "
    assert _problems(tmp_path, "sampler: tpe") == [expected + "none"]
    assert _problems(tmp_path, "") == [expected + "none"]
    assert _problems(tmp_path, "parameters: [epochs]") == [expected + "['epochs']"]


def test_a_parameter_that_is_also_given_is_refused(tmp_path: Path) -> None:
    assert _problems(tmp_path, "parameters: {epochs: [1], model: [v3]}", {"epochs", "model"}) == [
        "model: searched, and also given to the command; leave one of them out",
        "epochs: searched, and also given to the command; leave one of them out",
    ]


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = """
sampler: bayes
parameters:
  learning_rate: {low: 1e-2, high: 1e-4}
  epochs: {low: 0, high: 5, step: -1}
  hidden_dim: []
  batchsize: [3]
  model: [pooled_mlp, v5]
  slots: [2, 2]
"""
    assert _problems(tmp_path, text) == [
        "sampler: expected one of tpe, random, grid; got 'bayes'",
        "model: expected one of contact_map, pair_transformer, pooled_mlp, v3; got 'v5'",
        "learning_rate: low and high: expected low below high; low is 0.01, and high is 0.0001",
        "epochs: step: expected a value above 0; got -1",
        "epochs: expected a value at least 1; got 0",
        "hidden_dim: expected a list of one or more values; got []",
        "batchsize: no such parameter; did you mean batch_size or batch_order?",
        "slots: 2 is listed twice",
    ]


def test_what_another_searched_parameter_solves_is_no_problem(tmp_path: Path) -> None:
    text = "parameters: {embedder: [descriptors, protein_lm], embedder_run_id: [abc]}"
    assert _read(tmp_path, text).names == ("embedder", "embedder_run_id")


def test_suggestions_stay_within_bounds_and_heed_conditions(tmp_path: Path) -> None:
    space = _read(tmp_path, BOTH)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = []
    for _ in range(200):
        trial = study.ask()
        values = space.suggest(trial, "contact_map")
        assert {name: stored(value) for name, value in values.items()} == pytest.approx(trial.params)
        load_config(TrainConfig, values)
        trials.append(values)
        study.tell(trial, 0.0)
    common = {"model", "learning_rate", "epochs", "weight_decay", "max_length", "early_stopping_metric"}
    own = {"pooled_mlp": {"num_layers"}, "v3": {"dropout", "slots"}}
    assert all(values.keys() == common | own[str(values["model"])] for values in trials)
    seen = {name: {values[name] for values in trials if name in values} for name in space.names}
    assert seen["epochs"] == {4, 6, 8, 10, 12}
    assert seen["weight_decay"] == {0.1, 0.2, 0.3, 0.4}
    assert seen["slots"] == {2, 4, 8}
    assert seen["num_layers"] == {1, 2, 3}
    assert seen["max_length"] == {None, 512}
    assert seen["early_stopping_metric"] == {"val/auroc", "val/loss"}
    rates = sorted(float(str(rate)) for rate in seen["learning_rate"])
    assert 1e-4 <= rates[0] < 2e-4
    assert 5e-3 < rates[-1] <= 1e-2
    # Half of the values of a log range are below its geometric mean.
    assert 70 < sum(rate < 1e-3 for rate in rates) < 130


def test_a_grid_has_each_combination_once(tmp_path: Path) -> None:
    text = """
sampler: grid
parameters:
  epochs: {low: 2, high: 3}
  dropout: {low: 0.1, high: 0.3, step: 0.1, when: {model: [v3]}}
  model: [pooled_mlp, v3]
"""
    space = _read(tmp_path, text)
    of_v3 = [
        {"model": "v3", "epochs": epochs, "dropout": dropout}
        for epochs, dropout in itertools.product((2, 3), (0.1, 0.2, 0.3))
    ]
    expected = [{"model": "pooled_mlp", "epochs": 2}, {"model": "pooled_mlp", "epochs": 3}, *of_v3]
    assert space.grid("pooled_mlp") == expected
    assert space.grid_size("pooled_mlp") == 8


def test_a_grid_of_the_commands_model(tmp_path: Path) -> None:
    text = "sampler: grid\nparameters: {epochs: [4, 2], slots: [1, 2]}"
    space = _read(tmp_path, text, {"model"}, TrainConfig.of(model="v3"))
    assert space.grid("v3") == [{"epochs": epochs, "slots": slots} for epochs in (4, 2) for slots in (1, 2)]
    assert space.grid_size("v3") == 4


def test_what_a_grid_cannot_have(tmp_path: Path) -> None:
    assert _of(tmp_path, "dropout: {low: 0.1, high: 0.3}", "grid") == [
        "dropout: a grid needs a step for a range of numbers, or a list of values"
    ]
    assert _of(tmp_path, "epochs: {low: 1, high: 8, log: true}", "grid") == [
        "epochs: a grid has no log ranges; list the values"
    ]
    assert _of(tmp_path, "seed: {low: 0, high: 4294967295}", "grid") == [
        "sampler: this grid has 4,294,967,296 combinations; expected at most 100,000"
    ]


def test_every_model_has_a_default_space() -> None:
    assert DEFAULT_PARAMETERS.keys() == MODEL_FACTORIES.keys()


@pytest.mark.parametrize("model", MODEL_FACTORIES)
def test_the_corners_of_a_default_space_are_valid(model: str) -> None:
    space = default_space(model, TrainConfig(), set())
    assert space.names == tuple(DEFAULT_PARAMETERS[model])
    ends = [searched.values or (searched.low, searched.high) for searched in space.parameters]
    for corner in itertools.product(*((values[0], values[-1]) for values in ends)):
        values = {"model": model, **dict(zip(space.names, corner, strict=True))}
        config, warnings = load_config(TrainConfig, values)
        assert (config.model.model, warnings) == (model, [])
        config.model.factory(**config.model.hyperparameters)


@pytest.mark.parametrize("model", MODEL_FACTORIES)
def test_the_present_default_is_within_each_default_space(model: str) -> None:
    config = TrainConfig.of(model=model)
    present = {**config.values, **config.model.hyperparameters}
    for searched in default_space(model, config, set()).parameters:
        value = present[searched.name]
        if searched.kind == "choice":
            assert value in searched.values, searched.name
        else:
            assert isinstance(value, int | float)
            assert searched.low <= value <= searched.high, searched.name
            assert searched.step is None or any(
                math.isclose(value, float(str(near)), abs_tol=1e-9) for near in searched.all_values()
            ), searched.name


def test_the_default_space_leaves_out_what_is_given() -> None:
    space = default_space("v3", TrainConfig(), {"epochs", "slots", "dataset"})
    assert set(DEFAULT_PARAMETERS["v3"]) - set(space.names) == {"epochs", "slots"}
    with pytest.raises(ConfigError, match="nothing is left to search: the default search space of v3"):
        default_space("v3", TrainConfig(), set(DEFAULT_PARAMETERS["v3"]))
