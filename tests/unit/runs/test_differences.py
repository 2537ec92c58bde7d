"""Tests of how compared runs are labelled, and of what differs between them."""

from __future__ import annotations

from ppi_train.runs.differences import differences_table, differing_parameters, labels_of
from ppi_train.tracking.runs import RunInfo


def run(run_id: str, name: str, **parameters: str) -> RunInfo:
    return RunInfo(
        run_id=run_id * 32, name=name, experiment_id="0", status="FINISHED",
        tags={}, parameters={f"training.{key}": value for key, value in parameters.items()},
        metrics={}, datasets={},
    )  # fmt: skip


def test_names_that_are_equal_in_metrics_make_way_for_ids() -> None:
    runs = [run("1", "a?"), run("2", "a#"), run("3", "b"), run("4", "")]
    assert labels_of(runs) == ["1" * 8, "2" * 8, "b", "4" * 8]


def test_runs_of_one_name_are_labelled_by_what_differs() -> None:
    runs = [
        run("1", "a", seed="1", epochs="5", output_dir="x"),
        run("2", "a", seed="2", epochs="5", output_dir="y"),
    ]
    assert labels_of(runs) == ["seed=1", "seed=2"]
    assert differing_parameters(runs) == {"seed": ("1", "2")}


def test_the_name_stays_where_others_have_another() -> None:
    runs = [run("1", "a", seed="1"), run("2", "a", seed="2"), run("3", "b", seed="1", hidden_dim="8")]
    assert labels_of(runs) == ["seed=1 a", "seed=2 a", "b"]


def test_labels_that_are_long_or_alike_make_way_for_ids() -> None:
    long = [run("1", "a", train_pairs="x" * 60), run("2", "a", train_pairs="y")]
    assert labels_of(long) == ["1" * 8, "train_pairs=y"]
    alike = [run("1", "a", seed="1|2"), run("2", "a", seed="1#2")]
    assert labels_of(alike) == ["1" * 8, "2" * 8]


def test_the_table_lists_what_differs_and_escapes_it() -> None:
    runs = [run("1", "a", loss="x|y", seed="1"), run("2", "b", seed="1")]
    table = differences_table(runs, ["a", "b"])
    assert table is not None
    assert table.markdown() == ["| parameter | a | b |", "| --- | --- | --- |", "| loss | x\\|y | – |"]
    assert differences_table(runs[1:], ["b"]) is None
