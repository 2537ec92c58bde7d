"""Tests of config loading from defaults, file and overrides, and its messages."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ppi_train.config.fields import describe_fields
from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import config_values, load_config, logged_parameters
from ppi_train.errors import ConfigError
from ppi_train.runs.configs import (
    MODES,
    CompareConfig,
    EmbedConfig,
    EvalConfig,
    ExplainConfig,
    ImportConfig,
    PipelineConfig,
    PredictConfig,
    PrepareDataConfig,
    SplitConfig,
    SweepConfig,
    TrainConfig,
    TrainEmbedderConfig,
)


def _file(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def _message(
    overrides: dict[str, object] | None = None,
    *,
    schema: type[ModeConfig] = TrainConfig,
    config_file: str | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(schema, overrides or {}, config_file=config_file)
    return str(caught.value)


def test_nothing_given_means_the_defaults() -> None:
    config, warnings = load_config(TrainConfig, {})
    assert config == TrainConfig()
    assert (config.scheduler.scheduler, config.pairs.train_pairs) == ("cosine", None)
    assert warnings == []


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = _file(tmp_path, "epochs: 3\nlearning_rate: 1e-4\ndeterministic: yes\n")
    config, _ = load_config(TrainConfig, {"epochs": "5", "amp": "bf16"}, config_file=path)
    assert (config.training.epochs, config.training.learning_rate) == (5, 1e-4)
    assert (config.compute.deterministic, config.compute.amp) == (True, "bf16")
    assert config.sampling == TrainConfig().sampling


def test_the_empty_text_and_null_are_not_given(tmp_path: Path) -> None:
    path = _file(tmp_path, "epochs: 3\nfasta: ''\nval_pairs:\nmax_length: null\n")
    config, warnings = load_config(TrainConfig, {"epochs": "", "seed": None}, config_file=path)
    assert config == TrainConfig.of(epochs=3)
    assert warnings == []


NO_MODEL = "run_id: required (or model_uri, or released); give the ID of a finished training run"


@pytest.mark.parametrize("text", ["", "\n# nothing set\n", "---\n"])
def test_an_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    config, _ = load_config(TrainConfig, {}, config_file=_file(tmp_path, text))
    assert config == TrainConfig()


def test_an_unknown_name_in_the_file_or_in_the_overrides(tmp_path: Path) -> None:
    path = _file(tmp_path, "learning_rat: 1e-4\n")
    message = _message({"epoch": "3", "zzz": "1"}, config_file=path)
    assert message.startswith("the configuration has 3 problems:\n")
    assert f"- {path}: learning_rat: no such parameter; did you mean learning_rate" in message
    assert "- epoch: no such parameter; did you mean epochs" in message
    assert "- zzz: no such parameter; known: accumulation_steps, adam_beta2, amp, batch_order" in message


def test_a_name_with_its_value_is_answered_with_the_option() -> None:
    message = _message({"fasta=a=b.fasta": "?", "fsata=x.fasta": "?"})
    assert "- fasta=a=b.fasta: expected --fasta a=b.fasta" in message
    assert "- fsata=x.fasta: no such parameter; did you mean fasta?" in message


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = _file(tmp_path, "learning_rate: abc\nmodle: pooled_mlp\ntrain_pairs: train.tsv\n")
    message = _message({"epochs": "0", "amp": "fp8", "device": "gpu"}, config_file=path)
    assert message.splitlines() == [
        "the configuration has 7 problems:",
        f"  - {path}: learning_rate: expected a finite number, got 'abc'",
        f"  - {path}: modle: no such parameter; did you mean model?",
        "  - epochs: expected a value at least 1; got 0",
        "  - amp: expected one of auto, off, bf16, fp16; got 'fp8'",
        "  - val_pairs: required, since train_pairs is given",
        "  - fasta or embeddings: one is required, since train_pairs is given",
        "  - device: expected auto, cpu, cuda or cuda:N; got 'gpu'",
    ]


def test_a_refused_value_is_not_also_called_absent(tmp_path: Path) -> None:
    message = _message(schema=EvalConfig, config_file=_file(tmp_path, "run_id: 12345678\n"))
    assert "run_id: expected text, got 12345678; quote it" in message
    assert "required" not in message


@pytest.mark.parametrize(
    ("schema", "name", "value", "problem"),
    [
        (TrainConfig, "learning_rate", "0", "expected a value above 0; got 0.0"),
        (TrainConfig, "gradient_clip", "1e7", "expected a value at most 1000000.0; got 10000000.0"),
        (TrainConfig, "gradient_clip", "inf", "expected a finite number, got 'inf'"),
        (TrainConfig, "gradient_clip", "nan", "expected a finite number, got 'nan'"),
        (TrainConfig, "dropout", "1", "expected a value below 1; got 1.0"),
        (TrainConfig, "dropout", "-0.1", "expected a value at least 0; got -0.1"),
        (TrainConfig, "batch_size", "64.0", "expected a whole number, got '64.0'"),
        (TrainConfig, "deterministic", "maybe", "expected true or false, got 'maybe'"),
        (TrainConfig, "max_length", "0", "expected a value at least 1; got 0"),
        (PrepareDataConfig, "splits", "train,dev", "expected one of train, validation, test; got 'dev'"),
        (PrepareDataConfig, "splits", ",", "expected one or more of train, validation, test; got none"),
    ],
)
def test_bounds_types_and_choices(schema: type[ModeConfig], name: str, value: str, problem: str) -> None:
    expected = f"the configuration has a problem:\n  - {name}: {problem}"
    assert _message({name: value}, schema=schema) == expected


def test_one_key_twice_names_the_line(tmp_path: Path) -> None:
    path = _file(tmp_path, "epochs: 1\nseed: 2\nepochs: 3\n")
    message = _message(config_file=path)
    assert "the config file is not valid YAML" in message
    assert f"where: {path}" in message
    assert "the key 'epochs' is given twice" in message
    assert 'in "config.yaml", line 3, column 1' in message


def test_bad_yaml_names_the_line(tmp_path: Path) -> None:
    message = _message(config_file=_file(tmp_path, "epochs: 1\nsplits: [train\nseed: 2\n"))
    assert "the config file is not valid YAML" in message
    assert 'in "config.yaml", line 3' in message


def test_yaml_that_would_make_objects_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "made"
    message = _message(config_file=_file(tmp_path, f"seed: !!python/object/apply:os.mkdir ['{target}']\n"))
    assert "could not determine a constructor" in message
    assert not target.exists()


@pytest.mark.parametrize(("text", "got"), [("- epochs\n", "list"), ("epochs\n", "str"), ("1: 2\n", "dict")])
def test_a_file_that_is_no_mapping_of_names(tmp_path: Path, text: str, got: str) -> None:
    message = _message(config_file=_file(tmp_path, text))
    assert "the config file is not a mapping of parameters" in message
    assert f"got: {got}" in message
    assert "expected: lines such as `learning_rate: 1e-3`" in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    absent = tmp_path / "none.yaml"
    for path in (str(absent), str(tmp_path), _file(tmp_path, b"epochs: \xff\n")):
        message = _message(config_file=path)
        assert "the config file cannot be read" in message
        assert f"where: {path}" in message


def test_scheduler_settings_beside_no_scheduler_are_named(tmp_path: Path) -> None:
    path = _file(tmp_path, "scheduler: none\nwarmup_fraction: 0.1\n")
    _, warnings = load_config(TrainConfig, {"plateau_patience": "4"}, config_file=path)
    assert warnings == [
        "warmup_fraction=0.1 has no effect: scheduler=none",
        "plateau_patience=4 has no effect: scheduler=none",
    ]


def test_plateau_settings_beside_another_scheduler_are_named() -> None:
    given: dict[str, object] = {"plateau_factor": "0.1", "min_learning_rate": "1e-5"}
    _, warnings = load_config(TrainConfig, {**given, "scheduler": "cosine"})
    assert warnings == ["plateau_factor=0.1 has no effect: scheduler=cosine"]
    assert load_config(TrainConfig, {**given, "scheduler": "plateau"})[1] == []


@pytest.mark.parametrize("scheduler", ["none", "cosine", "plateau"])
def test_settings_that_were_not_given_cause_no_warning(scheduler: str) -> None:
    assert load_config(TrainConfig, {"scheduler": scheduler})[1] == []


def test_patience_beyond_the_last_epoch_is_named() -> None:
    _, warnings = load_config(TrainConfig, {"epochs": "2", "early_stopping_patience": "5"})
    assert warnings == ["early_stopping_patience=5 has no effect: epochs=2"]
    assert load_config(TrainConfig, {"epochs": "2"})[1] == []


@pytest.mark.parametrize(
    ("schema", "given", "problems"),
    [
        (
            TrainConfig,
            {"train_pairs": "a.tsv", "fasta": "a.fasta"},
            ["val_pairs: required, since train_pairs is given"],
        ),
        (
            TrainConfig,
            {"val_pairs": "a.tsv", "embeddings": "a.parquet"},
            ["train_pairs: required, since val_pairs is given"],
        ),
        (
            TrainConfig,
            {"train_pairs": "a.tsv", "val_pairs": "b.tsv"},
            ["fasta or embeddings: one is required, since train_pairs is given"],
        ),
        (
            TrainConfig,
            {"train_pairs": "a.tsv", "val_pairs": "b.tsv", "fasta": "a.fasta", "dataset": "example"},
            ["dataset and train_pairs: give one of them, not both"],
        ),
        (TrainConfig, {"fasta": "a.fasta"}, ["fasta: goes with train_pairs and val_pairs"]),
        (
            EmbedConfig,
            {"fasta": "a", "dataset": "example"},
            ["fasta and dataset: give one of them, not both"],
        ),
        (
            EvalConfig,
            {},
            ["run_id: required (or model_uri, or released); give the ID of a finished training run"],
        ),
        (
            EvalConfig,
            {"run_id": "a", "dataset": "example", "test_pairs": "b"},
            ["dataset and test_pairs: give one of them, not both"],
        ),
        (EvalConfig, {"run_id": "a", "device": "0"}, ["device: expected auto, cpu, cuda or cuda:N; got '0'"]),
        (TrainConfig, {"device": "cuda:"}, ["device: expected auto, cpu, cuda or cuda:N; got 'cuda:'"]),
    ],
)
def test_fields_that_do_not_go_together(
    schema: type[ModeConfig], given: dict[str, object], problems: list[str]
) -> None:
    assert _message(given, schema=schema).splitlines()[1:] == [f"  - {problem}" for problem in problems]


@pytest.mark.parametrize(
    "given",
    [
        {"dataset": "bernett", "embeddings": "a.parquet"},
        {"train_pairs": "a.tsv", "val_pairs": "b.tsv", "fasta": "a.fasta"},
        {"train_pairs": "a.tsv", "val_pairs": "b.tsv", "embeddings": "a.parquet"},
        {"device": "cuda"},
        {"device": "cuda:1"},
    ],
)
def test_fields_that_go_together(given: dict[str, object]) -> None:
    config, warnings = load_config(TrainConfig, given)
    assert {name: config.values[name] for name in given} == given
    assert warnings == []


# Values of parameters that do not take any text.
_OF_A_FORM: dict[str, object] = {
    "device": "cuda",
    "processes": "auto",
    "checkpoint_every": "12 steps",
    "cluster": "slurm:no.yaml",
    "taxid": ("9606", "10090"),
}


def _other_value(schema: type[ModeConfig], name: str) -> object:
    """A value that is allowed and, where there is another, not the default."""
    spec = {field.name: field for field in describe_fields(schema)}[name]
    if name in _OF_A_FORM:
        return _OF_A_FORM[name]
    if spec.kind == "list":
        return spec.rule.choices[:2] or ("one", "bfs=two")
    if spec.rule.choices:
        return next((choice for choice in spec.rule.choices if choice != spec.default), spec.default)
    if spec.kind == "true/false":
        return not spec.default
    if isinstance(spec.default, float):
        return spec.default / 2 + 1e-5
    if spec.kind == "number":
        return 0.25
    return max(7, int(spec.rule.low or 0)) if spec.kind == "integer" else "no"


OF_A_FASTA = (EmbedConfig, TrainEmbedderConfig, PredictConfig, ExplainConfig)


@pytest.mark.parametrize("mode", list(MODES))
def test_what_is_written_to_a_file_loads_to_an_equal_config(tmp_path: Path, mode: str) -> None:
    schema = MODES[mode]
    values = {spec.name: _other_value(schema, spec.name) for spec in describe_fields(schema)}
    # Either a data set or tables of one's own, not a network; either a run or another name of a model.
    own_tables = {"train_pairs", "test_pairs"} & set(values) or schema in OF_A_FASTA
    left_out = {"finetune_dataset", "model_uri", "released", "network"} | (
        {"dataset"} if own_tables else set()
    )
    # Nor scores of another tool, whose name and kind then have no effect.
    left_out |= {"scores", "score_names", "score_name", "trained_on"}
    for name in left_out & set(values):
        values[name] = None
    if schema is PredictConfig:
        one_kind = {"all_pairs": False, "proteins_a": None, "proteins_b": None, "protein": None}
        values |= {**one_kind, "output": "no.parquet", "edges": "no.tsv"}
    if schema is PipelineConfig:
        values["offline"] = False  # its stages need the server
    if schema is SweepConfig:
        values |= {"offline": False, "processes": 1, "storage": "journal:no.log"}
    config = schema.of(**values)
    written = _file(tmp_path, yaml.safe_dump(config_values(config)))
    assert load_config(schema, {}, config_file=written)[0] == config
    needed = {"run_id", "pretrain_run_id", "registered_model"} if schema is not PipelineConfig else set()
    if schema is ImportConfig:
        needed = {"source", "fasta", "output", "embedder_name"}
    if schema is SplitConfig:
        needed = {"pairs", "output"}
    if schema in (PredictConfig, ExplainConfig):
        needed |= {"pairs", "output", "fasta", "protein_a", "protein_b"}
    named: dict[str, object] = dict.fromkeys(needed & set(values), "no")
    if schema is PredictConfig:
        named["output"] = "no.parquet"
    if schema is CompareConfig:
        named["run_ids"] = ("one", "other")
    required = schema.of(**named)
    written = _file(tmp_path, yaml.safe_dump(config_values(required)))
    assert load_config(schema, {}, config_file=written)[0] == required


def test_logged_parameters_are_texts_by_section() -> None:
    logged = logged_parameters(TrainConfig.of(deterministic=True, learning_rate=1e-4))
    assert len(logged) == len(describe_fields(TrainConfig))
    assert logged["compute.deterministic"] == "true"
    assert logged["training.learning_rate"] == "0.0001"
    assert logged["data.train_pairs"] == ""
    assert all(isinstance(value, str) for value in logged.values())
    splits = ("train", "validation")
    assert logged_parameters(PrepareDataConfig.of(splits=splits))["data.splits"] == "train,validation"


def test_a_logged_list_is_read_as_the_same_values(tmp_path: Path) -> None:
    """A resumed run is configured by what it logged."""
    files = ["plain.fasta", 'Smith, J./a "b".fasta']
    config, _ = load_config(
        TrainEmbedderConfig, {}, config_file=_file(tmp_path, yaml.safe_dump({"text_fasta": files}))
    )
    logged = logged_parameters(config)["embedder.text_fasta"]
    again, _ = load_config(TrainEmbedderConfig, {"text_fasta": logged})
    assert again.further.text_fasta == config.further.text_fasta == tuple(files)


def test_an_alias_stands_for_its_field(tmp_path: Path) -> None:
    given = {"lm_amp": "bf16", "lm_epochs": "2", "lm_hidden_dim": "8", "lm_learning_rate": "0.01"}
    config, _ = load_config(TrainEmbedderConfig, given)
    assert config == TrainEmbedderConfig.of(amp="bf16", epochs=2, hidden_dim=8, learning_rate=0.01)
    assert logged_parameters(config)["compute.amp"] == "bf16"
    overridden, _ = load_config(TrainEmbedderConfig, given, config_file=_file(tmp_path, "amp: fp16\n"))
    assert overridden == config
    both = _message({"amp": "fp16", "lm_amp": "bf16"}, schema=TrainEmbedderConfig)
    assert "lm_amp and amp: give one of them, not both" in both
    assert "lm_amp: no such parameter" in _message({"lm_amp": "bf16"}, schema=TrainConfig)


@pytest.mark.parametrize(
    ("schema", "name", "value", "most"),
    [
        (TrainConfig, "hidden_dim", "1000000000", "65536"),
        (TrainConfig, "batch_size", str(10**19), "16777216"),
        (TrainConfig, "seed", str(2**63), str(2**43 - 1)),
        (TrainConfig, "data_seed", str(2**63), str(2**43 - 1)),
        (TrainConfig, "epochs", str(10**9), "1000000"),
        (TrainConfig, "members", str(10**9), "1000"),
        (TrainConfig, "max_length", str(10**9), "1000000"),
        (TrainConfig, "learning_rate", "1e300", "100.0"),
        (TrainConfig, "tracking_flush_seconds", "1e300", "31622400.0"),
        (EvalConfig, "bootstrap_resamples", str(10**12), "1000000"),
    ],
)
def test_upper_bounds(schema: type[ModeConfig], name: str, value: str, most: str) -> None:
    message = _message({name: value, "run_id": "r"} if schema is EvalConfig else {name: value}, schema=schema)
    assert f"  - {name}: expected a value at most {most}; got " in message
    needed = {"run_id": "r"} if schema is EvalConfig else {}
    assert str(load_config(schema, {**needed, name: most})[0].values[name]) == most


@pytest.mark.parametrize("mode", list(MODES))
def test_every_whole_number_has_an_upper_bound(mode: str) -> None:
    for spec in describe_fields(MODES[mode]):
        if spec.kind == "integer" and spec.section != "model":  # `ModelChoice` has the bounds of each model
            assert spec.rule.high is not None, spec.name


@pytest.mark.parametrize("value", ["a\0b", "  ", "\t"])
def test_text_that_is_no_path(value: str) -> None:
    assert "data_dir: expected " in _message({"data_dir": value}, schema=TrainConfig)


def test_an_order_of_batches_that_share_nothing_has_no_effect() -> None:
    _, warnings = load_config(TrainConfig, {"sampling": "uniform", "batch_order": "blocks"})
    assert "batch_order=blocks has no effect: sampling=uniform" in warnings
    assert load_config(TrainConfig, {"batch_order": "blocks"})[0].sampling.batch_order == "blocks"
