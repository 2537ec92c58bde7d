"""Tests of the text of a language model: what it has from several files, and what is left out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import AMINO_ACIDS, read_fasta, write_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.errors import DataError
from ppi_train.runs.config import values_of_result
from ppi_train.runs.configs import PipelineConfig, TrainEmbedderConfig
from ppi_train.runs.language_text import LanguageText, language_text, logged_text_digests
from tests.support.small_data import SEQUENCES, plain, write_sequences, write_table

_RANDOM = np.random.default_rng(5)
YEAST = ["".join(_RANDOM.choice(list(AMINO_ACIDS), 60)) for _ in range(12)]


@pytest.fixture
def human(tmp_path: Path) -> str:
    return write_sequences(tmp_path / "human.fasta", plain)


@pytest.fixture
def yeast(tmp_path: Path) -> str:
    """Twelve sequences, the first under a name of `human`, and a sequence of `human` under another name."""
    named = {plain(0): YEAST[0], **{f"Y{number}": YEAST[number] for number in range(1, 12)}}
    write_fasta(tmp_path / "yeast.fasta", {**named, "Y_SAME": SEQUENCES[3]})
    return str(tmp_path / "yeast.fasta")


def text_of(**values: Any) -> LanguageText:
    return language_text(TrainEmbedderConfig.of(**values))


def sequences_of(text: LanguageText) -> dict[str, str]:
    return {**text.train, **text.held_out}


def test_a_protein_is_its_sequence_and_names_are_made_unique(human: str, yeast: str) -> None:
    text = text_of(fasta=human, text_fasta=(yeast,))
    found = sequences_of(text)
    assert sorted(found.values()) == sorted({*SEQUENCES, *YEAST})
    assert (found[plain(0)], found[f"{plain(0)}@yeast"]) == (SEQUENCES[0], YEAST[0])
    assert found[plain(3)] == SEQUENCES[3]
    assert "Y_SAME" not in found
    (file,) = text.further
    assert (file.name, file.source, file.sequences, file.added) == ("yeast", yeast, 13, 12)
    assert file.added_residues == sum(map(len, YEAST))
    assert file.digest == read_fasta(yeast).digest
    assert text.name == "human"


def test_names_stay_unique_where_files_are_called_alike(human: str, tmp_path: Path) -> None:
    paths = []
    for number, folder in enumerate(("a", "b")):
        paths.append(tmp_path / folder / "my yeast.fasta.gz")
        paths[-1].parent.mkdir()
        write_fasta(paths[-1], {plain(0): YEAST[number], f"{plain(0)}@my_yeast": YEAST[2 + number]})
    text = text_of(fasta=human, text_fasta=tuple(map(str, paths)))
    found = sequences_of(text)
    assert {found[f"{plain(0)}@my_yeast{ending}"] for ending in ("", "_2")} == {YEAST[0], YEAST[1]}
    assert len(found) == len({*found.values()}) == 20
    assert list(text.digests) == ["sequences", "text_fasta_1", "text_fasta_2"]


def test_the_digest_covers_the_sequences_of_all_files(human: str, yeast: str, tmp_path: Path) -> None:
    alone, both = text_of(fasta=human), text_of(fasta=human, text_fasta=(yeast,))
    assert alone.digest != both.digest
    assert text_of(fasta=yeast, text_fasta=(human,)).digest == both.digest
    assert alone.digests == {"sequences": alone.digest}
    before = both.digests
    write_fasta(tmp_path / "yeast.fasta", {"Y1": YEAST[1]})
    after = text_of(fasta=human, text_fasta=(yeast,)).digests
    assert all(after[name] != before[name] for name in before)


def test_a_file_that_is_given_twice_is_read_once(human: str, yeast: str) -> None:
    once, twice = (text_of(fasta=human, text_fasta=(yeast,) * times) for times in (1, 2))
    assert twice == once
    assert text_of(fasta=human, text_fasta=(human,)).further[0].added == 0


def test_what_is_left_out_is_left_out_of_all_files(human: str, yeast: str, tmp_path: Path) -> None:
    write_fasta(tmp_path / "out.fasta", {"other": YEAST[5], "another": SEQUENCES[7]})
    pairs = write_table(tmp_path / "out.tsv", [(0, 3, 1)])
    with_pairs = {"exclude_fasta": str(tmp_path / "out.fasta"), "exclude_pairs": pairs}
    text = text_of(fasta=human, text_fasta=(yeast,), **with_pairs)
    # The name of protein 0 is that of a sequence in each of the files.
    hidden = {YEAST[5], SEQUENCES[7], SEQUENCES[0], YEAST[0], SEQUENCES[3]}
    assert set(sequences_of(text).values()) == {*SEQUENCES, *YEAST} - hidden
    assert text.excluded == 5
    assert text.further[0].added == 10


def test_names_in_exclude_fasta_say_which_sequence_is_meant(human: str, yeast: str, tmp_path: Path) -> None:
    write_fasta(tmp_path / "out.fasta", {plain(0): YEAST[0], plain(3): SEQUENCES[3]})
    pairs = write_table(tmp_path / "out.tsv", [(0, 3, 1)])
    out = {"exclude_fasta": str(tmp_path / "out.fasta"), "exclude_pairs": pairs}
    text = text_of(fasta=human, text_fasta=(yeast,), **out)
    assert {*SEQUENCES, *YEAST} - set(sequences_of(text).values()) == {YEAST[0], SEQUENCES[3]}


def test_test_proteins_of_a_data_set_are_left_out_of_further_files(
    example: Dataset, data_dir: Path, yeast: str, tmp_path: Path
) -> None:
    test = example.splits["test"]
    everything = read_fasta(test.fasta).sequences
    hidden = {everything[protein] for protein in read_pairs(test.pairs).proteins}
    renamed = {f"renamed-{name}": sequence for name, sequence in everything.items()}
    write_fasta(tmp_path / "renamed.fasta", renamed)
    further = (str(tmp_path / "renamed.fasta"), yeast)
    text = text_of(dataset="example", data_dir=str(data_dir), text_fasta=further)
    assert hidden.isdisjoint(sequences_of(text).values())
    assert {*YEAST} < set(sequences_of(text).values())
    assert text.excluded == len(hidden)
    alone = text_of(dataset="example", data_dir=str(data_dir))
    assert len(sequences_of(text)) == len(sequences_of(alone)) + len(YEAST) + 1


def test_a_file_that_cannot_be_text_is_named(human: str, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.fasta")
    with pytest.raises(DataError, match=r"gone\.fasta"):
        text_of(fasta=human, text_fasta=(gone,))
    genes = tmp_path / "genes.fasta"
    write_fasta(genes, {f"G{number}": "ATGGCGACTTAG" * (10 + number) for number in range(20)})
    with pytest.raises(DataError, match=r"DNA or RNA, not proteins\n  where: .*genes.fasta"):
        text_of(fasta=human, text_fasta=(str(genes),))


def test_paths_of_the_text_do_not_count_as_settings_of_a_result() -> None:
    assert "text_fasta" not in values_of_result(TrainEmbedderConfig.of(text_fasta=("yeast.fasta",)))


def test_the_pipeline_says_when_further_text_has_no_effect() -> None:
    given = frozenset({"text_fasta", "embedder"})
    config = PipelineConfig.of(embedder="protein_lm", text_fasta=("yeast.fasta",))
    assert config.without_effect(given) == []
    idle = config.replace(embedder_run_id="r1").without_effect(given)
    assert idle == ["text_fasta has no effect: no language model is trained"]


def test_nothing_is_known_of_the_text_of_a_released_model() -> None:
    assert logged_text_digests("released:human") is None


@pytest.mark.usefixtures("store")
def test_a_run_that_is_gone_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    assert logged_text_digests("0" * 32) is None
    assert "cannot be read: there is no such run" in caplog.text
