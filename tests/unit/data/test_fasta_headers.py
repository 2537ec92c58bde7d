"""Tests of what is read of FASTA headers, in the layouts of the databases."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from ppi_train.data.fasta import read_fasta
from ppi_train.data.fasta_headers import Header, parsed_header, read_headers
from ppi_train.errors import DataError

# As published: UniProtKB, Ensembl's pep files, NCBI's RefSeq, and bare accessions.
PUBLISHED = {
    "sp|P04637|P53_HUMAN Cellular tumor antigen p53 OS=Homo sapiens OX=9606 GN=TP53 PE=1 SV=4": Header(
        reviewed=True,
        entry_name="P53_HUMAN",
        description="Cellular tumor antigen p53",
        gene="TP53",
        organism="Homo sapiens",
        taxid=9606,
    ),
    "tr|A0A024R161|A0A024R161_HUMAN Guanine nucleotide-binding protein subunit gamma OS=Homo sapiens "
    "OX=9606 GN=DNAJC25-GNG10 PE=3 SV=1": Header(
        entry_name="A0A024R161_HUMAN",
        description="Guanine nucleotide-binding protein subunit gamma",
        gene="DNAJC25-GNG10",
        organism="Homo sapiens",
        taxid=9606,
    ),
    # No gene, and an organism with a strain.
    "sp|Q6GZX4|001R_FRG3G Putative transcription factor 001R OS=Frog virus 3 (isolate Goorha) OX=654924 "
    "PE=4 SV=1": Header(
        reviewed=True,
        entry_name="001R_FRG3G",
        description="Putative transcription factor 001R",
        organism="Frog virus 3 (isolate Goorha)",
        taxid=654924,
    ),
    # An isoform, without PE and SV.
    "sp|P31946-2|1433B_HUMAN Isoform Short of 14-3-3 protein beta/alpha OS=Homo sapiens OX=9606 "
    "GN=YWHAB": Header(
        reviewed=True,
        entry_name="1433B_HUMAN",
        description="Isoform Short of 14-3-3 protein beta/alpha",
        gene="YWHAB",
        organism="Homo sapiens",
        taxid=9606,
    ),
    "ENSP00000269305.4 pep chromosome:GRCh38:17:7668421:7687490:-1 gene:ENSG00000141510.18 "
    "transcript:ENST00000269305.9 gene_biotype:protein_coding transcript_biotype:protein_coding "
    "gene_symbol:TP53 description:tumor protein p53 [Source:HGNC Symbol;Acc:HGNC:11998]": Header(
        description="tumor protein p53", gene="TP53", gene_id="ENSG00000141510.18"
    ),
    "AT1G01010.1 pep chromosome:TAIR10:1:3631:5899:1 gene:AT1G01010 transcript:AT1G01010.1 "
    "gene_biotype:protein_coding transcript_biotype:protein_coding": Header(gene_id="AT1G01010"),
    "NP_000537.3 cellular tumor antigen p53 isoform a [Homo sapiens]": Header(
        description="cellular tumor antigen p53 isoform a", organism="Homo sapiens"
    ),
    "9606.ENSP00000269305": Header(),
    "Q9H0H5\tRac GTPase-activating protein 1": Header(description="Rac GTPase-activating protein 1"),
}


@pytest.mark.parametrize(("header", "expected"), PUBLISHED.items(), ids=lambda value: str(value)[:20])
def test_published_headers(header: str, expected: Header) -> None:
    assert parsed_header(header) == expected


@pytest.mark.parametrize(
    "packed", [lambda data: data, gzip.compress, bz2.compress], ids=["plain", "gzip", "bzip2"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "dos", "mac"])
def test_they_have_the_accessions_of_the_sequences(
    tmp_path: Path, packed: Callable[[bytes], bytes], end: str
) -> None:
    path = tmp_path / "some.fasta"
    path.write_bytes(packed(end.join(f">{header}{end}MKV{end}LLA" for header in PUBLISHED).encode()))
    found = read_headers(path)
    assert list(found) == list(read_fasta(path).sequences)
    assert list(found.values()) == list(PUBLISHED.values())
    assert read_headers(path, {"P04637"}) == {"P04637": found["P04637"]}


def test_a_table_of_sequences_has_none(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("P04637\tMKV\nP12345\tMKL\n")
    assert read_headers(path) == {}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the FASTA is not there"):
        read_headers(tmp_path / "none.fasta")
