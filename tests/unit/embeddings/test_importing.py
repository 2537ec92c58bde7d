"""Tests of imports: the same cache from all formats, and refusals.

An error names the wrong item, and no code of a file is run.
"""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from ppi_train.data.fasta import SequenceTable, read_fasta, write_fasta
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.import_sources import open_source
from ppi_train.embeddings.importing import ImportRules, Survey, survey, write_import
from ppi_train.errors import ConfigError, DataError

DIMENSION = 6
SEQUENCES = {f"P{number:02d}": "MKVLAG"[: 1 + number % 6] * (1 + number) for number in range(14)}
Arrays = Mapping[str, Any]


@pytest.fixture
def table(tmp_path: Path) -> SequenceTable:
    write_fasta(tmp_path / "proteins.fasta", SEQUENCES)
    return read_fasta(tmp_path / "proteins.fasta")


def residues(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=(len(text), DIMENSION)).astype(np.float32) for name, text in SEQUENCES.items()
    }


def means(seed: int = 0) -> dict[str, np.ndarray]:
    return {name: rows.mean(axis=0) for name, rows in residues(seed).items()}


def flat_hdf5(folder: Path, arrays: Arrays) -> Path:
    with h5py.File(folder / "flat.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return folder / "flat.h5"


def nested_hdf5(folder: Path, arrays: Arrays) -> Path:
    """Groups above the accession and below it, compressed."""
    with h5py.File(folder / "nested.hdf5", "w") as file:
        for number, (name, array) in enumerate(arrays.items()):
            place = f"human/{name}" if number % 2 else f"yeast/{name}/embedding"
            file.create_dataset(place, data=array, compression="gzip")
    return folder / "nested.hdf5"


def bio_embeddings_hdf5(folder: Path, arrays: Arrays) -> Path:
    with h5py.File(folder / "numbered.h5", "w") as file:
        for number, (name, array) in enumerate(arrays.items()):
            file.create_dataset(str(number), data=array).attrs["original_id"] = name
    return folder / "numbered.h5"


def npy_folder(folder: Path, arrays: Arrays) -> Path:
    (folder / "npy" / "part").mkdir(parents=True, exist_ok=True)
    for number, (name, array) in enumerate(arrays.items()):
        np.save(folder / "npy" / ("part" if number % 2 else "") / f"{name}.npy", array)
    return folder / "npy"


def npz(folder: Path, arrays: Arrays) -> Path:
    np.savez_compressed(folder / "archive.npz", **arrays)
    return folder / "archive.npz"


def pt_folder(folder: Path, arrays: Arrays) -> Path:
    (folder / "pt").mkdir(exist_ok=True)
    for name, array in arrays.items():
        torch.save(torch.from_numpy(np.asarray(array)), folder / "pt" / f"{name}.pt")
    return folder / "pt"


def dscript_hdf5(folder: Path, arrays: Arrays) -> Path:
    """A batch of one protein in each data set."""
    with h5py.File(folder / "dscript.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array[None]
    return folder / "dscript.h5"


def pt_dictionary(folder: Path, arrays: Arrays) -> Path:
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, folder / "all.pt")
    return folder / "all.pt"


def safetensors_file(folder: Path, arrays: Arrays) -> Path:
    save_file(dict(arrays), folder / "all.safetensors")
    return folder / "all.safetensors"


def parquet_lists(folder: Path, arrays: Arrays) -> Path:
    lists = [array.tolist() for array in arrays.values()]
    table = pa.table({"protein_id": list(arrays), "embedding": lists})
    pq.write_table(table, folder / "lists.parquet", row_group_size=5)
    return folder / "lists.parquet"


WRITERS = (
    flat_hdf5, nested_hdf5, bio_embeddings_hdf5, dscript_hdf5, npy_folder, npz, pt_folder, pt_dictionary,
    safetensors_file, parquet_lists,
)  # fmt: skip


def rules(**changes: Any) -> ImportRules:
    return ImportRules(**{"embedder_name": "theirs", **changes})


def imported(source: Path, table: SequenceTable, path: Path, **changes: Any) -> EmbeddingCache:
    write_import(survey(open_source(source), table, rules(**changes)), path)
    return EmbeddingCache(path)


def message(source: Path, table: SequenceTable, *, layer: int | None = None, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        survey(
            open_source(source, granularity=changes.get("granularity", "auto"), layer=layer),
            table,
            rules(**changes),
        )
    return str(caught.value)


@pytest.mark.parametrize("make", [residues, means])
def test_every_kind_of_source_gives_the_same_bytes(
    make: Callable[[], dict[str, np.ndarray]], tmp_path: Path, table: SequenceTable
) -> None:
    arrays = make()
    caches = [tmp_path / f"{writer.__name__}.parquet" for writer in WRITERS]
    for writer, path in zip(WRITERS, caches, strict=True):
        imported(writer(tmp_path, arrays), table, path)
    first, *others = [path.read_bytes() for path in caches]
    assert all(content == first for content in others)
    cache = EmbeddingCache(caches[0])
    assert cache.spec.granularity == ("residue" if make is residues else "protein")
    assert cache.spec.embedder["name"] == "theirs"
    assert cache.lengths == {name: len(text) for name, text in SEQUENCES.items()}
    cache.check_sequences(SEQUENCES)
    names = sorted(SEQUENCES)
    expected = np.stack([np.atleast_2d(arrays[name]).mean(axis=0) for name in names])
    np.testing.assert_allclose(cache.protein_matrix(names), expected, rtol=1e-6)
    if make is residues:
        for name, rows in cache.residues(names):
            np.testing.assert_array_equal(rows, arrays[name])


def test_other_numbers_have_another_digest_and_the_same_recipe(tmp_path: Path, table: SequenceTable) -> None:
    """So that runs on different numbers differ, and a model of one import can score another."""
    first, second = (
        imported(npz(tmp_path, residues(seed)), table, tmp_path / f"{seed}.parquet") for seed in (0, 1)
    )
    assert first.digest != second.digest
    assert first.spec.recipe() == second.spec.recipe()
    named = imported(npz(tmp_path, residues()), table, tmp_path / "named.parquet", embedder_name="ours")
    assert named.spec.recipe() != first.spec.recipe()


def test_precision_order_and_a_batch_of_one_vector_make_no_difference(
    tmp_path: Path, table: SequenceTable
) -> None:
    halves = {name: array.astype(np.float16) for name, array in means().items()}
    plain = imported(npz(tmp_path, halves), table, tmp_path / "plain.parquet", dtype="float16")
    rows = {name: array[None].astype(">f8") for name, array in reversed(halves.items())}
    wrapped = imported(npz(tmp_path, rows), table, tmp_path / "wrapped.parquet", dtype="float16")
    assert plain.digest == wrapped.digest
    assert (tmp_path / "plain.parquet").read_bytes() == (tmp_path / "wrapped.parquet").read_bytes()


def esm_folder(folder: Path, content: Callable[[str], dict[str, object]]) -> Path:
    """As extract.py writes it: the file is named after the whole header."""
    (folder / "esm").mkdir(exist_ok=True)
    for name in SEQUENCES:
        label = f"sp|{name}|SOME_HUMAN A protein"
        torch.save({"label": label, **content(name)}, folder / "esm" / f"{label}.pt")
    return folder / "esm"


def layers(arrays: Mapping[int, Arrays], name: str) -> dict[int, torch.Tensor]:
    return {layer: torch.from_numpy(of_layer[name]) for layer, of_layer in arrays.items()}


@pytest.mark.parametrize(("make", "key"), [(residues, "representations"), (means, "mean_representations")])
def test_the_files_of_esm_give_their_last_layer_or_the_one_asked_for(
    make: Callable[[int], dict[str, np.ndarray]], key: str, tmp_path: Path, table: SequenceTable
) -> None:
    both = {6: make(6), 33: make(33)}
    folder = esm_folder(tmp_path, lambda name: {key: layers(both, name)})
    for wanted, found in ((None, 33), (6, 6)):
        source = open_source(folder, layer=wanted)
        write_import(survey(source, table, rules()), tmp_path / "esm.parquet")
        cache = EmbeddingCache(tmp_path / "esm.parquet")
        assert cache.spec.embedder["parameters"] == {"imported": True, "layer": found}
        expected = np.stack([np.atleast_2d(array).mean(axis=0) for array in both[found].values()])
        np.testing.assert_allclose(cache.protein_matrix(list(SEQUENCES)), expected, rtol=1e-6)
    assert "no layer 7, only 6, 33: 14: sp|P00|" in message(folder, table, layer=7)


def test_files_of_esm_with_residues_and_means_give_the_kind_asked_for(
    tmp_path: Path, table: SequenceTable
) -> None:
    folder = esm_folder(
        tmp_path,
        lambda name: {
            "representations": layers({1: residues()}, name),
            "mean_representations": layers({1: means()}, name),
        },
    )
    assert "both residues and means: give granularity=" in message(folder, table)
    for granularity in ("residue", "protein"):
        source = open_source(folder, granularity=granularity)
        assert survey(source, table, rules(granularity=granularity)).spec.granularity == granularity
    contacts = esm_folder(tmp_path, lambda _: {"contacts": torch.zeros(2, 2)})
    assert "a mapping without representations nor mean_representations" in message(contacts, table)


def test_half_precision_tensors_are_read(tmp_path: Path, table: SequenceTable) -> None:
    folder = pt_folder(tmp_path, means())
    for file in folder.iterdir():
        torch.save(torch.ones(DIMENSION, dtype=torch.bfloat16, requires_grad=True), file)
    cache = imported(folder, table, tmp_path / "ones.parquet")
    assert (cache.protein_matrix(["P00"]) == 1).all()


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "sprung")


def object_array(trap: Trap) -> np.ndarray:
    array = np.empty(1, dtype=object)
    array[0] = trap
    return array


def trap_in_npy(folder: Path, trap: Trap) -> Path:
    source = npy_folder(folder, means())
    np.save(source / "P00.npy", object_array(trap), allow_pickle=True)
    return source


def bare_pickle_as_npy(folder: Path, trap: Trap) -> Path:
    source = npy_folder(folder, means())
    (source / "P00.npy").write_bytes(pickle.dumps(trap))
    return source


def trap_in_npz(folder: Path, trap: Trap) -> Path:
    return npz(folder, {**means(), "P00": object_array(trap)})


def trap_in_pt(folder: Path, trap: Trap) -> Path:
    source = pt_folder(folder, means())
    torch.save({"representations": {1: trap}}, source / "P00.pt")
    return source


def bare_pickle_as_pt(folder: Path, trap: Trap) -> Path:
    source = pt_folder(folder, means())
    (source / "P00.pt").write_bytes(pickle.dumps(trap))
    return source


def spring(file: Path) -> None:
    """Loads a file as it must not be loaded."""
    if file.suffix == ".pt":
        torch.load(file, weights_only=False)
    else:
        loaded = np.load(file, allow_pickle=True)
        _ = loaded["P00"] if file.suffix == ".npz" else loaded


@pytest.mark.parametrize(
    "set_trap", [trap_in_npy, bare_pickle_as_npy, trap_in_npz, trap_in_pt, bare_pickle_as_pt]
)
def test_a_file_that_could_run_code_is_refused_and_not_run(
    set_trap: Callable[[Path, Trap], Path], tmp_path: Path, table: SequenceTable
) -> None:
    victim = tmp_path / "victim"
    source = set_trap(tmp_path, Trap(victim))
    told = message(source, table)
    assert "pickled objects, which could run code, are not read: 1: P00" in told
    assert "weights_only" not in told
    assert not victim.exists()
    file = next(source.glob("P00.*")) if source.is_dir() else source
    with contextlib.suppress(RuntimeError):  # torch misses its own format, after the pickle was run
        spring(file)
    assert victim.read_text() == "sprung"


def external_data(folder: Path, numbers: Path) -> Path:
    with h5py.File(folder / "out.h5", "w") as file:
        for name, array in means().items():
            if name == "P00":
                outside = [(str(numbers), 0, array.nbytes)]
                file.create_dataset(name, shape=array.shape, dtype=array.dtype, external=outside)
            else:
                file[name] = array
    return folder / "out.h5"


def virtual_data(folder: Path, numbers: Path) -> Path:
    with h5py.File(folder / "other.h5", "w") as file:
        file["secret"] = np.fromfile(numbers, dtype=means()["P00"].dtype)
    with h5py.File(folder / "out.h5", "w") as file:
        for name, array in means().items():
            if name == "P00":
                layout = h5py.VirtualLayout(shape=array.shape, dtype=array.dtype)
                layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "secret", shape=array.shape)
                file.create_virtual_dataset(name, layout)
            else:
                file[name] = array
    return folder / "out.h5"


@pytest.mark.parametrize("make", [external_data, virtual_data])
def test_numbers_in_another_file_are_not_read(
    make: Callable[[Path, Path], Path], tmp_path: Path, table: SequenceTable
) -> None:
    """An HDF5 file can have its numbers in any file that its reader may open."""
    (tmp_path / "private").write_bytes(means()["P00"].tobytes())
    source = make(tmp_path, tmp_path / "private")
    with h5py.File(source) as file:
        np.testing.assert_array_equal(file["P00"], means()["P00"])
    assert "numbers that lie in another file, which is not opened: 1: P00" in message(source, table)


def with_rows(count: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: np.resize(rows, (len(rows) + count, rows.shape[1]))


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(rows: np.ndarray) -> np.ndarray:
        changed = rows.copy()
        changed[-1, -1] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("spoil", "changes", "expected"),
    [
        (with_rows(2), {}, "2 more rows than residues: special tokens were left in (leave out the first and"),
        (with_rows(1), {}, "1 more rows than residues: special tokens were left in (leave out the row of"),
        (with_rows(9), {}, "more rows than residues"),
        (with_rows(-3), {}, "fewer rows than residues (give max_length if the source was cut to it)"),
        (lambda rows: rows.mean(axis=0), {}, "one vector, where others have rows"),
        (with_value(np.nan), {}, "not finite: NaN or infinite"),
        (with_value(-np.inf), {}, "not finite: NaN or infinite"),
        (with_value(1e5), {"dtype": "float16"}, "beyond the range of embedding_dtype=float16"),
        (lambda rows: rows[:, :-1], {}, "not 6 numbers wide, as most are"),
        (lambda rows: rows[:0], {}, "empty"),
        (lambda rows: np.stack([rows, rows]), {}, "neither a vector nor one row per residue"),
        (lambda rows: rows[0, 0], {}, "neither a vector nor one row per residue"),
        (lambda rows: (9 * rows).astype(np.int8), {}, "not floating-point numbers but int8"),
        (lambda rows: rows, {"max_length": 20}, "not cut to max_length=20 (leave max_length unset"),
        (lambda rows: rows[:20], {"max_length": 20, "truncation": "error"}, "longer than max_length=20"),
        (lambda rows: rows, {"granularity": "protein"}, "several rows, and granularity=protein"),
    ],
)
@pytest.mark.parametrize("writer", [flat_hdf5, npy_folder, npz, pt_folder])
def test_what_is_wrong_is_told_with_the_protein(
    writer: Callable[[Path, Arrays], Path],
    spoil: Callable[[np.ndarray], np.ndarray],
    changes: dict[str, Any],
    expected: str,
    tmp_path: Path,
    table: SequenceTable,
) -> None:
    arrays = {**residues(), "P13": spoil(residues()["P13"])}
    source = writer(tmp_path, arrays)
    told = message(source, table, **changes)
    (line,) = [line for line in told.splitlines() if expected in line]
    assert "P1" in line
    assert str(source) in told


def test_exchanged_rows_and_columns(tmp_path: Path, table: SequenceTable) -> None:
    source = npz(tmp_path, {name: rows.T for name, rows in residues().items()})
    assert "rows and columns exchanged (transpose them)" in message(source, table)


def test_all_problems_are_told_at_once_each_with_its_first_ten(tmp_path: Path, table: SequenceTable) -> None:
    arrays = {name: with_rows(2)(rows) for name, rows in residues().items()}
    source = npy_folder(tmp_path, {**arrays, "P13": np.full((30, DIMENSION), np.nan)})
    whole = (source / "P00.npy").read_bytes()
    (source / "P00.npy").write_bytes(whole[:-8])
    told = message(source, table)
    assert "the embeddings of 14 proteins cannot be imported" in told
    assert "cut short or damaged: 1: P00.npy (" in told
    assert "not finite: NaN or infinite: 1: part/P13.npy" in told
    tokens = next(line for line in told.splitlines() if "special tokens" in line)
    assert ": 13: P01 (" in tokens
    assert "P10 (" in tokens
    assert "P11 (" not in tokens
    assert tokens.endswith(", ...")


@pytest.mark.parametrize("truncation", ["head", "head_tail"])
def test_rows_that_the_source_cut_are_taken_and_recorded(
    truncation: str, tmp_path: Path, table: SequenceTable
) -> None:
    source = npz(tmp_path, {name: rows[:20] for name, rows in residues().items()})
    assert "give max_length if the source was cut" in message(source, table)
    cache = imported(source, table, tmp_path / "cut.parquet", max_length=20, truncation=truncation)
    assert (cache.spec.max_length, cache.spec.truncation) == (20, truncation)
    assert cache.lengths["P13"] == 28
    assert {name: len(rows) for name, rows in cache.residues(["P13", "P00"])} == {"P00": 1, "P13": 20}


def test_missing_proteins_are_refused_or_dropped_and_others_left_out(
    tmp_path: Path, table: SequenceTable, caplog: pytest.LogCaptureFixture
) -> None:
    known = {name: array for name, array in means().items() if name not in ("P03", "P07")}
    source = npz(tmp_path, {**known, "Q1": np.ones(99), "Q2": np.ones(3)})
    told = message(source, table)
    assert "2 of 14 proteins of the FASTA have no embedding" in told
    assert "got: P03, P07" in told
    assert "missing=drop" in told
    found = survey(open_source(source), table, rules(missing="drop"))
    write_import(found, tmp_path / "some.parquet")
    assert sorted(set(SEQUENCES) - {"P03", "P07"}) == list(found.places)
    assert len(EmbeddingCache(tmp_path / "some.parquet")) == 12
    assert (
        "2 of 14 embeddings belong to no protein of the FASTA and are left out: Q1.npy, Q2.npy" in caplog.text
    )


def test_names_that_do_not_fit_the_fasta(tmp_path: Path, table: SequenceTable) -> None:
    told = message(npz(tmp_path, {f"{name}_HUMAN": array for name, array in means().items()}), table)
    assert "no embedding belongs to a protein of the FASTA" in told
    assert "got: P00_HUMAN.npy, " in told
    assert "names such as P00, P01, " in told
    twice = flat_hdf5(tmp_path, {**means(), "other/P00": means()["P00"], "P01_/x": np.ones(3)})
    assert "two embeddings or more for 1 protein" in message(twice, table)
    assert "P00 (P00, other/P00)" in message(twice, table)


def test_a_name_in_no_known_encoding_is_told_and_left_out(tmp_path: Path, table: SequenceTable) -> None:
    source = npy_folder(tmp_path, means())
    strange = bytes(source) + b"/\xff\xfe.npy"
    Path(strange.decode("utf-8", "surrogateescape")).write_bytes((source / "P00.npy").read_bytes())
    found = survey(open_source(source), table, rules())
    assert len(found.extra) == 1


def test_a_source_that_changes_before_it_is_written_leaves_no_cache(
    tmp_path: Path, table: SequenceTable
) -> None:
    source = npy_folder(tmp_path, means())
    found: Survey = survey(open_source(source), table, rules())
    np.save(source / "P00.npy", np.zeros(DIMENSION, dtype=np.float32))
    with pytest.raises(DataError, match="was changed while it was read"):
        write_import(found, tmp_path / "new" / "cache.parquet")
    assert list((tmp_path / "new").iterdir()) == []


def mixed_folder(folder: Path) -> Path:
    (folder / "mixed").mkdir()
    for name in ("P00.npy", "P01.pt"):
        (folder / "mixed" / name).touch()
    return folder / "mixed"


def file_of(name: str, content: bytes = b"anything") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: folder / "nowhere.h5", "the source of the embeddings is not there"),
        (lambda folder: folder, "0 .npy files and 0 .pt files"),
        (mixed_folder, "the folder holds two kinds of embeddings"),
        (file_of("P00.npy"), "name the folder that the file lies in"),
        (file_of("all.pkl"), "pickles are not read, for they can run code"),
        (file_of("all.h5"), "the file is cut short, damaged or not HDF5"),
        (file_of("all.npz"), "the file is cut short, damaged or not a NumPy archive"),
    ],
)
def test_sources_that_are_none(make: Callable[[Path], Path], expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_source(make(tmp_path))
    assert expected in str(caught.value)


def test_without_h5py_the_command_that_installs_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = flat_hdf5(tmp_path, means())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"pip install h5py, .* pip install -e '\.\[h5\]'"):
        open_source(source)


MEASURE = """
import sys
from pathlib import Path
from ppi_train.data.fasta import read_fasta
from ppi_train.embeddings.import_sources import open_source
from ppi_train.embeddings.importing import ImportRules, survey, write_import

def status(name):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024

mode, fasta, *sources = sys.argv[1:]
table = read_fasta(fasta)
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
before = status("VmRSS")
for source in sources:
    found = survey(open_source(Path(source)), table, ImportRules(embedder_name="big"))
    if mode == "write":
        write_import(found, Path(source).with_suffix(".parquet"))
print(status("VmHWM") - before)
"""
MEGABYTE = 2**20
LENGTH, WIDTH = 500, 1024

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from /proc"
)


def peak_growth(mode: str, *paths: Path) -> float:
    """By how many megabytes the memory of a process of its own grows at most."""
    command = [sys.executable, "-c", MEASURE, mode, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / MEGABYTE


def long_proteins(folder: Path, count: int) -> list[str]:
    names = [f"P{number:03d}" for number in range(count)]
    write_fasta(folder / "big.fasta", dict.fromkeys(names, "M" * LENGTH))
    return names


@needs_proc
def test_sources_larger_than_the_memory_that_checking_them_takes(tmp_path: Path) -> None:
    names = long_proteins(tmp_path, 64)
    rows = np.random.default_rng(0).normal(size=(LENGTH, WIDTH)).astype(np.float32)
    arrays: Arrays = dict.fromkeys(names, rows)
    np.savez(tmp_path / "archive.npz", **arrays)
    sources = [writer(tmp_path, arrays) for writer in (flat_hdf5, npy_folder, pt_folder)]
    assert sources[0].stat().st_size > 120 * MEGABYTE
    grown = peak_growth("survey", tmp_path / "big.fasta", *sources, tmp_path / "archive.npz")
    assert grown < 40


@needs_proc
@pytest.mark.slow
def test_a_source_larger_than_the_memory_that_importing_it_takes(tmp_path: Path) -> None:
    names = long_proteins(tmp_path, 448)
    with h5py.File(tmp_path / "big.h5", "w") as file:
        for name in names:  # chunks that were never written take no place and are read like any other
            file.create_dataset(name, (LENGTH, WIDTH), "f4", chunks=(LENGTH, WIDTH), fillvalue=0.5)
    grown = peak_growth("write", tmp_path / "big.fasta", tmp_path / "big.h5")
    assert (tmp_path / "big.parquet").stat().st_size > 875 * MEGABYTE
    assert grown < 400  # a row group, as proteins and as a column, and Arrow's page of it
