"""Tests of reading and writing whole files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ppi_train.errors import DataError
from ppi_train.io.files import file_digest, read_file, reading, write_file


def test_the_digest_of_a_file_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    for content in (b"", b"P1\tMKV\n", bytes(range(256)) * 5000):
        write_file(tmp_path / "file", content)
        assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "absent")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(), "the list is not there\n  where: x\n  to do: check the path"),
        (IsADirectoryError(), "the list is a directory\n  where: x\n  expected: a file"),
        (OSError(5, "Input/output error"), "the list cannot be read\n  where: x\n  got: Input/output error"),
    ],
)
def test_an_unreadable_file_is_reported_by_name(error: OSError, message: str) -> None:
    with pytest.raises(DataError) as caught, reading("x", "list"):
        raise error
    assert str(caught.value).startswith(message)


def test_a_file_over_the_limit_or_empty_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "list", b"12345")
    assert read_file(tmp_path / "list", "list", limit=5) == b"12345"
    with pytest.raises(DataError, match=r"the list is too large to be read whole[\s\S]*at most 4 bytes"):
        read_file(tmp_path / "list", "list", limit=4)
    write_file(tmp_path / "list", b"")
    with pytest.raises(DataError, match=r"the list is empty"):
        read_file(tmp_path / "list", "list")
    assert [path.name for path in tmp_path.iterdir()] == ["list"]
