"""Tests of prepared data sets: made once, remade when changed, concurrently."""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from ppi_train.data import benchmarks as catalogue
from ppi_train.data.benchmarks import Benchmark, CatalogueFile, NotInMirrorError
from ppi_train.data.benchmarks import prepare as benchmarks
from ppi_train.data.benchmarks.prepare import DATASETS, SPLITS, Dataset, prepare_dataset
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.errors import ConfigError, DataError


@pytest.fixture
def mirror() -> str:
    found = os.environ.get("PPI_TRAIN_MIRROR")
    if not found:
        pytest.skip("PPI_TRAIN_MIRROR is not set: no mirror with the benchmarks' files")
    return found


def _pairs(table: PairTable, label: int) -> set[tuple[str, str]]:
    assert table.labels is not None
    chosen = table.index[table.labels == label].tolist()
    return {(table.proteins[a], table.proteins[b]) for a, b in chosen}


def _stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def _example(data_dir: Path, seed: int = 0) -> Dataset:
    return prepare_dataset("example", data_dir=data_dir, mirror=None, splits=SPLITS, data_seed=seed)


def _check_sequences(dataset: Dataset) -> None:
    for split in dataset.splits.values():
        assert set(read_pairs(split.pairs).proteins) <= set(read_fasta(split.fasta).sequences)


def test_the_example_is_written_once(tmp_path: Path) -> None:
    dataset = _example(tmp_path)
    before = _stamps(tmp_path)
    assert list(dataset.splits) == list(SPLITS)
    assert dataset.splits["train"].pairs == tmp_path / "example" / "train.tsv"
    _check_sequences(dataset)
    assert _example(tmp_path) == dataset
    assert _stamps(tmp_path) == before


@pytest.mark.parametrize("damage", ["test.tsv", "sequences.fasta", "dataset.json"])
@pytest.mark.parametrize("how", ["removed", "cut"])
def test_what_was_damaged_is_made_again(tmp_path: Path, damage: str, how: str) -> None:
    dataset = _example(tmp_path)
    file = tmp_path / "example" / damage
    whole = file.read_bytes()
    if how == "cut":
        file.write_bytes(whole[:100])
    else:
        file.unlink()
    assert _example(tmp_path) == dataset
    assert file.read_bytes() == whole


def test_another_recipe_makes_the_files_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _example(tmp_path)
    before = _stamps(tmp_path)
    monkeypatch.setattr(benchmarks, "VERSION", benchmarks.VERSION + 1)
    _example(tmp_path)
    assert all(stamp > before[path] for path, stamp in _stamps(tmp_path).items())


def test_another_seed_has_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = _example(tmp_path), _example(tmp_path, seed=7)
    assert second.splits["train"].pairs.parent == tmp_path / "example-seed7"
    assert first.splits["train"].pairs.read_bytes() != second.splits["train"].pairs.read_bytes()


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    alone = _example(tmp_path / "alone")
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: _example(tmp_path / "together"), range(4)))
    for name, split in alone.splits.items():
        assert together[0].splits[name].pairs.read_bytes() == split.pairs.read_bytes()
    names = {path.name for path in (tmp_path / "together" / "example").iterdir()}
    assert names == {"train.tsv", "validation.tsv", "test.tsv", "sequences.fasta", "dataset.json"}


def test_unknown_names_and_a_folder_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean bernett") as caught:
        prepare_dataset("bernet", data_dir=tmp_path, mirror=None, splits=SPLITS)
    assert all(name in str(caught.value) for name in DATASETS)
    with pytest.raises(ConfigError, match="there is no split 'val'"):
        prepare_dataset("example", data_dir=tmp_path, mirror=None, splits=("val",))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        _example(tmp_path / "file")


def _small_pring(monkeypatch: pytest.MonkeyPatch, folder: Path, unchecked: str = "") -> str:
    """A network of 40 proteins in a mirror; the first eight are test proteins."""
    rng = np.random.default_rng(0)
    names = [f"P{number:02d}" for number in range(40)]
    edges = {tuple(sorted(rng.choice(names, 2, replace=False).tolist())) for _ in range(150)}
    tested = [edge for edge in sorted(edges) if edge[1] < "P08"]
    texts = {
        "sequences": "".join(f">{name}\nMKV\n" for name in names),
        "edges": "".join(f"{a}\t{b}\n" for a, b in sorted(edges)),
        "test_pairs": "".join(f"{a}\t{b}\t1\n" for a, b in tested) + "P00\tP00\t0\nP07\tP07\t0\n",
    }
    files = {}
    for role, text in texts.items():
        (folder / "example.org").mkdir(parents=True, exist_ok=True)
        (folder / "example.org" / role).write_text(text)
        digest = None if role == unchecked else hashlib.sha256(text.encode()).hexdigest()
        files[role] = CatalogueFile(f"https://example.org/{role}", digest)
    small = Benchmark(name="pring_arath", title="small", licence="-", citation="-", files=files)
    monkeypatch.setattr(catalogue, "CATALOGUE", MappingProxyType({"pring_arath": small}))
    return str(folder)


def test_drawn_sets_keep_off_test_proteins_and_known_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = _small_pring(monkeypatch, tmp_path / "mirror")
    dataset = prepare_dataset("pring_arath", data_dir=tmp_path, mirror=mirror, splits=SPLITS)
    _check_drawn(dataset, read_pairs(tmp_path / "mirror" / "example.org" / "edges", labels="optional"))


def _check_drawn(dataset: Dataset, edges: PairTable) -> None:
    train, validation, test = (read_pairs(dataset.splits[split].pairs) for split in SPLITS)
    known = {(edges.proteins[a], edges.proteins[b]) for a, b in edges.index.tolist()}
    pool = {pair for pair in known if not set(pair) & set(test.proteins)}
    assert _pairs(train, 1) | _pairs(validation, 1) == pool
    assert not _pairs(train, 1) & _pairs(validation, 1)
    assert not _pairs(train, 0) & _pairs(validation, 0)
    assert len(_pairs(validation, 1)) == round(0.2 * len(pool))
    for table in (train, validation):
        assert table.positives * 2 == len(table)
        assert not _pairs(table, 0) & known
        assert not set(table.proteins) & set(test.proteins)
    _check_sequences(dataset)


def test_the_digest_of_an_unchecked_source_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = _small_pring(monkeypatch, tmp_path / "mirror", unchecked="sequences")
    prepare_dataset("pring_arath", data_dir=tmp_path, mirror=mirror, splits=("test",))
    marker = json.loads((tmp_path / "pring_arath" / "dataset.json").read_text())
    content = (tmp_path / "mirror" / "example.org" / "sequences").read_bytes()
    assert marker["unchecked"] == {"sequences": hashlib.sha256(content).hexdigest()}


def test_bernett_from_the_mirror(tmp_path: Path, mirror: str) -> None:
    wanted = ("train", "validation")
    dataset = prepare_dataset("bernett", data_dir=tmp_path, mirror=mirror, splits=wanted)
    train, validation = (read_pairs(dataset.splits[split].pairs) for split in wanted)
    assert (len(train), train.positives, len(train.proteins)) == (163_192, 81_596, 4_286)
    assert (len(validation), validation.positives, len(validation.proteins)) == (59_260, 29_630, 3_711)
    assert not set(train.proteins) & set(validation.proteins)
    _check_sequences(dataset)
    started = time.perf_counter()
    assert prepare_dataset("bernett", data_dir=tmp_path, mirror=None, splits=wanted) == dataset
    assert time.perf_counter() - started < 0.1


def test_human_from_the_mirror(tmp_path: Path, mirror: str) -> None:
    wanted = ("train", "validation")
    dataset = prepare_dataset("human", data_dir=tmp_path, mirror=mirror, splits=wanted)
    train, validation = (read_pairs(dataset.splits[split].pairs) for split in wanted)
    assert (len(train), train.positives, len(train.proteins)) == (222_583, 110_644, 7_018)
    assert (len(validation), validation.positives, len(validation.proteins)) == (4_997, 2_696, 896)
    assert not set(train.proteins) & set(validation.proteins)
    _check_sequences(dataset)
    parts = prepare_dataset("bernett", data_dir=tmp_path, mirror=mirror, splits=wanted)
    first, second = (read_pairs(parts.splits[split].pairs) for split in wanted)
    assert set(validation.proteins) < set(second.proteins)
    # What interacts by one source interacts, also where another one drew the pair as a negative.
    assert _pairs(first, 1) < _pairs(train, 1)
    assert len((_pairs(first, 0) | _pairs(second, 0)) & _pairs(train, 1)) == 54


def test_only_the_files_of_the_splits_are_fetched(tmp_path: Path, mirror: str) -> None:
    prepare_dataset("bernett", data_dir=tmp_path, mirror=mirror, splits=("validation",))
    names = {path.name for path in (tmp_path / "downloads").rglob("*.tsv")}
    assert names == {"Intra0_interaction.tsv", "Intra0_dictionary.tsv"}


def test_a_split_that_the_mirror_lacks(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    with pytest.raises(NotInMirrorError, match="does not hold the file") as caught:
        prepare_dataset("bernett", data_dir=tmp_path, mirror=str(tmp_path / "mirror"), splits=("test",))
    assert "Intra2_interaction.tsv" in str(caught.value)


def test_pring_arath_from_the_mirror(tmp_path: Path, mirror: str) -> None:
    dataset = prepare_dataset("pring_arath", data_dir=tmp_path / "one", mirror=mirror, splits=SPLITS)
    edges = next((tmp_path / "one" / "downloads").rglob("arath_ppi.txt"))
    _check_drawn(dataset, read_pairs(edges, labels="optional"))
    assert len(read_pairs(dataset.splits["test"].pairs)) == 14_372
    again = prepare_dataset("pring_arath", data_dir=tmp_path / "two", mirror=mirror, splits=("train",))
    assert again.splits["train"].pairs.read_bytes() == dataset.splits["train"].pairs.read_bytes()
    other = prepare_dataset(
        "pring_arath", data_dir=tmp_path / "one", mirror=mirror, splits=("train",), data_seed=3
    )
    assert other.splits["train"].pairs.parent == tmp_path / "one" / "pring_arath-seed3"
    assert read_pairs(other.splits["train"].pairs).digest != read_pairs(dataset.splits["train"].pairs).digest
