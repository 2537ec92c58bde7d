"""Tests of prediction parts: other jobs, concurrent processes, and damage."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.errors import ConfigError, DataError
from ppi_train.inference.output_parts import check_outputs, held_prediction, part_of, write_part

JOB = {"checkpoint": "c1", "top_k": 3}


def numbers(*values: int) -> dict[str, np.ndarray]:
    return {"a": np.array(values, np.int32)}


def read(output: Path) -> list[int]:
    with held_prediction(output, JOB, overwrite=False) as parts:
        return [number for columns in parts.columns() for number in columns["a"].tolist()]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output beside which the parts of three tasks lie."""
    path = tmp_path / "table.parquet"
    with held_prediction(path, JOB, overwrite=False) as parts:
        for number, values in ((2, (3,)), (0, (1, 2)), (1, ())):
            parts.add(write_part(parts.folder, number, numbers(*values)))
        assert parts.done == {0, 1, 2}
    return path


def test_another_process_finds_them_in_order(output: Path) -> None:
    assert read(output) == [1, 2, 3]


def test_what_was_never_finished_is_no_part_and_goes_with_the_folder(output: Path) -> None:
    unfinished = parts_folder(output) / "00000003.0123456789ab.unfinished"
    unfinished.write_bytes(b"half")
    assert read(output) == [1, 2, 3]
    assert unfinished.exists()  # another process may be writing it
    with held_prediction(output, JOB, overwrite=False) as parts:
        parts.discard()
    assert not unfinished.exists()


def test_the_task_of_a_damaged_part_alone_is_done_again(
    output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (first,) = parts_folder(output).glob("00000000-*")
    first.write_bytes(first.read_bytes()[:-1])
    assert part_of(first.parent, 0) is None
    with held_prediction(output, JOB, overwrite=False) as parts:
        assert parts.done == {1, 2}
        assert f"{first} is damaged" in caplog.text
        parts.add(write_part(parts.folder, 0, numbers(1, 2)))
        assert part_of(parts.folder, 0) == first
    assert read(output) == [1, 2, 3]


def test_of_two_parts_of_a_task_one_is_taken(output: Path) -> None:
    for values in ((1, 2), (7, 8)):
        write_part(parts_folder(output), 0, numbers(*values))
    assert read(output) in ([1, 2, 3], [7, 8, 3])


def test_those_of_another_job_are_refused_with_what_differs(output: Path) -> None:
    other = {"checkpoint": "c2", "top_k": 3}
    with (
        pytest.raises(ConfigError, match="unfinished parts of another prediction") as caught,
        held_prediction(output, other, overwrite=False),
    ):
        pass
    assert "got: checkpoint=c1\n  expected: checkpoint=c2" in str(caught.value)
    assert read(output) == [1, 2, 3]
    with held_prediction(output, other, overwrite=True) as parts:
        assert not parts.done


def test_two_processes_at_once_are_refused(output: Path) -> None:
    with (
        held_prediction(output, JOB, overwrite=False),
        pytest.raises(ConfigError, match="another process is making this output"),
        held_prediction(output, JOB, overwrite=False),
    ):
        pass


def test_an_output_that_exists_is_refused(tmp_path: Path) -> None:
    table, edges = tmp_path / "table.parquet", tmp_path / "edges.tsv"
    check_outputs(table, edges, overwrite=False)
    edges.touch()
    with pytest.raises(ConfigError, match="the output exists") as caught:
        check_outputs(table, edges, overwrite=False)
    assert "edges.tsv" in str(caught.value)
    check_outputs(table, edges, overwrite=True)
    table.touch()
    with (
        pytest.raises(ConfigError, match="the output exists"),
        held_prediction(table, JOB, overwrite=False),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edges.tsv", "table.parquet"]


@pytest.mark.parametrize("name", ["table.parquet", "edges.tsv"])
def test_a_file_that_exists_is_refused_beside_the_parts_of_the_same_job(output: Path, name: str) -> None:
    edges, foreign = output.with_name("edges.tsv"), output.with_name(name)
    foreign.write_text("mine")
    for refuse in (
        lambda: check_outputs(output, edges, overwrite=False),
        lambda: held_prediction(output, JOB, overwrite=False, edges=edges).__enter__(),
    ):
        with pytest.raises(ConfigError, match=f"the output exists\n.*{name}"):
            refuse()
    assert foreign.read_text() == "mine"
    with held_prediction(output, JOB, overwrite=True, edges=edges) as parts:
        assert len(parts.done) == 3


def test_what_a_killed_process_has_moved_into_place_is_replaced_by_the_next(output: Path) -> None:
    edges, other = output.with_name("edges.tsv"), output.with_name("other.tsv")
    with held_prediction(output, JOB, overwrite=False, edges=edges) as parts:
        parts.about_to_replace([output, edges])
        for path in (edges, output, other):
            path.touch()
    check_outputs(output, edges, overwrite=False)
    with held_prediction(output, JOB, overwrite=False, edges=edges) as parts:
        assert len(parts.done) == 3
    with pytest.raises(ConfigError, match="the output exists"):
        check_outputs(output, other, overwrite=False)


def test_a_folder_that_a_process_of_the_same_number_left_is_no_obstacle(output: Path) -> None:
    folder = parts_folder(output)
    left = folder.with_name(f"{folder.name}.{os.getpid()}.done")
    left.mkdir()
    (left / "rest").touch()
    with held_prediction(output, JOB, overwrite=False) as parts:
        parts.discard()
    assert not folder.exists()


def test_what_failed_before_its_first_part_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with held_prediction(tmp_path / "table.parquet", JOB, overwrite=False):
            raise DataError("a number is not finite")

    with pytest.raises(DataError):
        fail()
    assert not list(tmp_path.iterdir())
