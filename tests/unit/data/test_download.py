from __future__ import annotations

import functools
import hashlib
import http.server
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppi_train.data.catalogue import CATALOGUE, CatalogueFile, benchmark
from ppi_train.data.download import NotInMirrorError, fetch
from ppi_train.errors import ConfigError, DownloadError

CONTENT = b"P1\tP2\t1\n"
FILE = CatalogueFile("https://example.org/data/pairs.tsv", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    file = tmp_path / "mirror" / "example.org" / "data" / "pairs.tsv"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return tmp_path / "mirror"


@pytest.fixture
def server(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = functools.partial(_QuietHandler, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def _files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_from_a_folder_and_only_once(tmp_path: Path, mirror: Path) -> None:
    path = fetch(FILE, data_dir=tmp_path / "data", mirror=str(mirror))
    assert path == tmp_path / "data" / "downloads" / "example.org" / "data" / "pairs.tsv"
    assert path.read_bytes() == CONTENT
    assert fetch(FILE, data_dir=tmp_path / "data", mirror="/no/such/mirror") == path


def test_a_damaged_copy_is_fetched_again(tmp_path: Path, mirror: Path) -> None:
    path = fetch(FILE, data_dir=tmp_path, mirror=str(mirror))
    path.write_bytes(CONTENT[:3])
    assert fetch(FILE, data_dir=tmp_path, mirror=str(mirror)).read_bytes() == CONTENT


def test_from_a_server(tmp_path: Path, server: str) -> None:
    by_mirror = fetch(FILE, data_dir=tmp_path / "one", mirror=server + "/")
    direct = CatalogueFile(f"{server}/example.org/data/pairs.tsv", FILE.sha256)
    by_url = fetch(direct, data_dir=tmp_path / "two", mirror=None)
    assert by_mirror.read_bytes() == by_url.read_bytes() == CONTENT


def test_a_mirror_that_lacks_the_file(tmp_path: Path, mirror: Path, server: str) -> None:
    other = CatalogueFile("https://example.org/data/other.tsv", FILE.sha256)
    for one in (str(mirror), server):
        with pytest.raises(NotInMirrorError, match="the mirror does not hold the file") as caught:
            fetch(other, data_dir=tmp_path / "data", mirror=one)
        assert f"{one}/example.org/data/other.tsv" in str(caught.value)
        assert "PPI_TRAIN_MIRROR" in str(caught.value)
    assert not _files_under(tmp_path / "data")


def test_another_file_than_the_catalogue_names(tmp_path: Path, mirror: Path) -> None:
    wrong = CatalogueFile(FILE.url, "0" * 64)
    with pytest.raises(DownloadError, match="not the one that the catalogue names") as caught:
        fetch(wrong, data_dir=tmp_path / "data", mirror=str(mirror))
    assert f"got: sha256 {FILE.sha256}" in str(caught.value)
    assert f"expected: sha256 {'0' * 64}" in str(caught.value)
    assert not _files_under(tmp_path / "data")


def test_the_mirror_itself_is_wrong(tmp_path: Path) -> None:
    for mirror, part in ((str(tmp_path / "none"), "is not there"), ("ftp://host/x", "neither a folder nor")):
        with pytest.raises(DownloadError, match=part) as caught:
            fetch(FILE, data_dir=tmp_path / "data", mirror=mirror)
        assert not isinstance(caught.value, NotInMirrorError)
        assert "PPI_TRAIN_MIRROR" in str(caught.value)


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = CatalogueFile(f"http://127.0.0.1:{port}/pairs.tsv", FILE.sha256)
    with pytest.raises(DownloadError, match="the server cannot be reached") as caught:
        fetch(file, data_dir=tmp_path, mirror=None)
    assert "parameter mirror or the variable PPI_TRAIN_MIRROR" in str(caught.value)
    assert not _files_under(tmp_path)


def test_a_server_that_refuses(tmp_path: Path, server: str) -> None:
    file = CatalogueFile(f"{server}/none.tsv", FILE.sha256)
    with pytest.raises(DownloadError, match="does not give the file") as caught:
        fetch(file, data_dir=tmp_path / "data", mirror=None)
    assert "HTTP status 404" in str(caught.value)


def test_a_file_without_a_known_digest_is_said_to_be_unchecked(
    tmp_path: Path, mirror: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fetch(CatalogueFile(FILE.url), data_dir=tmp_path / "data", mirror=str(mirror))
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "was NOT CHECKED" in warnings[0]
    assert str(FILE.sha256) in warnings[0]
    assert not [one for one in caplog.records if one.name == "pooch"]


def test_a_data_dir_that_cannot_be_written(tmp_path: Path, mirror: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be stored"):
        fetch(FILE, data_dir=tmp_path / "file", mirror=str(mirror))


def test_the_catalogue_is_complete() -> None:
    assert {"bernett", "pring_arath", "pring_yeast", "pring_ecoli", "pring_human"} == set(CATALOGUE)
    for name, one in CATALOGUE.items():
        assert one.name == name
        assert one.title
        assert one.licence
        assert one.citation
        unchecked = [role for role, file in one.files.items() if file.sha256 is None]
        assert unchecked == (["sequences"] if name == "pring_human" else [])
        assert all(len(file.sha256 or "0" * 64) == 64 for file in one.files.values())
        assert len({file.url for file in one.files.values()}) == len(one.files)


def test_an_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean pring_arath") as caught:
        benchmark("pring_arat")
    assert "one of bernett, pring_arath" in str(caught.value)
