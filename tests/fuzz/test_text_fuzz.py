"""Fuzz tests of text files, and of node sets, which are pickles.

The text files are FASTA, pair tables, tables of scores, id mappings, configs, lists and complexes.
"""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from ppi_train.config.loading import load_config
from ppi_train.data.fasta import SequenceTable, read_fasta, refuse_nucleotides
from ppi_train.data.fasta_headers import read_headers
from ppi_train.data.identifiers import map_names
from ppi_train.data.pairs import pairs_from_ids, read_pairs
from ppi_train.data.protein_sets import read_complexes, read_node_sets, read_proteins
from ppi_train.data.score_tables import logits_of, read_scores
from ppi_train.runs.configs import TrainConfig
from tests.support.mutations import broken
from tests.support.watched import outcome

pytestmark = pytest.mark.slow

FASTA = (
    b">sp|P12345|NAME_HUMAN Some protein\nMKVLAAGT\nCCDE*\n>Q9\nmkvuobzjx\n\n>tr|A0|B desc\nMMMM",
    b"\xef\xbb\xbf>a\r\nACDEFGHIKLMNPQRSTVWY\r\n>b\r\nAC DE\r\n",
    gzip.compress(b">a\nMKV\n>b|c|d\nMKV\n>a\nMKV\n", mtime=0),
    b">n1\n" + b"ACGT" * 20 + b"\n>n2\n" + b"ACGU" * 20 + b"\n",
)
PAIRS = (
    b"protein_a\tprotein_b\tlabel\nP1\tP2\t1\nP2\tP3\t0\nP1\tP3\t1.0\nP2\tP1\t1\n",
    b'P1,P2,1\nP2,P3,0\n\n"P,4",P3,1\n',
    b"label,score,protein_b,Protein_A\r\n1,0.5,B,A\r\n0,NaN,C,A\r\n",
    b"A\tB\nB\tC\n",
)
SCORES = (
    b"P1\tP2\t0.5\nP2\tP3\t1e-9\nP3\tP1\t0\n",
    b"protein_a\tprotein_b\tprobability\tlogit\nP1\tP2\t0.5\t0\nP2\tP3\t0.9\t2.2\n",
    b"label,score,protein_b,Protein_A\r\n1,0.5,B,A\r\n0,.25,C,A\r\n",
)
ID_MAPS = (
    b"#string_protein_id\talias\tsource\n9606.E1\tP12345\tEnsembl\n9606.E2\tQ9\tBLAST_UniProt_AC X\n",
    b"P12345\tGene_Name\tTP53\nQ9\tEnsembl\tENSG00000141510.19\nQ9\tSTRING\t9606.E2\n",
    b"P12345\tX_HUMAN\t7157\tNP_1.2; XP_3.4" + b"\t" * 18 + b"\nQ9" + b"\t" * 21 + b"\n",
    b"From\tEntry\tReviewed\r\nTP53\tP12345\treviewed\r\n9606.E1\tdeleted\t\r\n",
    gzip.compress(b"TP53,P12345\n9606.E1,Q9\n", mtime=0),
)
YAML = (
    b"learning_rate: 1e-3\nepochs: 5\nmodel: pooled_mlp\ndataset: example\n",
    b"---\n# comment\nseed: 0x10\nscheduler: 'cosine'\noutput_dir: \"a b\"\n...\n",
    b"label_smoothing: .1\ndevice: !!str cpu\nbatch_size:\n  64\n",
    b"{epochs: 3, batch_size: 1_000, early_stopping_patience: ~}\n",
)
YAML_WORDS = (
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"<<: [*a, *a]\n",
    b"? ",
    b"? [a]\n: b\n",
    b"- ",
    b": ",
    b"!!int ''",
    b"!!float x",
    b"!!bool x",
    b"!!timestamp x",
    b"!!binary =",
    b"!!set {a}",
    b"!!omap [a]",
    b"!!pairs [[a]]",
    b"!!python/object:os.x ",
    b"2001-99-99",
    b"2001-01-01 00:00:00 +99:99",
    b"190:20:30.15",
    b"0b",
    b"0x" + b"f" * 5000,
    b"[" * 300,
    b"{" * 300,
    b"%YAML 9.9\n",
    b"%TAG ! x\n",
    b"|9\n",
    b">-\n",
    b".inf",
    b"=",
    b"<<",
    b"!!null x",
    b"1:2:3:4:5",
    b"? ? ? ",
    b"!<",
    b"\\U0011FFFF",
)
LISTS = (b"P1\nP2\n\nP1\nP3", b"\xef\xbb\xbfP1\r\nP2\r\n", b">a\nMKV\n>b\nMKV\n")
COMPLEXES = (
    b"complex_id\tprotein_a\tprotein_b\nC1\tA\tB\nC1\tB\tC\nC2\tA\tC\n",
    b"C1,A,B\nC2,B,C\n",
    b"protein_b,complex_id,protein_a\r\nA,C1,B\r\n",
)
_SETS = {2: [{"B", "A"}, {"C", "A"}], 3: [{"C", "B", "A"}], 1: []}
NODE_SETS = tuple(pickle.dumps(_SETS, protocol) for protocol in (0, 2, 4, 5))
NODE_WORDS = (
    b"cos\nsystem\n",
    b"c__builtin__\nset\n",
    b"c__builtin__\neval\n",
    b"R",
    b"b",
    b"\x85",
    b"0",
    b"2",
    b"d",
    b"e",
    b"(",
    b"a",
    b"s",
    b"u",
    b"\x90",
    b"\x91",
    b"\x94",
    b"r\xff\xff\xff\x7f",
    b"I99999999\n",
    b"L9999L\n",
    b"F1\n",
    b"\x8a\xff",
    b"\x8b\xff\xff\xff\x7f",
    b"B\xff\xff\xff\x7f",
    b"\x8d" + b"\xff" * 8,
    b"p99999999\n",
    b"g5\n",
    b"Pid\n",
    b"Q",
    b"\x82\x01",
    b"i",
    b"o",
    b"\x81",
    b"\x92",
    b"\x95" + b"\xff" * 8,
    b"\x97",
    b"\x98",
)


def read_config(path: Path) -> None:
    load_config(TrainConfig, {}, config_file=str(path))


def read_sequences(path: Path) -> None:
    table = read_fasta(path)
    assert table.digest
    refuse_nucleotides(table)


def read_headers_of(path: Path) -> None:
    """Whatever is a FASTA has headers, by the accessions of its sequences."""
    sequences = read_fasta(path).sequences
    assert set(read_headers(path)) <= set(sequences)


def read_ids(path: Path) -> None:
    table = SequenceTable(
        sequences={"P12345": "MKV", "Q9": "MKL"}, source="made up", nonstandard={}, duplicates=0
    )
    found = map_names(["9606.E1", "TP53", "7157", "Q9"], table, id_map=[path])
    assert set(found.accession_of.values()) <= set(table.sequences)
    assert found.summary()


def read_table(path: Path) -> None:
    table = read_pairs(path, labels="optional")
    assert table.digest
    assert len(table) == len(table.index)


def read_given_scores(path: Path) -> None:
    table = read_scores(path)
    assert all(np.isfinite(score) for score in table.values.values())
    logits, there = logits_of(pairs_from_ids(["P1", "B"], ["P2", "A"], [0, 1], "made up"), table)
    assert np.isfinite(logits[there].astype(np.float32)).all()


FORMATS: dict[str, tuple[Callable[[Path], object], tuple[bytes, ...], tuple[bytes, ...]]] = {
    "fasta": (read_sequences, FASTA, ()),
    "headers": (read_headers_of, FASTA, (b"|", b" OS=", b" OX=x", b" GN=", b" pep gene:", b" [", b"]")),
    "id_map": (read_ids, ID_MAPS, (b"\t", b"#", b"string_protein_id", b"; ", b'"', b",", b"From")),
    "pairs": (read_table, PAIRS, (b"protein_a", b"label", b"1.0", b'"""')),
    "scores": (read_given_scores, SCORES, (b"protein_a", b"logit", b"nan", b"inf", b"1e999", b"label", b'"')),
    "yaml": (read_config, YAML, YAML_WORDS),
    "proteins": (read_proteins, LISTS, ()),
    "complexes": (read_complexes, COMPLEXES, ()),
    "node sets": (read_node_sets, NODE_SETS, NODE_WORDS),
}


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    """A name to write to, over and over."""
    return folder / "file"


@pytest.mark.parametrize("name", FORMATS)
def test_whole_files_are_read(name: str, file: Path) -> None:
    """So that the damaged ones get past the first line."""
    read, whole, _ = FORMATS[name]
    messages = []
    for data in whole:
        file.write_bytes(data)
        messages.append(outcome(lambda: read(file)))
    assert [message for message in messages if message and "DNA" not in message] == []


def _test(name: str) -> Callable[[Path], None]:
    read, whole, words = FORMATS[name]

    @given(data=broken(whole, words))
    def damaged(file: Path, data: bytes) -> None:
        file.write_bytes(data)
        outcome(lambda: read(file))

    return damaged


test_fasta = _test("fasta")
test_headers = _test("headers")
test_id_map = _test("id_map")
test_pairs = _test("pairs")
test_scores = _test("scores")
test_config = _test("yaml")
test_proteins = _test("proteins")
test_complexes = _test("complexes")
test_node_sets = _test("node sets")
