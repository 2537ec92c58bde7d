"""Tests of reading residue states in place: packing, bounded memory, and corruption."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppi_train.data.fasta import sequence_digest
from ppi_train.embeddings.cache import CacheSpec, all_finite, cache_schema
from ppi_train.embeddings.cache import file as cache_writer
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.reader import EmbeddingCache, ResidueBatches
from ppi_train.errors import CacheError

DIMENSION = 4
States = dict[str, np.ndarray]


def _spec(dtype: str = "float16", dimension: int = DIMENSION, max_length: int | None = None) -> CacheSpec:
    return CacheSpec(
        embedder={"name": "noise", "parameters": {}, "digest": "ab" * 32},
        dimension=dimension,
        granularity="residue",
        dtype=dtype,
        max_length=max_length,
        truncation="head",
        fasta_digest="cd" * 32,
    )


def _states(lengths: list[int], dtype: str = "float16", dimension: int = DIMENSION) -> States:
    rng = np.random.default_rng(0)
    return {f"P{n}": rng.normal(size=(length, dimension)).astype(dtype) for n, length in enumerate(lengths)}


def _write(path: Path, states: States, spec: CacheSpec | None = None, beyond: int = 0) -> Path:
    """A cache whose sequences are longer by so much than what is kept of them."""
    with CacheWriter(path, spec or _spec()) as writer:
        for protein, rows in states.items():
            writer.add(protein, sequence_digest(protein), len(rows) + beyond, rows)
    return path


def _table(states: States, lengths: list[int] | None = None) -> pa.Table:
    columns = {
        "protein_id": list(states),
        "sequence_digest": [sequence_digest(protein) for protein in states],
        "length": lengths or [len(rows) for rows in states.values()],
        "crc32": [zlib.crc32(rows.tobytes()) for rows in states.values()],
        "embedding": [rows.tobytes() for rows in states.values()],
    }
    return pa.Table.from_pydict(columns, schema=cache_schema(_spec()))


def _read_all(path: Path) -> States:
    cache = EmbeddingCache(path)
    (batch,) = ResidueBatches(cache, [list(cache.lengths)])
    rows = np.split(batch.states, batch.offsets[1:-1])
    return dict(zip(batch.proteins, rows, strict=True))


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that the longest protein is larger than a row group may be, and stands alone in one."""
    monkeypatch.setattr(cache_writer, "ROW_GROUP_BYTES", 4000)


LENGTHS = [1, 30, 7, 2000, 1, 1, 415, 90, 33, 250]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_batches_at_random_and_a_reading_in_order_give_what_was_written(tmp_path: Path, dtype: str) -> None:
    states = _states(LENGTHS, dtype)
    path = _write(tmp_path / "cache.parquet", states, _spec(dtype))
    assert pq.ParquetFile(path).num_row_groups > 3
    cache = EmbeddingCache(path)
    in_order = list(cache.residues(list(reversed(states))))
    assert [name for name, _ in in_order] == list(states)
    for name, rows in in_order:
        np.testing.assert_array_equal(rows, states[name], strict=True)
    batches = [["P9", "P3", "P0"], ["P3"], ["P6", "P6", "P0", "P6"], []]
    for batch, named in zip(ResidueBatches(cache, batches), batches, strict=True):
        assert batch.proteins == tuple(dict.fromkeys(named))
        assert batch.offsets.dtype == np.int64
        assert batch.states.shape == (batch.offsets[-1], DIMENSION)
        for number, name in enumerate(batch.proteins):
            rows = batch.states[batch.offsets[number] : batch.offsets[number + 1]]
            np.testing.assert_array_equal(rows, states[name], strict=True)
    means = cache.protein_matrix(["P3", "P0", "P3"])
    expected = np.stack([states[protein].mean(axis=0, dtype=np.float32) for protein in ("P3", "P0", "P3")])
    np.testing.assert_allclose(means, expected, rtol=1e-4, atol=1e-6, strict=True)


def test_files_of_a_folder_are_read_as_one(tmp_path: Path) -> None:
    states = _states(LENGTHS)
    for name, part in (("a", list(states)[:6]), ("b", list(states)[4:])):
        _write(tmp_path / f"{name}.parquet", {protein: states[protein] for protein in part})
    for name, rows in _read_all(tmp_path).items():
        np.testing.assert_array_equal(rows, states.pop(name), strict=True)
    assert states == {}


def test_of_a_truncated_protein_the_kept_residues_are_read(tmp_path: Path) -> None:
    states = _states([5, 5, 5])
    path = _write(tmp_path / "cache.parquet", states, _spec(max_length=5), beyond=3)
    np.testing.assert_array_equal(_read_all(path)["P1"], states["P1"], strict=True)
    assert EmbeddingCache(path).lengths["P1"] == 8


def test_a_caller_may_use_its_array_again(tmp_path: Path) -> None:
    buffer = np.zeros((3, DIMENSION), np.float16)
    with CacheWriter(tmp_path / "cache.parquet", _spec()) as writer:
        for number in range(5):
            buffer[:] = number
            writer.add(f"P{number}", "00", 3, buffer)
    found = _read_all(tmp_path / "cache.parquet")
    assert [int(rows[0, 0]) for rows in found.values()] == [0, 1, 2, 3, 4]


def test_a_changed_byte_of_the_states_names_the_protein(tmp_path: Path) -> None:
    states = _states([3, 1, 40])
    path = _write(tmp_path / "cache.parquet", states)
    content = path.read_bytes()
    for name, rows in states.items():
        start = content.index(rows.tobytes())
        # From the size that stands before them; each bit of one place, and one bit of every place.
        places = [*range(start - 4, start + rows.nbytes)]
        for place, bit in [
            *((position, 0x10) for position in places),
            *((start + 1, 1 << bit) for bit in range(8)),
        ]:
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            with pytest.raises(CacheError, match=f"corrupt\n.*\n  got: the residues of {name} are not those"):
                _read_all(path)


def test_a_file_cut_short_while_it_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path / "cache.parquet", _states(LENGTHS))
    cache = EmbeddingCache(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CacheError, match=r"cut short or corrupt\n.*\n  got: the file ends at byte"):
        list(cache.residues(["P9"]))
    with pytest.raises(CacheError, match="cut short or corrupt"):
        cache.protein_matrix(["P0", "P9"])


def test_damage_shows_in_its_turn_and_ends_the_threads(tmp_path: Path) -> None:
    states = _states([400] * 60)
    path = _write(tmp_path / "cache.parquet", states)
    content = path.read_bytes()
    place = content.index(states["P31"].tobytes()) + 100
    path.write_bytes(content[:place] + b"\xff\x00" + content[place + 2 :])
    batches = iter(ResidueBatches(EmbeddingCache(path), [[f"P{n}"] for n in range(60)]))
    for number in range(31):
        assert next(batches).proteins == (f"P{number}",)
    with pytest.raises(CacheError, match="the residues of P31 are not those that were written"):
        next(batches)
    assert _threads() == []


def test_a_consumer_that_stops_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    cache = EmbeddingCache(_write(tmp_path / "cache.parquet", _states([400] * 60)))
    batches = ResidueBatches(cache, [[f"P{n}"] for n in range(60)])
    for _ in batches:
        assert _threads()
        break
    for _ in cache.residues(list(cache.lengths)):
        break
    gc.collect()
    assert _threads() == []
    assert len(list(batches)) == 60  # and the batches can be iterated over again


def test_a_number_that_is_not_finite_is_refused_by_name_though_its_checksum_holds(tmp_path: Path) -> None:
    states = _states([3, 4, 5])
    for value in (np.nan, np.inf, -np.inf):
        states["P1"][2, 3] = value
        _write_plain(tmp_path / "cache.parquet", _table(states))
        with pytest.raises(
            CacheError, match=r"1 embedding in the cache has numbers that are not finite\n.*\n  got: P1"
        ):
            _read_all(tmp_path / "cache.parquet")


def test_every_pattern_of_bits_is_told_finite_or_not() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.isfinite(halves)
    assert all_finite(halves[finite])
    assert not any(all_finite(half) for half in halves[~finite][:, None])
    floats = np.array([0, -0.0, 3.4e38, -3.4e38, 1e-45], np.float32)
    assert all_finite(floats)
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        assert not all_finite(np.append(floats, np.float32(value)))


def test_memory_stays_within_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "ROW_GROUP_BYTES", 1 << 20)
    states = _states([1000] * 250, dimension=64)  # 32 MB, a protein 128 kB, a batch of 16 2 MB
    path = _write(tmp_path / "cache.parquet", states, _spec(dimension=64))
    cache = EmbeddingCache(path, memory_mb=6)
    proteins = list(states)
    states.clear()
    batches = [proteins[start : start + 16] for start in range(0, len(proteins), 16)]
    readings: list[Callable[[], Any]] = [
        lambda: [int(batch.offsets[-1]) for batch in ResidueBatches(cache, batches)],
        lambda: sum(len(rows) for _, rows in cache.residues(proteins)),
        lambda: cache.protein_matrix(proteins),
    ]
    for reading in readings:
        reading()
        tracemalloc.start()
        reading()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # Beside it: a batch that is reserved and not yet begun, and small change.
        assert 1 << 20 < peak < (6 + 2 + 1) << 20


def test_writing_holds_no_more_than_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "ROW_GROUP_BYTES", 1 << 20)
    rows = np.ones((1000, 64), np.float16)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    with CacheWriter(tmp_path / "cache.parquet", _spec(dimension=64)) as writer:
        for number in range(200):
            writer.add(f"P{number}", "00", 1000, rows)
            assert pa.total_allocated_bytes() - before < 1 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20  # the proteins and the column made of them


def test_a_protein_too_large_for_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "LARGEST_PROTEIN", 800)
    with pytest.raises(CacheError) as caught:
        _write(tmp_path / "cache.parquet", _states([100, 101]))
    assert str(caught.value).splitlines()[:3] == [
        "an embedding is too large for a cache",
        "  where: P1",
        "  got: 808 bytes",
    ]


def test_a_protein_that_the_cache_does_not_hold(tmp_path: Path) -> None:
    cache = EmbeddingCache(_write(tmp_path / "cache.parquet", _states([3])))
    with pytest.raises(CacheError, match=r"no embedding for 1 protein\n.*\n  got: P7\n"):
        list(ResidueBatches(cache, [["P0", "P7"]]))


def _write_plain(path: Path, table: pa.Table) -> None:
    """As docs/reference/caches.md says that other programs write one."""
    pq.write_table(table, path, compression="none", use_dictionary=False, data_page_size=1 << 30)


def test_another_programs_file_in_the_documented_layout_is_read(tmp_path: Path) -> None:
    states = _states(LENGTHS)
    _write_plain(tmp_path / "cache.parquet", _table(states))
    for name, rows in _read_all(tmp_path / "cache.parquet").items():
        np.testing.assert_array_equal(rows, states[name], strict=True)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "snappy", "use_dictionary": False},
        {"compression": "none", "use_dictionary": True},
        {"compression": "none", "use_dictionary": False, "data_page_size": 100, "write_batch_size": 1},
        {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"},
        {
            "compression": "none",
            "use_dictionary": False,
            "column_encoding": {"embedding": "DELTA_BYTE_ARRAY"},
        },
    ],
)
def test_a_layout_that_cannot_be_read_in_place_is_refused_by_name(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "cache.parquet"
    pq.write_table(_table(_states([30, 20, 10])), path, **options)
    with pytest.raises(CacheError) as caught:
        EmbeddingCache(path)
    message = str(caught.value)
    assert "the residues of the embedding cache cannot be read in place" in message
    assert f"where: {path}" in message
    assert "expected: UNCOMPRESSED, PLAIN, one page of the 492 bytes that the lengths make" in message


@pytest.mark.parametrize("lengths", [[3, 5], [4, 4], [0, 8]])
def test_lengths_that_are_not_those_of_the_states(tmp_path: Path, lengths: list[int]) -> None:
    _write_plain(tmp_path / "cache.parquet", _table(_states([5, 3]), lengths))
    with pytest.raises(CacheError, match=r"cannot be read in place|corrupt"):
        _read_all(tmp_path / "cache.parquet")


def test_pandas_reads_a_cache_and_what_it_writes_back_is_refused(tmp_path: Path) -> None:
    states = _states([5, 3])
    path = _write(tmp_path / "cache.parquet", states)
    frame = pd.read_parquet(path).set_index("protein_id")
    rows = np.frombuffer(frame.embedding["P1"], np.float16).reshape(-1, DIMENSION)
    np.testing.assert_array_equal(rows, states["P1"], strict=True)
    assert frame.crc32["P1"] == zlib.crc32(frame.embedding["P1"])
    frame.to_parquet(tmp_path / "pandas.parquet")
    with pytest.raises(CacheError, match="the Parquet file is not an embedding cache"):
        EmbeddingCache(tmp_path / "pandas.parquet")


def test_residues_in_lists_as_they_once_were(tmp_path: Path) -> None:
    table = _table(_states([5, 3])).drop_columns(["crc32"])
    lists = pa.array([[1.0] * 20, [2.0] * 12], pa.list_(pa.float16()))
    old = table.set_column(3, pa.field("embedding", lists.type, nullable=False), lists)
    pq.write_table(old, tmp_path / "cache.parquet")
    with pytest.raises(CacheError, match="holds residues as lists, which were only written before"):
        EmbeddingCache(tmp_path / "cache.parquet")


def test_files_in_different_number_formats(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", _states([5]))
    _write(tmp_path / "b.parquet", _states([5, 3], "float32"), _spec("float32"))
    with pytest.raises(CacheError, match=r"different number formats\n.*b.parquet\n  got: float32"):
        EmbeddingCache(tmp_path)
