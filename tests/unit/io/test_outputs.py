"""Tests of the check of output paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppi_train.errors import ConfigError
from ppi_train.io.outputs import check_output_path


def test_a_path_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in ("there", "new", "a/b/c", "link", "x" * 200):
        check_output_path("output", tmp_path / path)
    check_output_path("output", tmp_path, folder=True)
    check_output_path("output", tmp_path / "a/b", folder=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "there"]
    assert (tmp_path / "there").read_text() == "x"


@pytest.mark.parametrize(
    ("path", "got", "folder"),
    [
        (".", "Is a directory", False),
        ("file", "Not a directory", True),
        ("file/x", "Not a directory", False),
        ("link/x", "No such file or directory", False),
        ("link", "No such file or directory", True),
        ("circle/x", "Too many levels of symbolic links", False),
        ("x" * 250, "File name too long", False),
        ("x" * 300 + "/y", "File name too long", False),
        ("\udcff", "surrogates not allowed", False),
        ("/proc/x", "", False),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, path: str, got: str, folder: bool) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(ConfigError, match="output cannot be written") as caught:
        check_output_path("output", tmp_path / path, folder=folder)
    assert got in str(caught.value)
    assert "to do: " in str(caught.value)
