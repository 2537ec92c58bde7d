"""Fuzz tests of Parquet: pair tables, embedding caches, and prediction parts."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppi_train.data.fasta import sequence_digest
from ppi_train.data.pairs import read_pairs
from ppi_train.embeddings.cache import FINITE_KEY, METADATA_KEY, CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.parts import CacheSources, parts_folder
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.inference.output_parts import held_prediction
from tests.support.mutations import broken, broken_json
from tests.support.watched import outcome

pytestmark = pytest.mark.slow

SEQUENCES = {"P1": "MKV", "P2": "MKVLA", "P3": "ACDEFG"}
DIMENSION = 3
JOB = {"model": "m", "pairs": 4}


def spec(granularity: str) -> CacheSpec:
    return CacheSpec(
        embedder={"name": "descriptors", "parameters": {"a": 1, "run_id": "r"}, "digest": "0" * 64},
        dimension=DIMENSION,
        granularity=granularity,
        dtype="float16",
        max_length=None,
        truncation="head",
        fasta_digest="0" * 64,
    )


def cache_bytes(folder: Path, granularity: str) -> bytes:
    path = folder / f"{granularity}.parquet"
    with CacheWriter(path, spec(granularity)) as writer:
        for name, sequence in SEQUENCES.items():
            shape = (DIMENSION,) if granularity == "protein" else (len(sequence), DIMENSION)
            writer.add(name, sequence_digest(sequence), len(sequence), np.ones(shape, np.float16))
    return path.read_bytes()


def table_bytes(
    columns: Mapping[str, Any], metadata: Mapping[bytes, bytes] | None = None, **options: Any
) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(columns)).replace_schema_metadata(metadata), sink, **options)
    return sink.getvalue()


def read_cache(path: Path) -> None:
    """All that any run mode asks of a cache."""
    cache = EmbeddingCache(path, memory_mb=16)
    proteins = list(cache.lengths)
    assert cache.digest
    assert cache.spec.digest
    cache.check_sequences(SEQUENCES)
    assert np.isfinite(cache.protein_matrix(proteins)).all()
    if cache.spec.granularity == "residue":
        for _, states in cache.residues(proteins):
            assert np.isfinite(states).all()


def copy_from(path: Path, granularity: str) -> None:
    sources = CacheSources(spec(granularity))
    taken = sources.take(path, {sequence_digest(sequence) for sequence in SEQUENCES.values()})
    assert len(list(sources.fetch(taken))) == len(taken)


@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_whole_caches_are_read(folder: Path, granularity: str) -> None:
    path = folder / "whole.parquet"
    path.write_bytes(cache_bytes(folder, granularity))
    assert outcome(lambda: read_cache(path)) is None
    assert outcome(lambda: copy_from(path, granularity)) is None


class TestCaches:
    """The bytes of a cache damaged anywhere."""

    @pytest.fixture(scope="class")
    def whole(self, folder: Path) -> dict[str, bytes]:
        return {granularity: cache_bytes(folder, granularity) for granularity in ("protein", "residue")}

    @pytest.mark.parametrize("granularity", ["protein", "residue"])
    def test_bytes(self, folder: Path, whole: dict[str, bytes], granularity: str) -> None:
        path = folder / "damaged.parquet"

        @given(content=broken([whole[granularity]], [whole["residue"][-8:]]))
        def damaged(content: bytes) -> None:
            path.write_bytes(content)
            outcome(lambda: read_cache(path))
            outcome(lambda: copy_from(path, granularity))

        damaged()

    @pytest.mark.parametrize("granularity", ["protein", "residue"])
    def test_metadata(self, folder: Path, whole: dict[str, bytes], granularity: str) -> None:
        """A good file that says strange things of itself."""
        path = folder / "described.parquet"
        table = pq.read_table(pa.BufferReader(whole[granularity]))
        described = json.loads(table.schema.metadata[METADATA_KEY])

        @given(fields=broken_json(described, ["float32", "residue", "protein", 3, 4]))
        def strange(fields: Any) -> None:
            metadata = {METADATA_KEY: json.dumps(fields).encode(), FINITE_KEY: b"true"}
            path.write_bytes(
                table_bytes(
                    {name: table.column(name) for name in table.column_names},
                    metadata,
                    use_dictionary=False,
                    compression="none",
                )
            )
            outcome(lambda: read_cache(path))
            outcome(lambda: copy_from(path, granularity))

        strange()


INVALID = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"\xff\xfeP1")]
)
COLUMNS = (
    pa.array(["P1", "P2"]),
    pa.array(["P2", None]),
    pa.array([1, 0]),
    pa.array([1.0, float("nan")]),
    pa.array([True, None]),
    pa.array([b"P1", b"\xff"]),
    INVALID,
    pa.array([["P1"], []]),
    pa.array([{"a": 1}, None]),
    pa.array([None, None]),
    pa.array(["", " "]),
    pa.array([10**15, -1]),
    pa.array(["P1", "P1"]).dictionary_encode(),
    pa.array(["P\0", "P\n\t"]),
    pa.array([2**63, 1], pa.uint64()),
    pa.array([1, 2], pa.timestamp("ns")),
    pa.array([b"ab", b"cd"], pa.binary(2)),
    pa.array(["x" * 9000, "y"], pa.large_string()),
    pa.array([1, 2], pa.decimal128(38, 3)),
    INVALID.dictionary_encode(),
)
NAMES = ("protein_a", "protein_b", "label", "Protein_A", " label", "x", "", "protein_a\0", "P\N{SNOWMAN}")


class TestPairs:
    """Pair tables in Parquet."""

    def test_bytes(self, folder: Path) -> None:
        path = folder / "pairs.parquet"
        plain = {"protein_a": ["P1", "P2", "P1"], "protein_b": ["P2", "P3", "P3"], "label": [1, 0, 1]}
        whole = [
            table_bytes(plain),
            table_bytes(plain, use_dictionary=False, compression="zstd"),
            table_bytes(plain, compression="gzip", data_page_version="2.0"),
        ]

        @given(content=broken(whole))
        def damaged(content: bytes) -> None:
            path.write_bytes(content)
            outcome(lambda: read_pairs(path, labels="optional").digest)

        damaged()

    @given(
        columns=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(COLUMNS)), max_size=5),
        a=st.sampled_from(COLUMNS),
        b=st.sampled_from(COLUMNS),
    )
    def test_columns(
        self, folder: Path, columns: list[tuple[str, pa.Array]], a: pa.Array, b: pa.Array
    ) -> None:
        """Good files with columns of other types and names, and nulls, and text that is none."""
        path = folder / "columns.parquet"
        all_columns = [("protein_a", a), ("protein_b", b), *columns]
        table = pa.Table.from_arrays([column for _, column in all_columns], [name for name, _ in all_columns])
        pq.write_table(table, path)
        outcome(lambda: read_pairs(path, labels="optional").digest)


NINES = 99_999_999


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def finish(output: Path) -> None:
    """What `predict` does with the parts that it finds."""
    with held_prediction(output, JOB, overwrite=False) as parts:
        if parts.done:
            for _ in parts.columns():
                pass


class TestParts:
    """The folder of an unfinished prediction."""

    @pytest.fixture
    def output(self, folder: Path) -> Path:
        return folder / "scores.parquet"

    @pytest.fixture
    def part(self) -> bytes:
        columns = {"a": np.arange(4, dtype=np.int32), "probability": np.ones(4, np.float32)}
        return table_bytes({name: pa.array(values) for name, values in columns.items()})

    def lay(self, output: Path, job: bytes, name: str, content: bytes) -> None:
        shutil.rmtree(parts_folder(output), ignore_errors=True)
        parts_folder(output).mkdir()
        (parts_folder(output) / "job.json").write_bytes(job)
        (parts_folder(output) / f"{name}.parquet").write_bytes(content)

    def test_a_whole_one_is_gone_on_with(self, output: Path, part: bytes) -> None:
        self.lay(output, json.dumps(JOB).encode(), f"00000000-{sha256(part)}", part)
        assert outcome(lambda: finish(output)) is None
        assert len(list(parts_folder(output).glob("0*.parquet"))) == 1

    @pytest.mark.parametrize("vouched", [False, True])
    def test_bytes(self, output: Path, part: bytes, vouched: bool) -> None:
        """`vouched`: the part's name has the digest of its bytes, as whoever means harm would see to."""

        @given(content=broken([part]), number=st.sampled_from([0, 1, NINES]))
        def damaged(content: bytes, number: int) -> None:
            digest = sha256(content if vouched else part)
            self.lay(output, json.dumps(JOB).encode(), f"{number:08d}-{digest}", content)
            outcome(lambda: finish(output))

        damaged()

    def test_job(self, output: Path, part: bytes) -> None:
        @given(content=broken([json.dumps(JOB).encode()], [b"[" * 3000, b"{}"]))
        def damaged(content: bytes) -> None:
            self.lay(output, content, f"00000000-{sha256(part)}", part)
            outcome(lambda: finish(output))

        damaged()
