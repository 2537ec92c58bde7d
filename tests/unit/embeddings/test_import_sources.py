"""Tests of sources of embeddings: links, shared sequences, changed names, and reasons that are true."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from ppi_train.data.fasta import SequenceTable, read_fasta, write_fasta
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.import_sources import open_source
from ppi_train.embeddings.importing import ImportRules, survey, write_import
from ppi_train.errors import DataError
from ppi_train.io.unavailable import UnavailableError
from tests.support.unreadable import no_file_to_spare, nobody

SEQUENCES = {"P1": "MKVLA", "P2": "MKVL", "P3": "GGHMKVLA"}
ROWS = {
    name: np.random.default_rng(number).normal(size=(len(sequence), 4)).astype(np.float32)
    for number, (name, sequence) in enumerate(SEQUENCES.items())
}


def table_of(folder: Path, sequences: dict[str, str]) -> SequenceTable:
    write_fasta(folder / "proteins.fasta", sequences)
    return read_fasta(folder / "proteins.fasta")


def imported(source: Path, sequences: dict[str, str], granularity: str = "auto") -> dict[str, np.ndarray]:
    """The residues, or the vectors as one row, of each protein in the cache."""
    path = source.parent / "cache.parquet"
    rules = ImportRules(embedder_name="theirs", granularity=granularity)
    opened = open_source(source, granularity=granularity)
    write_import(survey(opened, table_of(source.parent, sequences), rules), path)
    cache = EmbeddingCache(path)
    names = sorted(sequences)
    if cache.spec.granularity == "residue":
        return {name: np.array(rows) for name, rows in cache.residues(names)}
    return dict(zip(names, cache.protein_matrix(names)[:, None], strict=True))


def refusal(source: Path, sequences: dict[str, str] = SEQUENCES, granularity: str = "auto") -> str:
    with pytest.raises(DataError) as caught:
        imported(source, sequences, granularity)
    return str(caught.value)


def hdf5(folder: Path, fill: Callable[[h5py.File], None]) -> Path:
    with h5py.File(folder / "all.h5", "w") as file:
        fill(file)
    return folder / "all.h5"


def assert_rows(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        np.testing.assert_array_equal(found[name], np.atleast_2d(rows))


def test_links_within_an_hdf5_file_are_followed(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["data/first"] = ROWS["P1"]
        file["data/second"] = ROWS["P2"]
        file["data/inner/x"] = ROWS["P3"]
        file["P1"] = file["data/first"]
        file["P2"] = h5py.SoftLink("/data/second")
        file["alias"] = h5py.SoftLink("data/inner")
        file["further"] = h5py.SoftLink("/alias")
        file["P3"] = h5py.SoftLink("further/./x")

    assert_rows(imported(hdf5(tmp_path, fill), SEQUENCES), ROWS)


def test_further_links_to_an_embedding_are_neither_repeated_nor_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fill(file: h5py.File) -> None:
        for name, rows in ROWS.items():
            file[f"human/{name}"] = rows
            file[f"human/{name}"].attrs["original_id"] = name
        file["latest"] = h5py.SoftLink("/human")
        file["all"] = file["human"]
        file["P1_copy"] = file["human/P1"]

    assert_rows(imported(hdf5(tmp_path, fill), SEQUENCES), ROWS)
    assert "left out" not in caplog.text


def external(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).parent / "other.h5", "w") as other:
        other["P3"] = ROWS["P3"]
    file["P3"] = h5py.ExternalLink("other.h5", "/P3")


def through_external(file: h5py.File) -> None:
    external(file)
    file.move("P3", "away")
    with h5py.File(Path(file.filename).parent / "other.h5", "a") as other:
        other.create_group("g")["P3"] = ROWS["P3"]
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/g")
    file["P3"] = h5py.SoftLink("/elsewhere/P3")


def dangling(file: h5py.File) -> None:
    file["P3"] = h5py.SoftLink("/nowhere/P3")


def through_data(file: h5py.File) -> None:
    file["P3"] = h5py.SoftLink("/P1/P3")


def cycle(file: h5py.File) -> None:
    file["P3"] = h5py.SoftLink("/P4")
    file["P4"] = h5py.SoftLink("/P3")


def group_in_itself(file: h5py.File) -> None:
    file.create_group("P3")
    file["P3/P3"] = file["P3"]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (external, "a link to another file, which is not opened: 1: P3"),
        (through_external, "a link to another file, which is not opened: 1: P3"),
        (dangling, "a link to nothing: 1: P3"),
        (through_data, "a link to nothing: 1: P3"),
        (cycle, "a link in a cycle, or one that takes more than 64 steps: 1: P3"),
        (group_in_itself, "a link in a cycle: 1: P3/P3"),
    ],
)
def test_links_that_lead_nowhere_or_out_of_the_file_are_refused_by_name(
    link: Callable[[h5py.File], None], expected: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fill(file: h5py.File) -> None:
        file["P1"], file["P2"] = ROWS["P1"], ROWS["P2"]
        link(file)

    told = refusal(hdf5(tmp_path, fill))
    assert expected in told
    assert "lead to nothing that may be read and are not followed: " in caplog.text


def test_names_of_one_sequence_share_its_embedding(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    np.savez(tmp_path / "all.npz", **ROWS)  # type: ignore[arg-type]
    names = {**SEQUENCES, "Q1": SEQUENCES["P1"], "Q2": SEQUENCES["P1"]}
    expected = {**ROWS, "Q1": ROWS["P1"], "Q2": ROWS["P1"]}
    assert_rows(imported(tmp_path / "all.npz", names), expected)
    assert (
        "2 proteins take the embedding of another name of the same sequence: Q1 (P1), Q2 (P1)" in caplog.text
    )
    own = np.ones_like(ROWS["P1"])
    np.savez(tmp_path / "all.npz", **ROWS, Q1=own)  # type: ignore[arg-type]
    assert_rows(imported(tmp_path / "all.npz", names), {**expected, "Q1": own})


def test_an_underscore_stands_for_another_character(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    named = {"9606.P1": "P1", "gi|P2.1": "P2", "P3": "P3"}
    source = tmp_path / "all.npz"
    np.savez(source, **{"9606_P1": ROWS["P1"], "gi_P2_1": ROWS["P2"], "P3": ROWS["P3"]})  # type: ignore[arg-type]
    sequences = {name: SEQUENCES[old] for name, old in named.items()}
    assert_rows(imported(source, sequences), {name: ROWS[old] for name, old in named.items()})
    assert "2 names matched with _ for . |: 9606_P1.npy (9606.P1), gi_P2_1.npy (gi|P2.1)" in caplog.text


def test_an_underscore_that_may_stand_for_several_proteins_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", A_1=ROWS["P1"], P2=ROWS["P2"])
    sequences = {"A.1": "MKVLA", "A-1": "MKVLC", "P2": "MKVL"}
    told = refusal(tmp_path / "all.npz", sequences)
    assert "1 name with _ for another character fits several proteins" in told
    assert "got: A_1.npy (A.1, A-1)" in told
    # Two names of one sequence are one protein.
    found = imported(tmp_path / "all.npz", {**sequences, "A-1": "MKVLA"})
    assert_rows(found, {"A.1": ROWS["P1"], "A-1": ROWS["P1"], "P2": ROWS["P2"]})
    # A name of its own comes first, and only `_` stands for other characters.
    np.savez(tmp_path / "all.npz", **{"A_1": ROWS["P1"], "A.1": ROWS["P1"], "P2": ROWS["P2"]})  # type: ignore[arg-type]
    assert "1 name with _ for another character fits several" in refusal(tmp_path / "all.npz", sequences)
    np.savez(tmp_path / "all.npz", **{"A:1": ROWS["P1"], "P2": ROWS["P2"]})  # type: ignore[arg-type]
    assert "1 of 2 proteins of the FASTA have no embedding" in refusal(
        tmp_path / "all.npz", {"A.1": "MKVLA", "P2": "MKVL"}
    )


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("key", [None, "representations"])
def test_a_dictionary_of_tensors(old: bool, key: str | None, tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(rows).to(torch.float64) for name, rows in ROWS.items()}
    content = {key: tensors} if key else tensors
    torch.save(content, tmp_path / "all.pt", _use_new_zipfile_serialization=not old)
    assert_rows(imported(tmp_path / "all.pt", SEQUENCES), ROWS)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (torch.ones(3), "got: Tensor"),
        ({1: torch.ones(3)}, "the file has no dictionary from names to tensors"),
        ({"label": "P1", "representations": {33: torch.ones(3)}}, "name the folder that the file lies in"),
        ({}, "got: no name"),
        ({"P1": "text", "P2": torch.ones(3), "P3": torch.ones(3)}, "neither a plain tensor nor"),
        (
            {name: torch.ones(3, dtype=torch.int8) for name in SEQUENCES},
            "not floating-point numbers but int8",
        ),
        ({"P1": Path("x")}, "pickled objects, which could run code, are not read"),
    ],
)
def test_dictionaries_that_are_none(content: object, expected: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "all.pt")
    assert expected in refusal(tmp_path / "all.pt")


def test_half_precision_in_safetensors(tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(rows).to(torch.bfloat16) for name, rows in ROWS.items()}
    save_file(tensors, tmp_path / "all.safetensors")
    expected = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    assert_rows(imported(tmp_path / "all.safetensors", SEQUENCES), expected)
    save_file({**tensors, "P1": torch.ones(5, 4).to(torch.float8_e4m3fn)}, tmp_path / "all.safetensors")
    assert "not floating-point numbers but float8_e4m3fn: 1: P1" in refusal(tmp_path / "all.safetensors")
    (tmp_path / "all.safetensors").write_bytes(b"nothing")
    assert "cut short, damaged or not safetensors" in refusal(tmp_path / "all.safetensors")


def parquet(folder: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / "all.parquet", row_group_size=2)
    return folder / "all.parquet"


MEANS = {name: rows.mean(axis=0) for name, rows in ROWS.items()}


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 4), pa.list_(pa.float16())],
    ids=str,
)
def test_vectors_in_a_list_column(kind: pa.DataType, tmp_path: Path) -> None:
    halves = {name: mean.astype(np.float16) for name, mean in MEANS.items()}
    names = pa.array(list(MEANS), pa.dictionary(pa.int32(), pa.string()))
    lists = pa.array([list(mean) for mean in halves.values()], pa.list_(pa.float16())).cast(kind)
    expected = {name: mean.astype(np.float32) for name, mean in halves.items()}
    source = parquet(tmp_path, number=[1, 2, 3], who=names, values=lists)
    assert_rows(imported(source, SEQUENCES), expected)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.list_(pa.float32())), pa.large_list(pa.list_(pa.float32(), 4))], ids=str
)
def test_rows_in_a_list_column(kind: pa.DataType, tmp_path: Path) -> None:
    lists = pa.array([rows.tolist() for rows in ROWS.values()], kind)
    assert_rows(imported(parquet(tmp_path, id=list(ROWS), note=["x"] * 3, embedding=lists), SEQUENCES), ROWS)


def test_flat_rows_with_their_number_in_a_column(tmp_path: Path) -> None:
    lists = [rows.reshape(-1).tolist() for rows in ROWS.values()]
    source = parquet(tmp_path, id=list(ROWS), embedding=lists, length=[len(rows) for rows in ROWS.values()])
    assert_rows(imported(source, SEQUENCES, granularity="residue"), ROWS)
    source = parquet(tmp_path, id=list(ROWS), embedding=lists, length=[3, 4, 8])
    assert "20 numbers, which is no multiple of the column length: 1: row 1" in refusal(
        source, granularity="residue"
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": ["P1"], "embedding": [[1]]}, "has not one column of lists of floating-point numbers"),
        ({"number": [1], "embedding": [[1.0]]}, "has not one column of names"),
        ({"a": ["P1"], "b": ["P1"], "embedding": [[1.0]]}, "a (string), b (string), embedding (list<"),
        ({"id": ["P1"], "x": [[1.0]], "y": [[1.0]]}, "of several, one called embedding, embeddings"),
        ({"id": ["P1", "P1", "P2"], "embedding": [[1.0]] * 3}, "got: P1 (row 1, row 2)"),
        ({"id": ["P1", "P2", "P3"], "embedding": [[1.0], None, [1.0]]}, "no embedding in its row: 1: row 2"),
        ({"id": ["P1", "P2", "P3"], "embedding": [[1.0], [None], [1.0]]}, "not finite: NaN or infinite: 1"),
        (
            {"id": ["P1", "P2", "P3"], "embedding": [[[1.0]], [[1.0], [1.0, 2.0]], [[1.0]]]},
            "rows of different widths, or without numbers: 1: row 2",
        ),
    ],
)
def test_tables_that_are_none(columns: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in refusal(parquet(tmp_path, **columns))


def as_h5(folder: Path) -> Path:
    def fill(file: h5py.File) -> None:
        for name, rows in ROWS.items():
            file[name] = rows

    return hdf5(folder, fill)


def as_npz(folder: Path) -> Path:
    np.savez(folder / "all.npz", **ROWS)  # type: ignore[arg-type]
    return folder / "all.npz"


def as_npy(folder: Path) -> Path:
    (folder / "npy").mkdir()
    (folder / "npy").chmod(0o755)
    for name, rows in ROWS.items():
        np.save(folder / "npy" / f"{name}.npy", rows)
    return folder / "npy"


def as_pt(folder: Path) -> Path:
    torch.save({name: torch.from_numpy(rows) for name, rows in ROWS.items()}, folder / "all.pt")
    return folder / "all.pt"


def as_safetensors(folder: Path) -> Path:
    save_file({name: torch.from_numpy(rows) for name, rows in ROWS.items()}, folder / "all.safetensors")
    return folder / "all.safetensors"


def as_parquet(folder: Path) -> Path:
    return parquet(folder, id=list(ROWS), embedding=[rows.tolist() for rows in ROWS.values()])


EVERY_KIND = [as_h5, as_npz, as_npy, as_pt, as_safetensors, as_parquet]


def read_first(source: Path) -> None:
    opened = open_source(source)
    opened.read(next(iter(opened.labels)))


@pytest.mark.parametrize("make", EVERY_KIND)
def test_too_many_open_files_are_not_called_damage(make: Callable[[Path], Path], tmp_path: Path) -> None:
    source = make(tmp_path)
    assert_rows(imported(source, SEQUENCES), ROWS)  # what it imports, it has by now
    with pytest.raises(UnavailableError) as caught, no_file_to_spare():
        read_first(source)
    told = str(caught.value)
    assert "the file could not be read" in told
    assert "got: Too many open files" in told
    assert "ulimit -n" in told
    assert "damaged" not in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a file")
@pytest.mark.parametrize("make", EVERY_KIND)
def test_a_file_that_may_not_be_read_is_not_called_damaged(make: Callable[[Path], Path]) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        Path(name).chmod(0o755)
        source = make(Path(name))
        locked = min(source.iterdir()) if source.is_dir() else source
        locked.chmod(0)
        with pytest.raises(UnavailableError) as caught, nobody():
            read_first(source)
    assert f"where: {locked}" in str(caught.value)
    assert "got: Permission denied" in str(caught.value)
    assert "get permission to read it" in str(caught.value)


class Failing:
    """A source whose numbers cannot be had."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: object, **__: object) -> object:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), "got: memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), "got: memory ran out"),
        (OSError(errno.EIO, "x"), "got: Input/output error"),
        (OSError(errno.ESTALE, "x"), "the file itself may be whole"),
    ],
)
@pytest.mark.parametrize("when", ["survey", "write"])
def test_a_cause_outside_the_file_is_told_as_it_is(
    error: Exception, expected: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the cache is written, where damage would mean that the source was changed."""
    source = as_npy(tmp_path)
    table, rules = table_of(tmp_path, SEQUENCES), ImportRules(embedder_name="theirs")
    found = survey(open_source(source), table, rules)
    monkeypatch.setattr("ppi_train.embeddings.import_sources.arrays._read_npy", Failing(error))
    path = tmp_path / "new" / "cache.parquet"
    again: dict[str, Callable[[], object]] = {
        "survey": lambda: survey(open_source(source), table, rules),
        "write": lambda: write_import(found, path),
    }
    with pytest.raises(UnavailableError) as caught:
        again[when]()
    assert expected in str(caught.value)
    assert f"where: {source / 'P1.npy'}" in str(caught.value)


def test_a_folder_that_cannot_be_listed_is_not_called_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_npy(tmp_path)
    monkeypatch.setattr(os, "scandir", Failing(PermissionError(errno.EACCES, "x")))
    with pytest.raises(UnavailableError, match="Permission denied"):
        open_source(source)
