"""Tests of the embedding cache: round trips, and errors for each damage."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppi_train.data.fasta import sequence_digest
from ppi_train.embeddings.cache import CONTENT_KEY, METADATA_KEY, CacheSpec, cache_schema, check_recipe
from ppi_train.embeddings.cache import file as cache_writer
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.errors import CacheError

Embeddings = Mapping[str, npt.NDArray[np.float32]]

DIMENSION = 4
PROTEINS = [f"P{number}" for number in range(9)]


def _spec(**changes: object) -> CacheSpec:
    spec = CacheSpec(
        embedder={"name": "descriptors", "parameters": {"k": 3}, "digest": "ab" * 32},
        dimension=DIMENSION,
        granularity="protein",
        dtype="float32",
        max_length=None,
        truncation="head",
        fasta_digest="cd" * 32,
    )
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


def _sequence(protein_id: str) -> str:
    return "M" * (1 + int(protein_id[1:]) % 5)


def _embeddings(granularity: str = "protein", proteins: list[str] = PROTEINS) -> Embeddings:
    rng = np.random.default_rng(0)
    shapes = {
        protein: (DIMENSION,) if granularity == "protein" else (len(_sequence(protein)), DIMENSION)
        for protein in proteins
    }
    return {protein: rng.normal(size=shape).astype(np.float32) for protein, shape in shapes.items()}


def _write(
    path: Path,
    embeddings: Embeddings,
    spec: CacheSpec | None = None,
    sequence: Callable[[str], str] = _sequence,
) -> Path:
    with CacheWriter(path, spec or _spec()) as writer:
        for protein_id, embedding in embeddings.items():
            text = sequence(protein_id)
            writer.add(protein_id, sequence_digest(text), len(text), embedding)
    return path


def _read_all(path: Path) -> None:
    cache = EmbeddingCache(path)
    present = [protein for protein in PROTEINS if protein in cache]
    cache.protein_matrix(present)
    if cache.spec.granularity == "residue":
        list(cache.residues(present))


def _message(*paths: Path) -> str:
    with pytest.raises(CacheError) as caught:
        EmbeddingCache(*paths)
    return str(caught.value)


@pytest.fixture
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few numbers in a row group that nine proteins need several."""
    monkeypatch.setattr(cache_writer, "ROW_GROUP_VALUES", 3 * DIMENSION)
    monkeypatch.setattr(cache_writer, "ROW_GROUP_BYTES", 6 * DIMENSION * 4)


@pytest.mark.usefixtures("_small_groups")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_proteins_read_back_in_the_order_asked_for(tmp_path: Path, dtype: str) -> None:
    embeddings = _embeddings()
    path = _write(tmp_path / "new" / "cache.parquet", embeddings, _spec(dtype=dtype))
    assert pq.ParquetFile(path).num_row_groups == 3
    cache = EmbeddingCache(path)
    order = ["P7", "P0", "P8", "P1", "P7"]
    matrix = cache.protein_matrix(order)
    assert matrix.dtype == np.float32
    expected = np.stack([embeddings[protein].astype(dtype) for protein in order]).astype(np.float32)
    np.testing.assert_array_equal(matrix, expected)
    assert cache.spec == _spec(dtype=dtype)
    assert (len(cache), "P3" in cache, "P9" in cache) == (9, True, False)
    assert cache.lengths["P3"] == len(_sequence("P3"))


@pytest.mark.usefixtures("_small_groups")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_residues_read_back_whole_and_as_means(tmp_path: Path, dtype: str) -> None:
    embeddings = _embeddings("residue")
    path = _write(tmp_path / "cache.parquet", embeddings, _spec(granularity="residue", dtype=dtype))
    assert pq.ParquetFile(path).num_row_groups > 2
    cache = EmbeddingCache(path)
    states = dict(cache.residues(["P8", "P1", "P4"]))
    assert sorted(states) == ["P1", "P4", "P8"]
    for protein_id, rows in states.items():
        np.testing.assert_array_equal(rows, embeddings[protein_id].astype(dtype))
    means = cache.protein_matrix(["P8", "P1"])
    expected = [embeddings[protein].astype(dtype).mean(axis=0, dtype=np.float32) for protein in ("P8", "P1")]
    np.testing.assert_array_equal(means, np.stack(expected))


def test_a_protein_cache_has_no_residues(tmp_path: Path) -> None:
    cache = EmbeddingCache(_write(tmp_path / "cache.parquet", _embeddings()))
    with pytest.raises(CacheError, match=r"has no residues\n.*\n  got: granularity protein"):
        next(cache.residues(["P1"]))


def test_a_cache_of_no_proteins_reads_back(tmp_path: Path) -> None:
    cache = EmbeddingCache(_write(tmp_path / "cache.parquet", {}))
    assert len(cache) == 0
    assert cache.protein_matrix([]).shape == (0, DIMENSION)
    assert cache.missing(["P1"]) == ["P1"]


@pytest.mark.usefixtures("_small_groups")
@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, granularity: str) -> None:
    paths = [
        _write(tmp_path / name, _embeddings(granularity), _spec(granularity=granularity)) for name in "ab"
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.usefixtures("_small_groups")
@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_a_file_cut_short_anywhere(tmp_path: Path, granularity: str) -> None:
    path = _write(tmp_path / "cache.parquet", _embeddings(granularity), _spec(granularity=granularity))
    content = path.read_bytes()
    for length in [*range(0, 13), *range(13, len(content), 37), len(content) - 4, len(content) - 1]:
        path.write_bytes(content[:length])
        message = _message(path)
        assert "the embedding cache is cut short or corrupt" in message, length
        assert str(path) in message
        assert "delete the file and make it again with the entry point `embed`" in message


@pytest.mark.usefixtures("_small_groups")
@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_a_changed_byte_among_the_embeddings_is_found(tmp_path: Path, granularity: str) -> None:
    embeddings = _embeddings(granularity)
    path = _write(tmp_path / "cache.parquet", embeddings, _spec(granularity=granularity))
    content = path.read_bytes()
    for embedding in embeddings.values():
        start = content.index(embedding.tobytes())
        for place in (start, start + embedding.nbytes - 1):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(CacheError, match="the embedding cache is cut short or corrupt"):
                _read_all(path)


@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_a_changed_byte_anywhere_is_a_cache_error_or_harmless(tmp_path: Path, granularity: str) -> None:
    """No other exception, and never other numbers; only the metadata's own text has no checksum."""
    path = _write(tmp_path / "cache.parquet", _embeddings(granularity), _spec(granularity=granularity))
    content = path.read_bytes()
    expected = EmbeddingCache(path).protein_matrix(PROTEINS)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    refused = 0
    for place in (*range(footer), *range(footer, len(content), 11)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :])
        try:
            np.testing.assert_array_equal(EmbeddingCache(path).protein_matrix(PROTEINS), expected)
        except CacheError:
            refused += 1
    assert refused > footer // 2


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "cache.parquet"
    path.write_text("protein_id,embedding\nP1,0.5\n" * 20)
    assert "cut short or corrupt" in _message(path)
    assert "expected: a whole Parquet file" in _message(path)


def test_a_parquet_file_that_is_no_cache(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"protein_a": ["P1"]}), path)
    message = _message(path)
    assert "the Parquet file is not an embedding cache" in message
    assert f"where: {path}" in message
    assert "make one with the entry point `embed`" in message


def test_a_cache_of_a_newer_version(tmp_path: Path) -> None:
    message = _message(_write(tmp_path / "cache.parquet", _embeddings(), _spec(schema_version=2)))
    assert "made by a newer version of ppi_train" in message
    assert "got: schema_version 2\n  expected: at most 1" in message


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"dimension": "4"}, "dimension='4'"),
        ({"dimension": 0}, "dimension=0"),
        ({"max_length": -1}, "max_length=-1"),
        ({"dtype": "float64"}, "dtype='float64'"),
        ({"granularity": "atom"}, "granularity='atom'"),
        ({"schema_version": None}, "'>' not supported"),
        ({"colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_metadata_that_make_no_sense(tmp_path: Path, change: dict[str, object], got: str) -> None:
    path = tmp_path / "cache.parquet"
    text = json.dumps({**json.loads(_spec().to_json()), **change})
    _write_table(path, _embeddings(), cache_schema(_spec()).with_metadata({METADATA_KEY: text.encode()}))
    message = _message(path)
    assert "the embedding cache's metadata is not valid" in message
    assert got in message


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b"{"])
def test_metadata_that_are_none(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "cache.parquet"
    _write_table(path, _embeddings(), cache_schema(_spec()).with_metadata({METADATA_KEY: text}))
    assert "the embedding cache's metadata is not valid" in _message(path)


def test_columns_other_than_the_metadata_say(tmp_path: Path) -> None:
    path = tmp_path / "cache.parquet"
    metadata = cache_schema(_spec(dimension=DIMENSION + 1)).metadata
    _write_table(path, _embeddings(), cache_schema(_spec()).with_metadata(metadata))
    assert "the columns of the embedding cache are not what its metadata says" in _message(path)


def test_absent_file_and_empty_folder(tmp_path: Path) -> None:
    assert f"there is no such embedding cache\n  where: {tmp_path / 'none'}" in _message(tmp_path / "none")
    (tmp_path / "notes.txt").touch()
    assert f"the folder holds no embedding cache\n  where: {tmp_path}" in _message(tmp_path)


def _write_table(path: Path, embeddings: Embeddings, schema: pa.Schema) -> None:
    """A cache as another program would write it, nothing checked."""
    ids = list(embeddings)
    columns = {
        "protein_id": ids,
        "sequence_digest": [sequence_digest(_sequence(protein)) for protein in ids],
        "length": [len(embeddings[protein]) for protein in ids],
        "crc32": [zlib.crc32(embeddings[protein].tobytes()) for protein in ids],
        "embedding": [embeddings[protein].reshape(-1).tolist() for protein in ids],
    }
    if pa.types.is_binary(schema.field("embedding").type):
        columns["embedding"] = [embeddings[protein].tobytes() for protein in ids]
    table = pa.Table.from_pydict({name: columns[name] for name in schema.names}, schema=schema)
    pq.write_table(table, path, compression="none", use_dictionary=False)


def test_files_of_a_folder_read_as_one(tmp_path: Path) -> None:
    embeddings = _embeddings()
    for name, part in (("a", PROTEINS[:5]), ("b", PROTEINS[4:])):
        _write(tmp_path / "cache" / f"{name}.parquet", {protein: embeddings[protein] for protein in part})
    cache = EmbeddingCache(tmp_path / "cache")
    assert len(cache) == len(PROTEINS)
    order = PROTEINS[::-1]
    np.testing.assert_array_equal(
        cache.protein_matrix(order), np.stack([embeddings[protein] for protein in order])
    )
    both = EmbeddingCache(*(tmp_path / "cache" / f"{name}.parquet" for name in "ab"))
    assert both.digest == cache.digest


def test_files_that_were_made_differently_are_not_read_as_one(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", _embeddings())
    _write(tmp_path / "b.parquet", _embeddings(), _spec(max_length=100, truncation="head_tail"))
    message = _message(tmp_path)
    assert "the embedding cache has another max_length and truncation than asked for" in message
    assert f"where: {tmp_path / 'b.parquet'}" in message
    assert "got: max_length=100, truncation=head_tail" in message
    assert "expected: max_length=unlimited, truncation=head" in message


def test_one_protein_with_two_sequences(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", _embeddings())
    _write(tmp_path / "b.parquet", _embeddings(proteins=["P3"]), sequence=lambda _: "MKV")
    message = _message(tmp_path)
    assert "a protein is in the embedding cache with two sequences" in message
    assert "got: P3" in message
    assert str(tmp_path / "b.parquet") in message


def test_sequences_are_compared_with_those_embedded(tmp_path: Path) -> None:
    cache = EmbeddingCache(_write(tmp_path / "cache.parquet", _embeddings()))
    cache.check_sequences({"P1": _sequence("P1"), "not_embedded": "MKV"})
    with pytest.raises(CacheError) as caught:
        cache.check_sequences({"P1": "AAA", "P2": _sequence("P2"), "P3": "AAA"})
    message = str(caught.value)
    assert "2 proteins have another sequence in the FASTA than in the embedding cache" in message
    assert "got: P1, P3" in message
    assert "embed the FASTA again" in message
    with pytest.raises(CacheError, match="1 protein has another sequence"):
        cache.check_sequences({"P1": "AAA", "P2": _sequence("P2")})


def test_every_difference_from_what_is_asked_for_is_listed() -> None:
    found = _spec(max_length=1000)
    check_recipe(found, {"dimension": DIMENSION, "max_length": 1000}, where="x")
    wanted = {
        "embedder": {"name": "esm2", "digest": "ef" * 32},
        "dimension": 320,
        "granularity": "protein",
        "max_length": None,
    }
    with pytest.raises(CacheError) as caught:
        check_recipe(found, wanted, where="cache.parquet")
    assert str(caught.value).splitlines() == [
        "the embedding cache has another dimension and embedder and max_length than asked for",
        "  where: cache.parquet",
        "  got: dimension=4, embedder=descriptors@abababababab, max_length=1000",
        "  expected: dimension=320, embedder=esm2@efefefefefef, max_length=unlimited",
        "  to do: embed the sequences again with these settings, or name the cache that was made with them",
    ]


def test_embedders_that_differ_in_precision_alone_are_told_apart() -> None:
    embedder = {"name": "protein_lm", "digest": "ab" * 32, "parameters": {"run_id": "r1"}}
    found = _spec(embedder=embedder | {"parameters": {"run_id": "r1", "precision": "bf16"}})
    with pytest.raises(CacheError) as caught:
        check_recipe(found, {"embedder": embedder}, where="cache.parquet")
    assert str(caught.value).splitlines()[2:4] == [
        "  got: embedder=protein_lm of run r1, embedder_precision=bf16",
        "  expected: embedder=protein_lm of run r1, embedder_precision=float32",
    ]


@pytest.mark.parametrize(
    ("changes", "embedding", "got"),
    [
        ({}, [0.0, np.nan, 0.0, 0.0], "shape (4,), finite as float32: False"),
        ({}, [0.0, np.inf, 0.0, 0.0], "shape (4,), finite as float32: False"),
        ({"dtype": "float16"}, [0.0, 1e5, 0.0, 0.0], "shape (4,), finite as float16: False"),
        ({}, [0.0] * 5, "shape (5,), finite as float32: True"),
        ({}, [[0.0] * 4], "shape (1, 4), finite as float32: True"),
        ({"granularity": "residue"}, [0.0] * 4, "shape (4,), finite as float32: True"),
        ({"granularity": "residue"}, np.empty((0, 4)), "shape (0, 4), finite as float32: True"),
        ({"granularity": "residue"}, np.zeros((4, 4)), "shape (4, 4), finite as float32: True"),
        ({"granularity": "residue", "max_length": 2}, np.zeros((3, 4)), "shape (3, 4), finite as"),
    ],
)
def test_what_a_cache_does_not_take(
    tmp_path: Path, changes: dict[str, object], embedding: npt.ArrayLike, got: str
) -> None:
    path = tmp_path / "cache.parquet"
    with pytest.raises(CacheError) as caught, CacheWriter(path, _spec(**changes)) as writer:
        writer.add("P1", sequence_digest("MKV"), 3, np.asarray(embedding, dtype=np.float32))
    message = str(caught.value)
    assert "an embedding is not finite or has the wrong shape" in message
    assert f"where: P1\n  got: {got}" in message
    assert "4), all numbers finite" in message or "(4,), all numbers finite" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_numbers_that_are_not_finite_are_refused_on_reading(tmp_path: Path, granularity: str) -> None:
    path = tmp_path / "cache.parquet"
    embeddings = _embeddings(granularity)
    embeddings["P3"].reshape(-1)[1] = np.nan
    _write_table(path, embeddings, cache_schema(_spec(granularity=granularity)))
    cache = EmbeddingCache(path)
    np.testing.assert_array_equal(
        cache.protein_matrix(["P2"]), embeddings["P2"].reshape(-1, DIMENSION).mean(axis=0)[None]
    )
    with pytest.raises(
        CacheError, match=r"1 embedding in the cache has numbers that are not finite\n.*\n  got: P3"
    ):
        cache.protein_matrix(PROTEINS)
    if granularity == "residue":
        with pytest.raises(CacheError, match=r"numbers that are not finite\n.*\n  got: P3"):
            list(cache.residues(PROTEINS))


def _write_until_interrupted(path: Path) -> None:
    with CacheWriter(path, _spec()) as writer:
        for protein_id, embedding in _embeddings().items():
            writer.add(protein_id, sequence_digest("M"), 1, embedding)
        raise KeyboardInterrupt


@pytest.mark.usefixtures("_small_groups")
@pytest.mark.parametrize("before", [None, b"an older cache"])
def test_an_interrupted_writing_leaves_nothing_behind(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "cache.parquet"
    if before:
        path.write_bytes(before)
    with pytest.raises(KeyboardInterrupt):
        _write_until_interrupted(path)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == ({"cache.parquet": before} if before else {})


def test_missing_names_the_proteins_in_the_order_asked_for(tmp_path: Path) -> None:
    cache = EmbeddingCache(_write(tmp_path / "cache.parquet", _embeddings()))
    assert cache.missing(["Z", "P1", "A", "P2"]) == ["Z", "A"]
    assert cache.missing(PROTEINS) == []


def test_the_digest_follows_from_sequences_and_recipe_alone(tmp_path: Path) -> None:
    embeddings = _embeddings()
    whole = EmbeddingCache(_write(tmp_path / "whole.parquet", embeddings)).digest
    turned = {protein: embeddings[protein] for protein in reversed(PROTEINS)}
    assert EmbeddingCache(_write(tmp_path / "turned.parquet", turned)).digest == whole
    for name, part in (("a", PROTEINS[5:]), ("b", PROTEINS[:5])):
        subset = {protein: embeddings[protein] for protein in part}
        _write(tmp_path / "parts" / f"{name}.parquet", subset, _spec(fasta_digest=name))
    assert EmbeddingCache(tmp_path / "parts").digest == whole

    def changed(protein_id: str) -> str:
        return "MKV" if protein_id == "P4" else _sequence(protein_id)

    others = [
        _write(tmp_path / "sequence.parquet", embeddings, sequence=changed),
        _write(tmp_path / "fewer.parquet", _embeddings(proteins=PROTEINS[:-1])),
        _write(tmp_path / "recipe.parquet", embeddings, _spec(max_length=500)),
    ]
    assert len({whole, *(EmbeddingCache(path).digest for path in others)}) == 4


def _rewritten(path: Path, to: Path, change: Callable[[pa.Table], pa.Table], *, keep_digest: bool) -> Path:
    """A cache as another program would change it, with the metadata of the original."""
    source = pq.ParquetFile(path)
    metadata = dict(source.metadata.metadata)
    table = change(source.read())
    kept = {METADATA_KEY: metadata[METADATA_KEY]}
    if keep_digest:
        kept[CONTENT_KEY] = metadata[CONTENT_KEY]
    whole = table.replace_schema_metadata(kept)
    pq.write_table(whole, to, compression="none", use_dictionary=False, data_page_size=1 << 30)
    return to


def _with_vectors(
    change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
) -> Callable[..., pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        column = table.column("embedding").combine_chunks()
        vectors = np.asarray(column.flatten()).reshape(-1, DIMENSION)
        new = pa.FixedSizeListArray.from_arrays(pa.array(change(vectors).reshape(-1)), type=column.type)
        return table.set_column(table.num_columns - 1, table.schema.field("embedding"), new)

    return changed


@pytest.mark.parametrize(
    "change",
    [lambda vectors: vectors[::-1], lambda vectors: vectors * np.float32(1.5)],
    ids=["shuffled", "scaled"],
)
def test_vectors_that_changed_have_another_digest(
    tmp_path: Path, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
) -> None:
    path = _write(tmp_path / "cache.parquet", _embeddings())
    whole = EmbeddingCache(path)
    other = EmbeddingCache(_rewritten(path, tmp_path / "o.parquet", _with_vectors(change), keep_digest=False))
    assert other.digest == whole.digest
    assert other.content_digest != whole.content_digest
    kept = EmbeddingCache(_rewritten(path, tmp_path / "k.parquet", _with_vectors(change), keep_digest=True))
    with pytest.raises(CacheError, match="numbers in the embedding cache are not those that were written"):
        _ = kept.content_digest


@pytest.mark.usefixtures("_small_groups")
@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_the_digest_of_the_numbers_follows_from_them_alone(tmp_path: Path, granularity: str) -> None:
    embeddings, spec = _embeddings(granularity), _spec(granularity=granularity)
    path = _write(tmp_path / "cache.parquet", embeddings, spec)
    backwards = dict(reversed(list(embeddings.items())))
    assert (
        EmbeddingCache(_write(tmp_path / "backwards.parquet", backwards, spec)).content_digest
        == EmbeddingCache(path).content_digest
    )
    halves = [dict(list(embeddings.items())[:4]), dict(list(embeddings.items())[4:])]
    files = [_write(tmp_path / f"half{n}.parquet", half, spec) for n, half in enumerate(halves)]
    assert EmbeddingCache(*files).content_digest == EmbeddingCache(path).content_digest
    older = _rewritten(path, tmp_path / "older.parquet", lambda table: table, keep_digest=False)
    assert EmbeddingCache(older).content_digest == EmbeddingCache(path).content_digest
    other = {name: values * np.float32(1.5) for name, values in embeddings.items()}
    scaled = EmbeddingCache(_write(tmp_path / "scaled.parquet", other, spec))
    assert scaled.content_digest != EmbeddingCache(path).content_digest
    assert scaled.digest == EmbeddingCache(path).digest
