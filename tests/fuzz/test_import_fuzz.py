"""Fuzz tests of imported embeddings: HDF5, .npy, .npz and .pt."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from safetensors.numpy import save

from ppi_train.data.fasta import SequenceTable
from ppi_train.embeddings.import_sources import open_source
from ppi_train.embeddings.importing import ImportRules, survey, write_import
from tests.support.mutations import broken
from tests.support.watched import outcome

pytestmark = pytest.mark.slow

SEQUENCES = {"P1": "MKV", "P2": "MKVLA"}
TABLE = SequenceTable(sequences=SEQUENCES, source="x.fasta", nonstandard={}, duplicates=0)
RULES = ImportRules(embedder_name="other", missing="drop")
ARRAYS = {name: np.ones((len(sequence), 4), np.float32) for name, sequence in SEQUENCES.items()}


def import_from(path: Path) -> None:
    found = survey(open_source(path), TABLE, RULES)
    write_import(found, path.parent / "imported.parquet")


def hdf5(**options: Any) -> bytes:
    sink = io.BytesIO()
    with h5py.File(sink, "w", **options) as file:
        for name, array in ARRAYS.items():
            file.create_dataset(name, data=array, compression="gzip" if options else None)
            file[name].attrs["original_id"] = name
    return sink.getvalue()


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    sink = io.BytesIO()
    np.lib.format.write_array(sink, array, version)
    return sink.getvalue()


def npz(compressed: bool) -> bytes:
    sink = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(sink, **ARRAYS)  # type: ignore[arg-type]
    return sink.getvalue()


def pt(content: object, **options: Any) -> bytes:
    sink = io.BytesIO()
    torch.save(content, sink, **options)
    return sink.getvalue()


def linked_hdf5() -> bytes:
    sink = io.BytesIO()
    with h5py.File(sink, "w") as file:
        file["human/P1"] = ARRAYS["P1"]
        file["P2"] = ARRAYS["P2"]
        file["yeast"] = h5py.SoftLink("/human")
        file["P3"] = file["P2"]
        file["P4"] = h5py.SoftLink("yeast/P1")
        file["P5"] = h5py.ExternalLink("/etc/passwd", "/P5")
    return sink.getvalue()


def parquet(lists: object, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"protein_id": list(ARRAYS), "embedding": lists}), sink, **options)
    return sink.getvalue()


ROWS = [array.tolist() for array in ARRAYS.values()]
MEANS = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(8, np.float32)), 4)
TENSOR = torch.from_numpy(ARRAYS["P1"])
# A header of NumPy is text, which is evaluated.
NPY_WORDS = (
    b"'<f4'",
    b"'O'",
    b"'<f8'",
    b"'V'",
    b"[('a','<f4')]",
    b"True",
    b"(" * 200,
    b"(1000000000000,)",
    b"(-1,)",
    b"()",
    b"{",
    b"'''",
    b"L",
    b"1e9",
    b"'|S9'",
    b"None",
    b"\\N{x}",
    b"'>f2'",
    b"'<M8[ns]'",
    b"9223372036854775807, 2",
    b"'<f4,(9,9)'",
)
FORMATS: dict[str, tuple[str, tuple[bytes, ...], tuple[bytes, ...]]] = {
    "hdf5": ("all.h5", (hdf5(), hdf5(libver="latest")), ()),
    "hdf5 with links": ("links.h5", (linked_hdf5(),), (b"human", b"P1", b"/", b"yeast/P1")),
    "pt dictionary": (
        "all.pt",
        (
            pt({name: torch.from_numpy(array) for name, array in ARRAYS.items()}),
            pt(
                {name: torch.from_numpy(array) for name, array in ARRAYS.items()},
                _use_new_zipfile_serialization=False,
            ),
        ),
        (b"cbuiltins\nbytearray\n", b"R", b"t", b"\x8a\x08" + b"\x7f" * 8, b"Q"),
    ),
    "safetensors": (
        "all.safetensors",
        (save(dict(ARRAYS)),),
        (b'"F32"', b'"BF16"', b'"I64"', b"[0,99999999999]", b"data_offsets", b"shape", b"{", b"}"),
    ),
    "parquet": (
        "all.parquet",
        (parquet(ROWS), parquet(MEANS, compression="zstd"), parquet(ROWS, row_group_size=1)),
        (b"list", b"element", b"\x15\xfe\xff\xff\xff\x0f"),
    ),
    "npy": (
        "all/P1.npy",
        tuple(npy(ARRAYS["P1"], version) for version in ((1, 0), (2, 0), (3, 0))),
        NPY_WORDS,
    ),
    "npz": ("all.npz", (npz(False), npz(True)), NPY_WORDS),
    "pt": (
        "all/P1.pt",
        (
            pt(TENSOR),
            pt({"label": "P1", "representations": {3: TENSOR, 6: TENSOR}}),
            pt(TENSOR, _use_new_zipfile_serialization=False),
        ),
        (b"cbuiltins\nbytearray\n", b"R", b"t", b"\x8a\x08" + b"\x7f" * 8, b"Q", b"representations"),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _folder_of_files(folder: Path) -> None:
    (folder / "all").mkdir()


@pytest.mark.parametrize("name", FORMATS)
def test_whole_files_are_imported(folder: Path, name: str) -> None:
    file, whole, _ = FORMATS[name]
    for content in whole:
        (folder / file).write_bytes(content)
        source = (folder / file).parent if "/" in file else folder / file
        assert outcome(partial(import_from, source)) is None
    (folder / file).unlink()


@pytest.mark.parametrize("name", FORMATS)
def test_damaged(folder: Path, name: str) -> None:
    file, whole, words = FORMATS[name]
    source = (folder / file).parent if "/" in file else folder / file

    @given(content=broken(whole, words))
    def damaged(content: bytes) -> None:
        (folder / file).write_bytes(content)
        outcome(lambda: import_from(source))

    damaged()
    (folder / file).unlink()


def test_arrays_in_good_archives(folder: Path) -> None:
    """Checksums of an archive hide its arrays from damage: here they are right."""
    path = folder / "made.npz"

    @given(content=broken([npy(ARRAYS["P1"])], NPY_WORDS))
    def damaged(content: bytes) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("P1.npy", content)
        outcome(lambda: import_from(path))

    damaged()


def test_pickles_in_good_archives(folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(FORMATS["pt"][1][1])) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (program,) = [name for name in entries if name.endswith("data.pkl")]
    path = folder / "all" / "P1.pt"

    @given(content=broken([entries[program]], FORMATS["pt"][2]))
    def damaged(content: bytes) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**entries, program: content}.items():
                archive.writestr(name, data)
        outcome(lambda: import_from(path.parent))

    damaged()
    path.unlink()
