"""Residue caches in an object store: requests, bytes, the copy on the disk, and damage."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ppi_train.data.fasta import sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache import file as cache_writer
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.reader import EmbeddingCache, ResidueBatches
from ppi_train.embeddings.cache.remote import index_from_json, index_to_json
from ppi_train.errors import CacheError, DataError
from ppi_train.io import store_cache
from ppi_train.io.store_cache import lazy_copies
from tests.support.object_store import Store, object_store, with_empty_cache

PROTEINS = 320


@pytest.fixture(scope="module")
def started() -> Iterator[Store]:
    with object_store() as store:
        yield store


@pytest.fixture
def store(started: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return with_empty_cache(started, tmp_path / "cache", monkeypatch)


def written(path: Path, granularity: str = "residue") -> Path:
    """A cache of 5 MB in many row groups, with another embedding for each protein."""
    spec = CacheSpec(
        embedder={"name": "noise", "parameters": {}, "digest": "ab" * 32},
        dimension=64,
        granularity=granularity,
        dtype="float16",
        max_length=None,
        truncation="head",
        fasta_digest="cd" * 32,
    )
    rng = np.random.default_rng(0)
    with CacheWriter(path, spec) as writer:
        for number in range(PROTEINS):
            length = int(rng.integers(30, 200))
            shape = (length, 64) if granularity == "residue" else (64,)
            states = rng.normal(size=shape).astype(np.float16)
            writer.add(f"P{number:03d}", sequence_digest(str(number)), length, states)
    return path


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache_writer, "ROW_GROUP_BYTES", 100_000)
    return written(tmp_path / "noise.parquet")


def opened(store: Store, path: Path) -> EmbeddingCache:
    """The cache in the store, as all requests are counted from here on."""
    url = store.put(path.name, path.read_bytes())
    store.reset()
    return EmbeddingCache(lazy_copies(url))


def blocks(cache: EmbeddingCache) -> list[list[str]]:
    """Blocks of 16 neighbouring proteins, in random order."""
    names = list(cache.proteins)
    found = [names[start : start + 16] for start in range(0, len(names), 16)]
    random.Random(0).shuffle(found)
    return found


def bytes_read(cache: EmbeddingCache, batches: Sequence[Sequence[str]]) -> int:
    return sum(batch.states.nbytes for batch in ResidueBatches(cache, batches))


def assert_equal(found: EmbeddingCache, expected: EmbeddingCache) -> None:
    batches = blocks(expected)
    pairs = zip(ResidueBatches(found, batches), ResidueBatches(expected, batches), strict=True)
    assert all(np.array_equal(mine.states, other.states) for mine, other in pairs)


def test_a_cache_opens_by_a_few_requests(store: Store, local: Path) -> None:
    cache, expected = opened(store, local), EmbeddingCache(local)
    assert expected._files[0].group_starts().size > 40
    assert len(store.requests) <= 4
    assert store.sent < local.stat().st_size / 10
    assert cache.digests == expected.digests
    assert cache.lengths == expected.lengths
    assert_equal(cache, expected)


def test_blocks_of_neighbours_are_a_request_each(store: Store, local: Path) -> None:
    cache = opened(store, local)
    store.reset()
    needed = bytes_read(cache, blocks(cache))
    assert len(store.requests) == PROTEINS / 16
    assert store.sent < 1.02 * needed
    store.reset()
    assert bytes_read(cache, blocks(cache)) == needed
    assert store.requests == []


def test_another_process_finds_what_was_fetched(store: Store, local: Path) -> None:
    cache = opened(store, local)
    bytes_read(cache, blocks(cache))
    again = EmbeddingCache(lazy_copies("s3://lab/noise.parquet"))
    store.reset()
    assert_equal(again, EmbeddingCache(local))
    assert store.requests == []


def test_what_has_no_room_is_read_again(
    store: Store, local: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(store_cache.LIMIT_VARIABLE, "0.002")
    cache = opened(store, local)
    assert_equal(cache, EmbeddingCache(local))
    store.reset()
    assert_equal(cache, EmbeddingCache(local))
    assert 0 < len(store.requests) < PROTEINS / 16
    assert store_cache._size_of(tmp_path / "cache") < 2_300_000


def test_a_damaged_copy_is_fetched_again(store: Store, local: Path) -> None:
    cache = opened(store, local)
    bytes_read(cache, blocks(cache))
    copy = lazy_copies("s3://lab/noise.parquet")
    with copy.open("r+b") as file:
        file.seek(100_000)
        file.write(bytes(50_000))
    store.reset()
    assert_equal(cache, EmbeddingCache(local))
    assert 0 < len(store.requests) < 20


def test_a_damaged_object_is_refused(store: Store, local: Path) -> None:
    content = bytearray(local.read_bytes())
    content[200_000] ^= 1
    local.write_bytes(content)
    cache = opened(store, local)
    with pytest.raises(CacheError, match="the residues of P0") as caught:
        bytes_read(cache, blocks(cache))
    assert "where: s3://lab/noise.parquet" in str(caught.value)


def test_an_object_that_is_replaced_meanwhile(store: Store, local: Path) -> None:
    cache = opened(store, local)
    store.put("noise.parquet", bytes(local.stat().st_size))
    with pytest.raises(DataError, match="the object was replaced while it was read"):
        bytes_read(cache, blocks(cache))


def test_a_cache_without_an_index(store: Store, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "MOST_INDEXED", 0)
    cache = opened(store, written(local))
    assert cache.digests == EmbeddingCache(local).digests
    assert_equal(cache, EmbeddingCache(local))


def test_a_folder_of_caches(store: Store, local: Path) -> None:
    store.put("parts/noise.parquet", local.read_bytes())
    cache = EmbeddingCache(lazy_copies("s3://lab/parts"))
    assert cache.digests == EmbeddingCache(local).digests
    assert_equal(cache, EmbeddingCache(local))


def test_vectors_are_fetched_whole(store: Store, tmp_path: Path) -> None:
    path = written(tmp_path / "vectors.parquet", "protein")
    cache = opened(store, path)
    names = list(cache.proteins)
    assert np.array_equal(cache.protein_matrix(names), EmbeddingCache(path).protein_matrix(names))
    store.reset()
    assert cache.digests == EmbeddingCache(lazy_copies("s3://lab/vectors.parquet")).digests
    assert store.requests == ["HEAD /lab/vectors.parquet"]


def test_an_index_is_read_as_it_was_written() -> None:
    text = index_to_json([("P1", "aa", 7), ("P2", "bb", 2**32 - 1)], [10, 20]).encode()
    index = index_from_json(text, 2)
    assert (index.ids, index.digests.to_pylist()) == (["P1", "P2"], ["aa", "bb"])
    assert (index.lengths.tolist(), index.checksums.tolist()) == ([10, 20], [7, 2**32 - 1])


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"ids": 1}', b"[" * 5000, b'{"ids": ["P1"]}'])
def test_an_index_of_other_content_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"index|Expecting"):
        index_from_json(text, 1)
    with pytest.raises(ValueError, match="not one of 3 proteins"):
        index_from_json(index_to_json([("P1", "aa", 7)], [10]).encode(), 3)
