"""Object stores: what is read and written, and what is said when a store does not do its part."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppi_train.errors import ConfigError, DataError, UserError, shown
from ppi_train.io import store_cache, stores
from ppi_train.io.store_cache import joined, lazy_copies, lazy_copy, whole_copy
from ppi_train.io.unavailable import UnavailableError
from tests.support.object_store import Store, forget_connections, object_store, with_empty_cache

DATA = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def started() -> Iterator[Store]:
    with object_store() as store:
        yield store


@pytest.fixture
def store(started: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return with_empty_cache(started, tmp_path / "cache", monkeypatch)


def test_ranges_are_read_by_a_request_each(store: Store) -> None:
    found = stores.find(store.put("data.bin", DATA))
    assert found.size == len(DATA)
    assert found.version == f'"{hashlib.md5(DATA).hexdigest()}"'
    store.reset()
    assert stores.read_ranges(found, [(0, 10), (500, 501)]) == [DATA[:10], DATA[500:501]]
    assert store.requests == ["GET /lab/data.bin"] * 2


def test_upload_and_download(store: Store, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(DATA)
    stores.upload(tmp_path / "there", "s3://lab/sent/data.bin")
    stores.download(stores.find("s3://lab/sent/data.bin"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == DATA == store.get("sent/data.bin")
    assert stores.exists("s3://lab/sent/data.bin")
    assert not stores.exists("s3://lab/sent/other.bin")


def test_a_check_of_writing_leaves_nothing(store: Store) -> None:
    stores.check_writable("s3://lab/checked/output.parquet")
    assert not [key for key in store.listing() if key.startswith("checked")]


def refused(kind: type[UserError], url: str = "s3://lab/data.bin") -> str:
    with pytest.raises(kind) as caught:
        stores.find(url)
    return str(caught.value)


def test_no_such_object(store: Store) -> None:
    del store
    assert refused(DataError, "s3://lab/no.bin").startswith("there is no such object in the store\n")


def test_no_such_bucket(store: Store) -> None:
    del store
    assert refused(DataError, "s3://nobodys/no.bin").startswith("there is no such bucket\n")
    with pytest.raises(DataError, match="no such bucket"):
        stores.exists("s3://nobodys/no.bin")
    with pytest.raises(DataError, match="no such bucket"):
        stores.check_writable("s3://nobodys/no.bin")


def test_a_folder_is_no_object(store: Store) -> None:
    store.put("folder/data.bin", DATA)
    assert "not that of an object" in refused(DataError, "s3://lab/folder")


def test_a_bucket_that_may_not_be_read(store: Store) -> None:
    store.forbidden = True
    assert refused(UnavailableError).startswith("the store refuses access\n")


def test_a_short_outage_is_waited_out(store: Store) -> None:
    url = store.put("data.bin", DATA)
    store.refusals = 2
    assert stores.find(url).size == len(DATA)
    assert len(store.requests) == 3


@pytest.mark.slow
def test_an_outage_ends(store: Store) -> None:
    url = store.put("data.bin", DATA)
    found = stores.find(url)
    store.refusals = 1000
    assert refused(UnavailableError).startswith("the store is overloaded or out of order\n")
    with pytest.raises(UnavailableError, match="overloaded or out of order"):
        stores.read_ranges(found, [(0, 10)])
    assert len(store.requests) < 30


def test_a_body_that_was_cut_is_asked_for_again(store: Store, tmp_path: Path) -> None:
    found = stores.find(store.put("data.bin", DATA))
    store.cuts = 1
    assert stores.read_ranges(found, [(0, 1000)]) == [DATA[:1000]]
    store.cuts = 1
    stores.download(found, tmp_path / "came")
    assert (tmp_path / "came").read_bytes() == DATA


def test_bodies_that_are_always_cut_are_refused(store: Store, tmp_path: Path) -> None:
    found = stores.find(store.put("data.bin", DATA))
    store.cuts = 1000
    with pytest.raises(UnavailableError, match="cut its answer short"):
        stores.read_ranges(found, [(0, 1000)])
    with pytest.raises(UnavailableError, match="cut its answer short"):
        stores.download(found, tmp_path / "came")


@pytest.mark.slow
def test_a_slow_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "READ_SECONDS", 0.3)
    forget_connections()
    store.put("data.bin", DATA)
    store.delay = 2
    assert refused(UnavailableError).startswith("the store is too slow, or does not answer\n")


def test_nobody_answers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    del store
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_connections()
    begun = time.monotonic()
    assert refused(UnavailableError).startswith("nobody answers at the store's address\n")
    assert time.monotonic() - begun < 20


def test_no_credentials(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    del store
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_connections()
    message = refused(UnavailableError)
    assert message.startswith("the store wants credentials, and there are none\n")
    assert "AWS_ACCESS_KEY_ID" in message


def test_a_missing_library_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    del store
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    stores._opened.cache_clear()
    message = refused(ConfigError)
    assert message.startswith("addresses of object stores need a library that is not installed\n")
    assert 'pip install "ppi_train[stores]"' in message


def test_an_unknown_kind_of_address() -> None:
    assert refused(ConfigError, "s9://lab/data.bin").startswith("there is no such kind of address\n")


def test_other_file_systems(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(DATA)
    assert stores.find(f"file://{tmp_path}/data.bin").size == len(DATA)


def test_ranges_are_joined() -> None:
    assert joined([(0, 10), (10, 20), (25, 30), (26, 28)], gap=5) == [(0, 30)]
    assert joined([(0, 10), (16, 20)], gap=5) == [(0, 10), (16, 20)]


def test_a_table_is_fetched_once_until_it_changes(store: Store) -> None:
    url = store.put("pairs.tsv", b"P1\tP2\t1\n")
    path = whole_copy(url)
    assert path.name == "pairs.tsv"
    assert path.read_bytes() == b"P1\tP2\t1\n"
    assert shown(f"{path}, line 3") == "s3://lab/pairs.tsv, line 3"
    store.reset()
    assert whole_copy(url) == path
    assert store.requests == ["HEAD /lab/pairs.tsv"]
    store.put("pairs.tsv", b"P1\tP3\t1\n")
    assert whole_copy(url).read_bytes() == b"P1\tP3\t1\n"


def test_a_changed_copy_is_fetched_again(store: Store) -> None:
    path = whole_copy(store.put("pairs.tsv", b"P1\tP2\t1\n"))
    path.write_bytes(b"P1\tP2\t0\n")
    assert whole_copy("s3://lab/pairs.tsv").read_bytes() == b"P1\tP2\t1\n"


def test_an_interrupted_copy_is_not_taken_for_whole(store: Store) -> None:
    url = store.put("pairs.tsv", DATA)
    store.cuts = 1000
    with pytest.raises(UnavailableError, match="cut its answer short"):
        whole_copy(url)
    store.reset()
    assert whole_copy(url).read_bytes() == DATA


def test_copies_stay_within_their_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store_cache.LIMIT_VARIABLE, "0.003")
    urls = [store.put(f"table{number}.tsv", bytes([number]) * 1_000_000) for number in range(3)]
    paths = []
    for url in urls:
        paths.append(whole_copy(url))
        store_cache._IN_USE.clear()  # as when its process has ended
    assert [path.exists() for path in paths] == [False, True, True]
    assert whole_copy(urls[0]).read_bytes() == bytes(1_000_000)


def test_a_file_without_room_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store_cache.LIMIT_VARIABLE, "0.000001")
    with pytest.raises(UserError, match="has no room among the copies on this disk"):
        whole_copy(store.put("pairs.tsv", DATA))
    monkeypatch.setenv(store_cache.LIMIT_VARIABLE, "much")
    with pytest.raises(ConfigError, match="not a number"):
        whole_copy("s3://lab/pairs.tsv")


def test_a_lazy_copy_has_the_bytes_that_were_asked_for(store: Store) -> None:
    path = lazy_copies(store.put("cache.parquet", DATA))
    copy = lazy_copy(path)
    assert copy is not None
    assert path.stat().st_size == len(DATA)
    copy.fetch([(100, 200), (5000, 5100)])
    content = path.read_bytes()
    assert content[100:200] == DATA[100:200]
    assert content[5000:5100] == DATA[5000:5100]
    copy.fetch_all()
    assert copy.is_whole
    assert path.read_bytes() == DATA


def test_an_ordinary_file_is_no_lazy_copy(tmp_path: Path) -> None:
    (tmp_path / "cache.parquet").write_bytes(DATA)
    assert lazy_copy(tmp_path / "cache.parquet") is None


def test_a_folder_without_caches(store: Store) -> None:
    store.put("empty/readme.txt", DATA)
    with pytest.raises(DataError, match="no embedding cache under the address"):
        lazy_copies("s3://lab/empty")
