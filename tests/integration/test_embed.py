"""Tests of `embed`: new sequences, reused embeddings, and invalid sequences."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import numpy as np
import pytest

from ppi_train.data.fasta import write_fasta
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.embedders import EMBEDDERS
from ppi_train.embeddings.embedders.descriptors import Descriptors
from ppi_train.errors import CacheError, DataError
from ppi_train.modes import PipelineResult, execute_pipeline

pytestmark = pytest.mark.usefixtures("store")


def sequence(seed: int, length: int = 60) -> str:
    return "".join(random.Random(seed).choices("ACDEFGHIKLMNPQRSTVWY", k=length))


PROTEINS = {f"P{number}": sequence(number, 30 + 5 * number) for number in range(20)}


class Embedded:
    """Runs `embed` in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, sequences: Mapping[str, str], **parameters: object) -> PipelineResult:
        write_fasta(self.folder / "proteins.fasta", sequences)
        given = {"fasta": str(self.folder / "proteins.fasta"), "data_dir": str(self.folder / "data")}
        return execute_pipeline("embed", given | parameters)


@pytest.fixture
def embed(tmp_path: Path) -> Embedded:
    return Embedded(tmp_path)


def work(result: PipelineResult) -> tuple[float, float]:
    """How many sequences were embedded, and how many taken over."""
    return result.metrics["embedding/embedded"], result.metrics["embedding/reused"]


def cache_of(result: PipelineResult) -> Path:
    return Path(result.outputs["embeddings"])


def test_a_changed_fasta_embeds_only_what_is_new(
    embed: Embedded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = embed(PROTEINS)
    assert work(first) == (20, 0)
    changed = dict(PROTEINS)
    del changed["P3"], changed["P4"]
    changed["RENAMED"] = changed.pop("P5")
    changed |= {"P6": sequence(60), "NEW": sequence(61)}
    with caplog.at_level("INFO"):
        second = embed(changed)
    assert work(second) == (2, 17)
    assert f"17 sequences taken over from {cache_of(first)}" in caplog.text
    alone = Embedded(tmp_path / "alone")
    alone.folder.mkdir()
    assert cache_of(second).read_bytes() == cache_of(alone(changed)).read_bytes()
    third = embed(dict(reversed(changed.items())))  # the same sequences in another order
    assert work(third) == (0, 19)
    assert cache_of(third) == cache_of(second)


def test_what_was_made_in_another_way_is_not_taken_over(embed: Embedded) -> None:
    embed(PROTEINS)
    assert work(embed(PROTEINS, max_length=50)) == (20, 0)
    assert work(embed(PROTEINS, embedding_dtype="float16")) == (20, 0)
    more = PROTEINS | {"NEW": sequence(61)}
    assert work(embed(more, max_length=50)) == (1, 20)


def test_a_damaged_earlier_cache_is_passed_over(embed: Embedded, caplog: pytest.LogCaptureFixture) -> None:
    earlier = cache_of(embed(PROTEINS))
    content = bytearray(earlier.read_bytes())
    vector = EmbeddingCache(earlier).protein_matrix(["P0"])
    content[content.index(vector.tobytes())] ^= 1
    earlier.write_bytes(content)
    changed = PROTEINS | {"NEW": sequence(61)}
    with caplog.at_level("WARNING"):
        assert work(embed(changed)) == (21, 0)
    assert f"nothing is taken over from {earlier}: the embedding cache is cut short or corrupt" in caplog.text


def test_the_output_that_is_overwritten_serves_too(embed: Embedded, tmp_path: Path) -> None:
    output = tmp_path / "my.parquet"
    embed(PROTEINS, output=str(output))
    before = EmbeddingCache(output).protein_matrix(sorted(PROTEINS))
    changed = PROTEINS | {"NEW": sequence(61)}
    assert work(embed(changed, output=str(output), overwrite=True)) == (1, 20)
    after = EmbeddingCache(output)
    assert len(after) == 21
    np.testing.assert_array_equal(after.protein_matrix(sorted(PROTEINS)), before)


def test_identical_sequences_are_embedded_once(embed: Embedded) -> None:
    result = embed(PROTEINS | {"TWIN": PROTEINS["P1"], "TRIPLET": PROTEINS["P1"]})
    assert work(result) == (20, 0)
    assert result.metrics["embedding/proteins"] == 22
    rows = EmbeddingCache(cache_of(result)).protein_matrix(["P1", "TWIN", "TRIPLET"])
    assert (rows == rows[0]).all()


def test_a_single_protein(embed: Embedded, store: mlflow.MlflowClient) -> None:
    result = embed({"P1": "MKV"})
    assert work(result) == (1, 0)
    assert len(EmbeddingCache(cache_of(result))) == 1
    logged = store.get_run(result.run_id).data.metrics
    assert logged["embedding/embedded"] == 1
    assert logged["embedding/residues_per_second"] > 0
    assert logged["embedding/seconds"] > 0
    again = embed({"P1": "MKV"})
    assert work(again) == (0, 1)
    assert "embedding/residues_per_second" not in again.metrics


def test_dna_is_refused_and_nothing_is_made(embed: Embedded, tmp_path: Path) -> None:
    genes = {f"gene{number}": "".join(random.Random(number).choices("ACGT", k=300)) for number in range(30)}
    with pytest.raises(DataError) as caught:
        embed(genes | PROTEINS | {f"gene{30 + number}": "ACGT" * 40 for number in range(200)})
    message = str(caught.value)
    assert "the FASTA holds DNA or RNA, not proteins" in message
    assert f"where: {tmp_path / 'proteins.fasta'}" in message
    assert "230 of the 246 sequences of 50 letters or more are written in A C G T U N" in message
    assert "translate the coding sequences" in message
    assert not list((tmp_path / "data").glob("**/*.parquet"))


def test_a_sequence_over_the_limit_is_told_before_anything_is_embedded(
    embed: Embedded, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="a protein is longer than max_length"):
        embed(PROTEINS, max_length=100, truncation="error", output=str(tmp_path / "my.parquet"))
    assert not [path for path in tmp_path.iterdir() if "my.parquet" in path.name]


class Diverged(Descriptors):
    """Gives a number that is none for one protein."""

    def embed(self, sequences: Sequence[str]) -> np.ndarray:
        vectors = super().embed(sequences)
        vectors[[sequence == PROTEINS["P7"] for sequence in sequences], 3] = np.nan
        return vectors


def test_an_embedding_that_is_not_finite_is_told_by_its_protein(
    embed: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EMBEDDERS, "descriptors", lambda _: Diverged())
    with pytest.raises(CacheError, match=r"is not finite or has the wrong shape\n  where: P7\n"):
        embed(PROTEINS)


def test_an_output_that_is_there_stays(embed: Embedded, tmp_path: Path) -> None:
    output = tmp_path / "my.parquet"
    embed(PROTEINS, output=str(output))
    before = output.read_bytes()
    with pytest.raises(ValueError, match="the output exists"):
        embed({"P1": "MKV"}, output=str(output))
    # Nor with the parts of another process beside it.
    (tmp_path / ".my.parquet.parts").mkdir()
    with pytest.raises(ValueError, match="the output exists"):
        embed({"P1": "MKV"}, output=str(output))
    assert output.read_bytes() == before


def test_a_file_that_is_no_cache_stays_too(embed: Embedded, tmp_path: Path) -> None:
    output = tmp_path / "my.parquet"
    output.write_text("the notes of another program")
    (tmp_path / ".my.parquet.parts").mkdir()
    with pytest.raises(ValueError, match="the output exists"):
        embed(PROTEINS, output=str(output))
    assert output.read_text() == "the notes of another program"
