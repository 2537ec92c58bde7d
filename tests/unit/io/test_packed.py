"""Tests of packed files: unpacked whole or as a stream, with their bounds."""

from __future__ import annotations

import bz2
import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from ppi_train.errors import DataError
from ppi_train.io import packed
from ppi_train.io.packed import line_blocks, unpack, unpacked_parts


def _zstd(data: bytes) -> bytes:
    found: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return found


PACKINGS = [bytes, gzip.compress, bz2.compress, _zstd]
NAMED = [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (_zstd, "zstd")]
STRETCH = 1 << 16


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts and bounds: bzip2 takes long for many megabytes."""
    monkeypatch.setattr(packed, "LONGEST_STRETCH", STRETCH)
    monkeypatch.setattr(packed, "_BLOCK", 2 * STRETCH)
    monkeypatch.setattr(packed, "unpacked_limit", lambda _: 20 * STRETCH)


def _lines(path: Path) -> bytes:
    """The content, after a check of the numbers of lines."""
    content = b""
    for block in line_blocks(path, "table", unpacked_parts(path, "table")):
        assert block.line == content.count(b"\n") + 1
        assert not content or content.endswith(b"\n")
        content += block.data
    return content


@pytest.mark.parametrize("pack", PACKINGS)
@pytest.mark.parametrize("text", [b"a", b"a\n\nb", b"\xef\xbb\xbfa\r\nb\r\n", b"line\n" * 200_000])
def test_a_stream_has_the_same_content(pack: Callable[[bytes], bytes], text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(text))
    assert _lines(path) == text.removeprefix(b"\xef\xbb\xbf")
    assert unpack(path, pack(text), "table", b"\n") == text


@pytest.mark.parametrize("pack", PACKINGS)
def test_a_line_without_end(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(os.urandom(3 * STRETCH).replace(b"\n", b"").replace(b"\0", b"") * 2))
    with pytest.raises(DataError, match="the table has a sequence or a line without end"):
        _lines(path)


@pytest.mark.parametrize(("pack", "name"), NAMED)
def test_bombs(pack: Callable[[bytes], bytes], name: str, tmp_path: Path) -> None:
    data = pack(b"line\n" * (5 * STRETCH))
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"the {name} file unpacks to more than a table can"):
        _lines(path)
    with pytest.raises(DataError, match=f"the {name} file unpacks to more than a table can"):
        unpack(path, data, "table", b"\n")


@pytest.mark.parametrize(("pack", "name"), NAMED)
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_files_that_are_cut_short(
    pack: Callable[[bytes], bytes], name: str, cut: int, tmp_path: Path
) -> None:
    data = pack(os.urandom(1000))[:-cut]
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"the {name} file is cut short or damaged"):
        list(unpacked_parts(path, "table"))
    with pytest.raises(DataError, match=f"the {name} file is cut short or damaged"):
        unpack(path, data, "table", b"\n")


def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(b"a\nb\n"),))
    writer.start()
    assert _lines(path) == b"a\nb\n"
    writer.join()
