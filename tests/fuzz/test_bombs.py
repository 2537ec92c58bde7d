"""Tests of small files that claim or unpack to terabytes.

Each is refused with a message, quickly and in little memory.

Each is read in a separate process with limited memory, so that a file that would fill the machine's memory
ends only that process.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.support import ROOT

pytestmark = pytest.mark.slow

GIB = 1 << 30
# Of memory beyond that of the libraries that are imported: what a bomb may take, and what the system refuses.
ALLOWED_MB = 400
REFUSED_MB = 6000
SECONDS = 60


def zeros(size: int, letter: bytes = b"\0") -> bytes:
    """`size` equal bytes, compressed as gzip does it, without ever holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = letter * (1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(size >> 20)), packer.flush()])


def sparse(path: Path, start: bytes, size: int, end: bytes = b"") -> None:
    """A file of `size` bytes that takes a few on the disk."""
    with path.open("wb") as stream:
        stream.write(start)
        stream.seek(size - len(end) - 1)
        stream.write(b"\0" + end)


def fasta_line(path: Path) -> None:
    path.write_bytes(gzip.compress(b">a\n", mtime=0) + zeros(GIB, b"A"))


def fasta_records(path: Path) -> None:
    """As many short records as deflate can say in a megabyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b">a\nMKV\n" * (1 << 17)
    path.write_bytes(b"".join([*(packer.compress(block) for _ in range(256)), packer.flush()]))


def fasta_plain_line(path: Path) -> None:
    sparse(path, b">a\nMKV", GIB)


def pairs_gzip(path: Path) -> None:
    path.write_bytes(zeros(GIB >> 4, b"A"))


def pairs_plain_line(path: Path) -> None:
    sparse(path, b"P1\tP2\t1\nP1", GIB)


def pairs_wide(path: Path) -> None:
    path.write_text(
        "\t".join(["protein_a", "protein_b", *map(str, range(300_000))]) + "\n" + "\t".join(["x"] * 300_002)
    )


def pairs_long_name(path: Path) -> None:
    path.write_text("protein_a\tprotein_b\n" + "A" * (8 << 20) + "\tB\n")


def pairs_long_header(path: Path) -> None:
    path.write_text("A" * (8 << 20) + "\tB\n")


def varint(number: int) -> bytes:
    groups = []
    while True:
        number, group = number >> 7, number & 0x7F
        groups.append(group | (0x80 if number else 0))
        if not number:
            return bytes(groups)


def claim_rows(content: bytes, rows: int, claimed: int) -> bytes:
    """The Parquet file with another number of rows wherever its footer has it."""
    size = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - size : -8].replace(b"\x16" + varint(2 * rows), b"\x16" + varint(2 * claimed))
    return content[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def pairs_claimed_rows(path: Path) -> None:
    rows = 1234
    content = parquet(protein_a=["A"] * rows, protein_b=["B"] * rows, label=[1] * rows)
    path.write_bytes(claim_rows(content, rows, 10**12))


def pairs_dictionary(path: Path) -> None:
    """One name of a megabyte, named a million times."""
    name = pa.array(["A" * (1 << 20)])
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), name)
    path.write_bytes(parquet(protein_a=column, protein_b=column))


def pairs_rows(path: Path) -> None:
    """Many equal rows, truly there."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(30_000_000, np.int32)), pa.array(["A"]))
    path.write_bytes(parquet(protein_a=column, protein_b=column))


def pairs_page(path: Path) -> None:
    """A page of a quarter of a gigabyte of one letter."""
    path.write_bytes(parquet(protein_a=["A" * (1 << 28)], protein_b=["B"]))


def parquet_footer(path: Path) -> None:
    sparse(path, b"PAR1", GIB, struct.pack("<I", GIB - 12) + b"PAR1")


def parquet_columns(path: Path) -> None:
    path.write_bytes(parquet(**{f"c{number}": [1] for number in range(5000)}))


def cache(described: dict[str, object], columns: dict[str, object]) -> bytes:
    from ppi_train.embeddings.cache import METADATA_KEY

    sink = io.BytesIO()
    metadata = {METADATA_KEY: json.dumps(described).encode()}
    table = pa.table(columns).replace_schema_metadata(metadata)
    schema = pa.schema([field.with_nullable(False) for field in table.schema], metadata)
    pq.write_table(table.cast(schema), sink, compression="zstd")
    return sink.getvalue()


def described(**changed: object) -> dict[str, object]:
    fields = {
        "embedder": {},
        "dimension": 4,
        "granularity": "protein",
        "dtype": "float32",
        "max_length": None,
    }
    return {**fields, "truncation": "head", "fasta_digest": "", "schema_version": 1, **changed}


def small_columns(rows: int) -> dict[str, object]:
    names = {"protein_id": [f"P{row}" for row in range(rows)], "sequence_digest": ["0" * 64] * rows}
    return {**names, "length": pa.array([3] * rows, pa.int32())}


def cache_claimed_rows(path: Path) -> None:
    rows = 1234
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4 * rows, np.float32)), 4)
    content = cache(described(), {**small_columns(rows), "embedding": vectors.cast(vector_type(4))})
    path.write_bytes(claim_rows(content, rows, 10**12))


def vector_type(width: int) -> pa.DataType:
    return pa.list_(pa.field("item", pa.float32(), nullable=False), width)


def cache_wide(path: Path) -> None:
    """A hundred proteins with vectors of 200,000 zeros: 80 MB in a file of some kilobytes."""
    rows, width = 100, 200_000
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(np.zeros(rows * width, np.float32)), type=vector_type(width)
    )
    path.write_bytes(cache(described(dimension=width), {**small_columns(rows), "embedding": vectors}))


def cache_deep_metadata(path: Path) -> None:
    path.write_bytes(cache(described(embedder=json.loads("[" * 900 + "]" * 900)), small_columns(1)))


def yaml_laughs(path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    path.write_text("\n".join([*lines, "learning_rate: *a11"]))


def yaml_merges(path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    path.write_text("\n".join(lines))


def yaml_deep(path: Path) -> None:
    path.write_text("learning_rate: " + "[" * 30_000)


def yaml_long(path: Path) -> None:
    sparse(path, b"learning_rate: 1", GIB)


def safetensors_header(path: Path) -> None:
    lay_checkpoint(path, {"weights.safetensors": struct.pack("<Q", 10**15) + b"{}"})


def safetensors_shape(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    lay_checkpoint(path, {"weights.safetensors": struct.pack("<Q", len(header)) + header})


def checkpoint_deep(path: Path) -> None:
    lay_checkpoint(path, {"checkpoint.json": b"[" * 1_000_000})


def checkpoint_large_model(path: Path) -> None:
    sizes = {"hidden_dim": 60_000, "head_dim": 60_000, "members": 8}
    model = {"name": "pooled_mlp", "input_dim": 3, "hyperparameters": sizes}
    lay_checkpoint(
        path,
        {
            "checkpoint.json": json.dumps(
                {"format_version": 1, "model": model, "counters": {"step": 1}}
            ).encode()
        },
    )


def torch_bomb(size: int = GIB >> 2) -> bytes:
    """What torch.save writes of a tensor of zeros, but compressed."""
    sink = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, sink)
    made = io.BytesIO()
    with zipfile.ZipFile(sink) as archive, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in archive.namelist():
            if name.endswith("/data/0"):
                with bomb.open(name, "w") as stream:
                    for _ in range(size >> 20):
                        stream.write(bytes(1 << 20))
            else:
                bomb.writestr(name, archive.read(name))
    return made.getvalue()


def training_state_bomb(path: Path) -> None:
    lay_checkpoint(path, {"training_state.pt": torch_bomb()})


def lay_checkpoint(path: Path, files: dict[str, bytes]) -> None:
    """A folder whose marker vouches for these files."""
    from safetensors.torch import save

    from ppi_train.checkpoints import MARKER
    from ppi_train.io.files import file_digest

    good = {
        "weights.safetensors": save({"a": torch.zeros(2)}),
        "checkpoint.json": b'{"format_version": 1, "counters": {"step": 1}}',
    }
    path.mkdir()
    for name, content in {**good, **files}.items():
        (path / name).write_bytes(content)
    digests = {file.name: file_digest(file) for file in path.iterdir()}
    (path / MARKER).write_text(json.dumps(digests))


def node_sets_sizes(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x8d" + struct.pack("<Q", 10**15) + b"x.")


def hdf5_shape(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("P1", shape=(10**6, 10**6), chunks=(1000, 1000), dtype="f4")


def hdf5_zeros(path: Path) -> None:
    """Zeros that are truly there, compressed."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "P1", shape=(2**16, 1024), chunks=(2**12, 1024), dtype="f4", compression="gzip"
        )
        for start in range(0, 2**16, 2**12):
            data[start : start + 2**12] = 0


def npy_shape(path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000, 10), }\n"
    path.mkdir()
    (path / "P1.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header)


def npz_bomb(path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (67108864,), }\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("P1.npy", "w") as stream:
        stream.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header)
        for _ in range(256):
            stream.write(bytes(1 << 20))


def pt_bomb(path: Path) -> None:
    path.mkdir()
    (path / "P1.pt").write_bytes(torch_bomb())


def pt_expanded(path: Path) -> None:
    """One number that a step of 0 makes a matrix of 4 TB."""
    path.mkdir()
    torch.save(torch.zeros(1).expand(10**6, 10**6), path / "P1.pt")


def hdf5_groups(path: Path) -> None:
    """Groups that contain the next one twice, so that 2^40 paths lead to the last."""
    with h5py.File(path, "w") as file:
        file["g0/P1"] = np.ones(3, np.float32)
        for number in range(1, 30):
            group = file.create_group(f"g{number}")
            group["a"] = group["b"] = file[f"g{number - 1}"]


def hdf5_link_path(path: Path) -> None:
    """Soft links with paths of 30,000 steps."""
    with h5py.File(path, "w") as file:
        file["g/P1"] = np.ones(3, np.float32)
        file["g/g"] = h5py.SoftLink("/g")
        for number in range(100):
            file[f"P{number + 2}"] = h5py.SoftLink("/" + "g/" * 30_000 + "P1")


def pt_file_bomb(path: Path) -> None:
    path.write_bytes(torch_bomb())


def import_safetensors_shape(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def import_parquet_zeros(path: Path) -> None:
    """One list of 200 million equal numbers."""
    values = pa.array(np.zeros(200_000_000, np.float32))
    lists = pa.LargeListArray.from_arrays(pa.array([0, len(values)]), values)
    path.write_bytes(parquet(protein_id=["P1"], embedding=lists))


def import_parquet_names(path: Path) -> None:
    """One name of a megabyte, named 10,000 times."""
    name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10_000, np.int32)), pa.array(["A" * (1 << 20)]))
    path.write_bytes(
        parquet(protein_id=name.cast(pa.dictionary(pa.int32(), pa.string())), embedding=[[1.0]] * 10_000)
    )


# What is read as what, and what the message must say.
BOMBS: dict[Callable[[Path], None], tuple[str, str, str]] = {
    fasta_line: ("fasta", "x.fasta.gz", "without end"),
    fasta_records: ("fasta", "x.fasta.gz", "unpacks to more"),
    fasta_plain_line: ("fasta", "x.fasta", "without end"),
    pairs_gzip: ("pairs", "x.tsv.gz", "without end"),
    pairs_plain_line: ("pairs", "x.tsv", "without end"),
    pairs_wide: ("pairs", "x.tsv", "too long|number of columns"),
    pairs_long_name: ("pairs", "x.tsv", "too long"),
    pairs_long_header: ("pairs", "x.tsv", "too long"),
    pairs_claimed_rows: ("pairs", "x.parquet", "1,000,000,000,000 rows are claimed"),
    pairs_dictionary: ("pairs", "x.parquet", "too long"),
    pairs_rows: ("pairs", "x.parquet", "rows are claimed"),
    pairs_page: ("pairs", "x.parquet", "bytes are claimed"),
    parquet_footer: ("pairs", "x.parquet", "footer|read whole"),
    parquet_columns: ("pairs", "x.parquet", "columns"),
    cache_claimed_rows: ("cache", "x.parquet", "1,000,000,000,000 rows are claimed"),
    cache_wide: ("cache", "x.parquet", "are claimed"),
    cache_deep_metadata: ("cache", "x.parquet", "metadata is not valid"),
    yaml_laughs: ("config", "x.yaml", "aliases"),
    yaml_merges: ("config", "x.yaml", "aliases"),
    yaml_deep: ("config", "x.yaml", "not valid"),
    yaml_long: ("config", "x.yaml", "too large"),
    safetensors_header: ("checkpoint", "x", "cannot be read"),
    safetensors_shape: ("checkpoint", "x", "cannot be read"),
    checkpoint_deep: ("checkpoint", "x", "cannot be read"),
    checkpoint_large_model: ("checkpoint", "x", "does not describe"),
    training_state_bomb: ("checkpoint", "x", "training state cannot be read"),
    node_sets_sizes: ("node sets", "x.pkl", "damaged"),
    hdf5_shape: ("import", "x.h5", "cut short or damaged"),
    hdf5_zeros: ("import", "x.h5", "cut short or damaged"),
    npy_shape: ("import", "x", "cut short or damaged"),
    npz_bomb: ("import", "x.npz", "cut short or damaged"),
    pt_bomb: ("import", "x", "cut short or damaged"),
    pt_expanded: ("import", "x", "cut short or damaged"),
    hdf5_groups: ("import", "x.h5", "more links, or deeper ones"),
    hdf5_link_path: ("import", "x.h5", "a link in a cycle, or one that takes more than"),
    pt_file_bomb: ("import", "x.pt", "cut short, damaged or not"),
    import_safetensors_shape: ("import", "x.safetensors", "cut short, damaged or not"),
    import_parquet_zeros: ("import", "x.parquet", "bytes are claimed"),
    import_parquet_names: ("import", "x.parquet", "a name of"),
}


def test_bombs_are_refused(tmp_path: Path) -> None:
    """All in one process, which takes seconds to start: its peak of memory says for which one it rose."""
    wanted = {}
    for number, (make, (kind, name, _)) in enumerate(BOMBS.items()):
        (tmp_path / str(number)).mkdir()
        make(tmp_path / str(number) / name)
        wanted[make.__name__] = [kind, str(tmp_path / str(number) / name)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.bomb_reader", str(REFUSED_MB), str(SECONDS)],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=SECONDS * len(BOMBS),
        check=False,
    )
    told = {record["name"]: record for record in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, f"died after {list(told)[-1:]}: {done.stderr[-2000:]}"
    wrong = {
        make.__name__: told[make.__name__]
        for make, (_, _, message) in BOMBS.items()
        if not re.search(message, told[make.__name__]["message"] or "")
        or told[make.__name__]["mb"] > ALLOWED_MB
    }
    assert wrong == {}
