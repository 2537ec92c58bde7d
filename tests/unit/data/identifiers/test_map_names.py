"""Tests of mapping names to the proteins of a FASTA, by rule and with files in their published layouts."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from ppi_train.data.fasta import SequenceTable, read_fasta
from ppi_train.data.fasta_headers import Header
from ppi_train.data.identifiers import map_names
from ppi_train.errors import ConfigError, DataError

# TP53 has an unreviewed fragment too; two proteins have one sequence; a gene has two isoforms and no
# canonical sequence.
FASTA = """\
>sp|P04637|P53_HUMAN Cellular tumor antigen p53 OS=Homo sapiens OX=9606 GN=TP53 PE=1 SV=4
MEEPQSDPSVEPPLSQETFSDLWKLLPENNVLSPLPSQAMDDLMLSPDDIEQWFTEDPGP
>tr|K7PPA8|K7PPA8_HUMAN Cellular tumor antigen p53 OS=Homo sapiens OX=9606 GN=TP53 PE=2 SV=1
MEEPQSDPSVEPPLSQETFSDLWKLLPEN
>sp|Q00987|MDM2_HUMAN E3 ubiquitin-protein ligase Mdm2 OS=Homo sapiens OX=9606 GN=MDM2 PE=1 SV=1
MCNTNMSVPTDGAVTTSQIPASEQETLVRPKPLLLKLLKSVGAQKDTYTMKEVLFYLGQY
>sp|P0DN37|PAL4G_HUMAN Peptidyl-prolyl cis-trans isomerase A-like 4G OS=Homo sapiens OX=9606 GN=PPIAL4G
MVNSVVFFDITVDGKPLGRISIKQFADKIPKTAENFRALSTGEKGFRYKG
>sp|P0DN26|PAL4F_HUMAN Peptidyl-prolyl cis-trans isomerase A-like 4F OS=Homo sapiens OX=9606 GN=PPIAL4F
MVNSVVFFDITVDGKPLGRISIKQFADKIPKTAENFRALSTGEKGFRYKG
>sp|P31946-2|1433B_HUMAN Isoform Short of 14-3-3 protein beta/alpha OS=Homo sapiens OX=9606 GN=YWHAB
MDKSELVQKAKLAEQAERYDDMAAAMKAVTEQGHEL
>sp|P31946-3|1433B_HUMAN Isoform Long of 14-3-3 protein beta/alpha OS=Homo sapiens OX=9606 GN=YWHAB
MDKSELVQKAKLAEQAERYDDMAAAMKAVTEQGHELSNEER
"""
ALIASES_12 = """\
#string_protein_id\talias\tsource
9606.ENSP00000258149\tMDM2\tEnsembl_HGNC_symbol
9606.ENSP00000258149\tQ00987\tUniProt_AC
9606.ENSP00000258149\tP04637\tBLAST_UniProt_AC
9606.ENSP00000258149\tENSG00000135679\tEnsembl_gene
9606.ENSP00000258149\t5'-"quoted\tUniProt_DE_Name
9606.ENSP00000269305\tK7PPA8\tUniProt_AC
9606.ENSP00000269305\tP04637\tUniProt_AC
9606.ENSP00000269305\tHDM2\tUniProt_GN_Synonyms
9606.ENSP00000269305\tENSG00000141510\tEnsembl_gene
9606.ENSP00000300305\tQ01196\tUniProt_AC
9606.ENSP00000300305\tMDM2\tEnsembl_HGNC_prev_symbol
"""
# Before version 11.5: another header, and all sources of an alias in one row.
ALIASES_11 = """\
## string_protein_id ## alias ## source ##
9606.ENSP00000258149\tP04637\tBLAST_UniProt_AC
9606.ENSP00000258149\tQ00987\tBLAST_UniProt_AC Ensembl_HGNC_UniProt_ID(supplied_by_UniProt)_AC \
Ensembl_UniProt_AC
"""
DAT = """\
Q00987\tUniProtKB-ID\tMDM2_HUMAN
Q00987\tGene_Name\tMDM2
Q00987\tGI\t7157
Q00987\tGeneID\t4193
Q00987\tNCBI_TaxID\t9606
Q00987\tSTRING\t9606.ENSP00000258149
Q00987\tEnsembl\tENSG00000135679.27
Q00987\tEnsembl_PRO\tENSP00000258149.5
Q00987\tUniRef50\tUniRef50_P23804
P04637\tGene_Name\tTP53
P04637\tGene_Synonym\tMDM2
P04637\tGeneID\t7157
P04637\tEnsembl\tENSG00000141510.19
P04637\tRefSeq\tNP_000537.3
P31946-3\tEnsembl_PRO\tENSP00000361930.4
Q01196\tGene_Name\tRUNX1
"""
SELECTED = "\n".join(
    "\t".join(cells)
    for cells in (
        ["Q00987", "MDM2_HUMAN", "4193", "NP_002383.2; XP_005268929.1", "7157", "1RV1:A; 1T4E:A",
         "GO:0005737", "UniRef100_Q00987", "UniRef90_Q00987", "UniRef50_P23804", "UPI000013DB45",
         "S24354", "9606", "164785", "", "1614537; 8440237", "M92424; Z12020", "AAA60568.1; CAA78055.1",
         "ENSG00000135679.27", "ENST00000258149.11; ENST00000299252.8",
         "ENSP00000258149.5; ENSP00000299252.4", ""],
        ["P04637", "P53_HUMAN", "7157", "NP_000537.3", "", "", "", "", "", "", "UPI000002ED67",
         "DNHU53", "9606", "114480", "", "", "", "", "ENSG00000141510.19", "", "ENSP00000269305.4", ""],
    )
)  # fmt: skip


@pytest.fixture
def fasta(tmp_path: Path) -> SequenceTable:
    path = tmp_path / "uniprot.fasta"
    path.write_text(FASTA)
    return read_fasta(path)


@pytest.fixture
def id_map(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        path = tmp_path / "a map"
        path.write_text(text)
        return path

    return written


def rows(table: pa.Table) -> dict[str, tuple[str, str | None, str, str]]:
    return {
        row["name"]: (row["status"], row["accession"], row["candidates"], row["rule"])
        for row in table.to_pylist()
    }


def test_spellings_of_an_accession(fasta: SequenceTable) -> None:
    given = {
        "P04637": "exact",
        "sp|Q00987|MDM2_HUMAN": "the accession between the bars of sp|...|...",
        "uniprotkb:Q00987": "without the database before the colon",
        "9606.Q00987": "without the taxon before the dot",
    }
    found = map_names(list(given), fasta)
    assert found.accession_of == dict.fromkeys(given, "Q00987") | {"P04637": "P04637"}
    assert {name: rule for name, (*_, rule) in rows(found.rows).items()} == given
    assert set(found.status.values()) == {"as given"}


def test_isoforms_and_versions_only_if_asked_for(fasta: SequenceTable) -> None:
    names = ["P04637", "Q00987-2", "Q00987.1", "P31946-2", "P31946"]
    assert map_names(names, fasta).accession_of == {"P04637": "P04637", "P31946-2": "P31946-2"}
    found = map_names(names, fasta, ids="canonical")
    assert rows(found.rows) == {
        "P04637": ("as given", "P04637", "", "exact"),
        "P31946": ("ambiguous", None, "P31946-2;P31946-3", "of an isoform or a version of the FASTA"),
        "P31946-2": ("as given", "P31946-2", "", "exact"),
        "Q00987-2": ("canonical", "Q00987", "", "without the isoform number"),
        "Q00987.1": ("canonical", "Q00987", "", "without the version"),
    }


def test_names_of_one_sequence_are_one_protein(fasta: SequenceTable) -> None:
    found = map_names(["P0DN37", "PPIAL4G", "PPIAL4F", "P0DN26"], fasta)
    assert set(found.accession_of.values()) == {"P0DN26"}, "the first in sorted order"
    assert (
        "of these, by the first accession of its sequence: 2, such as P0DN37 as P0DN26, PPIAL4G as P0DN26"
        in (found.summary())
    )


def test_gene_names_of_the_headers(fasta: SequenceTable) -> None:
    found = map_names(["TP53", "MDM2", "MDM2_HUMAN", "YWHAB", "tp53"], fasta)
    assert rows(found.rows) == {
        "MDM2": ("gene name", "Q00987", "", "gene name of the FASTA"),
        "MDM2_HUMAN": ("gene name", "Q00987", "", "entry name of the FASTA"),
        "TP53": (
            "gene name",
            "P04637",
            "K7PPA8;P04637",
            "gene name of the FASTA, the only reviewed of several",
        ),
        "YWHAB": ("ambiguous", None, "P31946-2;P31946-3", "gene name of the FASTA"),
        "tp53": ("unknown", None, "", ""),
    }
    summary = "\n".join(found.summary())
    assert summary == (
        "mapped 3 of 5 names to 2 proteins\n"
        "gene name: 3, such as MDM2 as Q00987, MDM2_HUMAN as Q00987, TP53 as P04637\n"
        "of these, by the only reviewed of several: 1, such as TP53 as P04637\n"
        "ambiguous, for several sequences of the FASTA: 1, such as YWHAB (P31946-2;P31946-3)\n"
        "unknown, no rule finds them: 1, such as tp53"
    )


def test_genes_of_ensembl_headers(tmp_path: Path) -> None:
    path = tmp_path / "Homo_sapiens.GRCh38.pep.all.fa"
    path.write_text(
        ">ENSP00000269305.4 pep chromosome:GRCh38:17:7668421:7687490:-1 gene:ENSG00000141510.18 "
        "transcript:ENST00000269305.9 gene_symbol:TP53 description:tumor protein p53\nMEEPQSDPSV\n"
    )
    fasta = read_fasta(path)
    names = ["ENSG00000141510", "ENSG00000141510.7", "TP53"]
    assert map_names(names, fasta).accession_of == dict.fromkeys(names, "ENSP00000269305.4")
    string = ["9606.ENSP00000269305"]
    assert map_names(string, fasta, ids="canonical").accession_of == {string[0]: "ENSP00000269305.4"}


MDM2, TP53 = "9606.ENSP00000258149", "9606.ENSP00000269305"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            ALIASES_12,
            {
                MDM2: ("id_map", "Q00987", "", "STRING aliases"),
                TP53: ("id_map", "P04637", "K7PPA8;P04637", "STRING aliases, the only reviewed of several"),
                "9606.ENSP00000300305": ("without sequence", None, "", ""),
                # Through the protein of STRING.
                "ENSG00000135679": ("id_map", "Q00987", "", "STRING aliases"),
                "HDM2": ("id_map", "P04637", "K7PPA8;P04637",
                         "STRING aliases, synonym, the only reviewed of several"),
                # The former symbol of another gene counts less.
                "MDM2": ("id_map", "Q00987", "", "STRING aliases"),
            },
        ),
        (ALIASES_11, {MDM2: ("id_map", "Q00987", "", "STRING aliases")}),
        # Without its header, as after grep.
        (ALIASES_12.partition("\n")[2], {MDM2: ("id_map", "Q00987", "", "STRING aliases")}),
        (
            DAT,
            {
                "4193": ("id_map", "Q00987", "", "UniProt idmapping"),
                "7157": ("id_map", "P04637", "", "UniProt idmapping"),
                "9606": ("unknown", None, "", ""),
                MDM2: ("id_map", "Q00987", "", "UniProt idmapping"),
                "ENSG00000141510": ("id_map", "P04637", "", "UniProt idmapping"),
                "ENSG00000141510.2": ("id_map", "P04637", "", "UniProt idmapping, without the version"),
                "ENSP00000258149.5": ("id_map", "Q00987", "", "UniProt idmapping"),
                "ENSP00000361930": ("id_map", "P31946-3", "", "UniProt idmapping"),
                "MDM2": ("id_map", "Q00987", "", "UniProt idmapping"),
                "NP_000537": ("id_map", "P04637", "", "UniProt idmapping"),
                "RUNX1": ("without sequence", None, "Q01196", ""),
            },
        ),
        (
            SELECTED,
            {
                "4193": ("id_map", "Q00987", "", "UniProt idmapping_selected"),
                "7157": ("id_map", "P04637", "", "UniProt idmapping_selected"),
                "8440237": ("unknown", None, "", ""),
                "ENSG00000135679": ("id_map", "Q00987", "", "UniProt idmapping_selected"),
                "9606.ENSP00000299252": ("id_map", "Q00987", "",
                                         "UniProt idmapping_selected, without the taxon before the dot"),
                "XP_005268929.1": ("id_map", "Q00987", "", "UniProt idmapping_selected"),
            },
        ),
        (
            "From\tEntry\tReviewed\tEntry Name\nQ9H2R0\tP04637\treviewed\tP53_HUMAN\n"
            "B2R6X9\tdeleted\t\t\nO00000\tQ00987\treviewed\tMDM2_HUMAN\nO00000\tP04637\treviewed\tP53_HUMAN\n",
            {
                "Q9H2R0": ("id_map", "P04637", "", "two columns"),
                "B2R6X9": ("obsolete", None, "", ""),
                # Demerged into two entries.
                "O00000": ("ambiguous", None, "P04637;Q00987", "two columns"),
            },
        ),
        ("gene,protein\nLFS1,P04637\n", {"LFS1": ("id_map", "P04637", "", "two columns")}),
        ("P04637\tLFS1\n", {"LFS1": ("id_map", "P04637", "", "two columns")}),
    ],
    ids=["string_12", "string_11", "string_cut", "dat", "selected", "from_entry", "csv", "reversed"],
)  # fmt: skip
def test_files_of_published_layouts(
    fasta: SequenceTable,
    id_map: Callable[[str], Path],
    text: str,
    expected: Mapping[str, tuple[str, str | None, str, str]],
) -> None:
    found = map_names([*expected, "Q00987"], fasta, id_map=[id_map(text)], headers=reviewed_only(fasta))
    table = rows(found.rows)
    assert table.pop("Q00987") == ("as given", "Q00987", "", "exact")
    assert table == dict(expected)


def reviewed_only(fasta: SequenceTable) -> Mapping[str, Header]:
    """Headers without names of genes, which would map what the files are to map."""
    return {name: Header(reviewed=name != "K7PPA8") for name in fasta.sequences}


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lambda data: pa.compress(data, "zstd", asbytes=True)],
    ids=["gzip", "bzip2", "zstd"],
)
def test_packed_files(fasta: SequenceTable, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "9606.protein.aliases.v12.0.txt.gz"
    path.write_bytes(pack(ALIASES_12.encode()))
    assert map_names([MDM2], fasta, id_map=[path]).accession_of == {MDM2: "Q00987"}


def test_several_files_in_their_order(fasta: SequenceTable, tmp_path: Path) -> None:
    first, second = tmp_path / "first.tsv", tmp_path / "second.tsv"
    first.write_text("a\tP04637\nx\tQ99999\n")
    second.write_text("a\tQ00987\nb\tQ00987\nx\tQ00987\n")
    found = map_names(["a", "b", "x"], fasta, id_map=[first, second])
    assert found.accession_of == {"a": "P04637", "b": "Q00987", "x": "Q00987"}


def test_further_identifiers_of_the_network(fasta: SequenceTable) -> None:
    others = {"EBI-389668": ("Q00987", "P04637-9"), "EBI-366083": ("TP53",), "Q00987": ("P04637",)}
    found = map_names(list(others), fasta, alternatives=others)
    assert found.accession_of == {"EBI-389668": "Q00987", "EBI-366083": "P04637", "Q00987": "Q00987"}
    assert rows(found.rows)["EBI-389668"][3] == "exact, by another identifier of the network"


def test_a_file_is_not_read_if_no_name_is_left(fasta: SequenceTable, tmp_path: Path) -> None:
    assert map_names(["P04637"], fasta, id_map=[tmp_path / "absent"]).accession_of == {"P04637": "P04637"}


def test_the_result_does_not_depend_on_the_order(fasta: SequenceTable, id_map: Callable[[str], Path]) -> None:
    names = [MDM2, TP53, "TP53", "YWHAB", "P0DN37", "nothing"]
    path = id_map(ALIASES_12)
    first, second = (map_names(given, fasta, id_map=[path]) for given in (names, names[::-1] + names))
    assert first.rows.equals(second.rows)
    assert first.accession_of == second.accession_of


def test_an_isoform_of_the_file_is_its_protein_only_if_asked_for(tmp_path: Path) -> None:
    path, id_map = tmp_path / "one.fasta", tmp_path / "idmapping.dat"
    path.write_text(">sp|P31946|1433B_HUMAN\nMTMDKSEL\n>sp|Q00987|MDM2_HUMAN\nMCNTNMSV\n")
    # UniProt lists Ensembl proteins with the isoform that they are.
    id_map.write_text("P31946-1\tEnsembl_PRO\tENSP00000361930.4\nP31946\tGene_Name\tYWHAB\n")
    names, fasta = ["9606.ENSP00000361930", "Q00987"], read_fasta(path)
    given = map_names(names, fasta, id_map=[id_map])
    assert rows(given.rows)["9606.ENSP00000361930"] == ("without sequence", None, "P31946-1", "")
    assert map_names(names, fasta, id_map=[id_map], ids="canonical").accession_of == {
        "9606.ENSP00000361930": "P31946",
        "Q00987": "Q00987",
    }


def test_accessions_that_are_exact_are_no_examples(fasta: SequenceTable) -> None:
    assert map_names(["P04637", "Q00987"], fasta).summary() == [
        "mapped 2 of 2 names to 2 proteins",
        "as given: 2",
    ]


class TestBadInput:
    """Each is one message, before anything else is done."""

    def test_an_id_map_of_another_species(self, fasta: SequenceTable, id_map: Callable[[str], Path]) -> None:
        names = [f"10090.ENSMUSP0000000000{number}" for number in range(4)]
        with pytest.raises(DataError) as caught:
            map_names(names, fasta, id_map=[id_map(ALIASES_12)])
        lines = str(caught.value).splitlines()
        assert lines[0] == "the id_map has none of the names that are to be mapped"
        assert lines[2] == f"  got: STRING aliases of {MDM2}, {TP53}, 9606.ENSP00000300305"
        assert lines[3] == f"  expected: names such as {', '.join(names[:3])}, ..."

    def test_a_fasta_of_another_species(self, fasta: SequenceTable) -> None:
        with pytest.raises(DataError) as caught:
            map_names(["Q8N999", "Q8N998", "Q8N997", "Q8N996"], fasta)
        assert "got: the names Q8N996, Q8N997, Q8N998, ..." in str(caught.value)
        assert "such as K7PPA8, P04637, P0DN26, ..." in str(caught.value)

    def test_an_id_map_to_another_fasta(self, fasta: SequenceTable, id_map: Callable[[str], Path]) -> None:
        path = id_map("A\tQ8N999\nB\tQ8N998\n")
        with pytest.raises(DataError) as caught:
            map_names(["A", "B", "C"], fasta, id_map=[path])
        message = str(caught.value)
        assert message.startswith("the id_map leads to no protein of the FASTA")
        assert "it knows 2 of 3 names, such as A (Q8N999), B (Q8N998)" in message
        assert "such as K7PPA8, P04637, P0DN26, ..." in message

    def test_names_that_only_lack_a_rule(self, fasta: SequenceTable) -> None:
        with pytest.raises(
            DataError, match=r"without the isoform number, 1 of the 1 names fit: .* ids=canonical"
        ):
            map_names(["P04637-2"], fasta)

    def test_genes_where_the_fasta_has_isoforms(self, fasta: SequenceTable) -> None:
        with pytest.raises(DataError) as caught:
            map_names(["YWHAB"], fasta)
        message = str(caught.value)
        assert message.startswith("most names of the network stand for several sequences of the FASTA")
        assert "got: 1 of 1 names, such as YWHAB (P31946-2;P31946-3)" in message
        assert "or ids=canonical" in message

    def test_canonical_takes_the_canonical_sequence_of_a_gene(self, tmp_path: Path) -> None:
        path = tmp_path / "isoforms.fasta"
        header = "1433B_HUMAN 14-3-3 OS=Homo sapiens OX=9606 GN=YWHAB"
        path.write_text(f">sp|P31946|{header}\nMTMDKSEL\n>sp|P31946-2|{header}\nMDKSEL\n")
        found = map_names(["YWHAB"], read_fasta(path), ids="canonical")
        assert found.accession_of == {"YWHAB": "P31946"}

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("a b c\nd e f\n", "the layout of the id_map is not known"),
            ("\n\n", "the layout of the id_map is not known"),
            (ALIASES_12 + "9606.ENSP00000300306\tX\n", "line 13"),
            (ALIASES_12 + "9606.ENSP00000300306\t\0\tX\n", "the id_map is not text"),
            ("<!DOCTYPE html>\n", "the id_map is a web page"),
        ],
        ids=["unknown", "blank", "short", "binary", "page"],
    )
    def test_files_that_are_no_id_map(
        self, fasta: SequenceTable, id_map: Callable[[str], Path], text: str, what: str
    ) -> None:
        with pytest.raises(DataError, match=what):
            map_names([MDM2], fasta, id_map=[id_map(text)])

    def test_text_that_is_not_utf_8(self, fasta: SequenceTable, tmp_path: Path) -> None:
        path = tmp_path / "latin"
        path.write_bytes(ALIASES_12.encode() + b"9606.ENSP00000300306\t\xe9\tX\n")
        with pytest.raises(DataError, match="the id_map cannot be read"):
            map_names([MDM2], fasta, id_map=[path])

    def test_an_unknown_value_of_ids(self, fasta: SequenceTable) -> None:
        with pytest.raises(ConfigError, match="expected: as_given or canonical"):
            map_names(["P04637"], fasta, ids="plain")
