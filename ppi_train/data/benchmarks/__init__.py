"""The published benchmarks: files, licences and citations.

Every URL names a commit, so that a file never changes under its name; the sha256 makes sure.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ppi_train.errors import ConfigError


@dataclass(frozen=True)
class CatalogueFile:
    """A file to fetch.

    `sha256` is None if the file has not been verified yet; `size` is in bytes, None if unknown.
    """

    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A published data set.

    `files` maps a role, such as `train_pairs`, to its file.
    """

    name: str
    title: str
    licence: str
    citation: str
    files: Mapping[str, CatalogueFile]


_TUNA = "https://raw.githubusercontent.com/Wang-lab-UCSD/TUnA/8cd8b079cae26ae6f431adaf9dcae591ba401d1a"
_PRING = "https://raw.githubusercontent.com/SophieSarceau/PRING/10a05300bf9d68f02fa2e6e4d22ee7786ac548c2"

_PRING_LICENCE = "MIT"
_PRING_CITATION = (
    "Zheng et al. 2025, PRING: Rethinking Protein-Protein Interaction Prediction from Pairs to Graphs, "
    "arXiv:2507.05101"
)


def _bernett_file(name: str, sha256: str, size: int | None = None) -> CatalogueFile:
    return CatalogueFile(f"{_TUNA}/data/processed/bernett/{name}", sha256, size)


def _pring_file(name: str, sha256: str | None = None, size: int | None = None) -> CatalogueFile:
    return CatalogueFile(f"{_PRING}/pring_dataset/{name}", sha256, size)


def _pring(name: str, species: str, files: Mapping[str, CatalogueFile]) -> Benchmark:
    return Benchmark(
        name=name,
        title=f"PRING, {species}: pairs and whole networks, test proteins apart from the training set",
        licence=_PRING_LICENCE,
        citation=_PRING_CITATION,
        files=MappingProxyType(dict(files)),
    )


_BERNETT = Benchmark(
    name="bernett",
    title="Bernett gold standard: human, proteins disjoint between the sets, under 40% identity",
    licence="MIT (repository Wang-lab-UCSD/TUnA, after figshare 10.6084/m9.figshare.21591618)",
    citation=(
        "Bernett, Blumenthal and List 2024, Cracking the black box of deep sequence-based protein-protein "
        "interaction prediction, Briefings in Bioinformatics 25(2) bbae076, doi:10.1093/bib/bbae076"
    ),
    files=MappingProxyType(
        {
            "train_pairs": _bernett_file(
                "Intra1_interaction.tsv",
                "e01f47d5ca70b5cbf67203aa4850aa69dbab92ee12909a29377e5a79c286711b",
                2_774_264,
            ),
            "train_sequences": _bernett_file(
                "Intra1_dictionary.tsv",
                "fe69fe8f3cb7e168d2c9baf0b8ebf60adc5added68b533cc9b60c8aa5eaa2590",
                3_264_694,
            ),
            "validation_pairs": _bernett_file(
                "Intra0_interaction.tsv",
                "c8d397a649958aa0b628059d6a41a69cdedf51d946f10ed7dfd571bc7ea72062",
                1_007_440,
            ),
            "validation_sequences": _bernett_file(
                "Intra0_dictionary.tsv",
                "b37a042e1fa61f9c0ca1d314a97c6a992be5ac37fb435ed70f008fa0bd4c115b",
                2_224_690,
            ),
            "test_pairs": _bernett_file(
                "Intra2_interaction.tsv", "4d100511798a9ce6511aff78da84a9689b8fbe0200793121d78223f97ef34eda"
            ),
            "test_sequences": _bernett_file(
                "Intra2_dictionary.tsv", "d35116184215b8d9783e69eb0d7c0966ef889c4b58b256a4ea610cc98ef98d87"
            ),
        }
    ),
)

_PRING_ARATH = _pring(
    "pring_arath",
    "Arabidopsis thaliana",
    {
        "sequences": _pring_file(
            "arath/arath_simple.fasta",
            "0a0045deaeb350bd093f26855bdcfe7e98b24b62904204c9c45b02de2fd2962d",
            2_315_905,
        ),
        "edges": _pring_file(
            "arath/arath_ppi.txt", "0bba9aa393cda7cabef50483417064e14012cbcfe12bd1f68be0dd722eb988b3", 330_356
        ),
        "test_pairs": _pring_file(
            "arath/arath_test_ppi.txt",
            "7a559509d85c82d05079725861dc3d33a13da2995a32790025713aaf50501e6f",
            229_964,
        ),
        "nodes_bfs": _pring_file(
            "arath/arath_BFS_sampled_nodes.pkl",
            "3bb28ed2e3f713a44e6caa9d67b478c1245e313a706f22f829bae75d7329cf3b",
            307_496,
        ),
        "nodes_dfs": _pring_file(
            "arath/arath_DFS_sampled_nodes.pkl",
            "6d7fc2f63fd4173bcff193fc6cebbdfd96dc86cc5e41a3394756aa2241b6b728",
            191_064,
        ),
        "nodes_random_walk": _pring_file(
            "arath/arath_RANDOM_WALK_sampled_nodes.pkl",
            "c86415489ffa20811ad6031d586a5b9de382948b8a9d7cb0b00a4beb88d436e9",
            327_614,
        ),
    },
)

_PRING_YEAST = _pring(
    "pring_yeast",
    "Saccharomyces cerevisiae",
    {
        "sequences": _pring_file(
            "yeast/yeast_simple.fasta", "9e95eeab491a1f0bfd4d991c5a24e8df8526edb61a43848d72ef6bec9f5918d0"
        ),
        "edges": _pring_file(
            "yeast/yeast_ppi.txt", "518068c237c3347239a481a03b0fae821c300da93c4f7819a9e2e108fd496ca2"
        ),
        "test_pairs": _pring_file(
            "yeast/yeast_test_ppi.txt", "8f756c592c5f058108ef5eacc7821863301587cabe2d2af279973b3fa0cd2f7e"
        ),
        "nodes_bfs": _pring_file(
            "yeast/yeast_BFS_sampled_nodes.pkl",
            "d2de6f48fc0c2ceab3b09cf71a513b0cfd648b0e120263eec94d6c53b185f050",
        ),
        "nodes_dfs": _pring_file(
            "yeast/yeast_DFS_sampled_nodes.pkl",
            "455707d10ef78e3972a8b57364781fe10749ade7f70db3f32905497f52af4201",
        ),
        "nodes_random_walk": _pring_file(
            "yeast/yeast_RANDOM_WALK_sampled_nodes.pkl",
            "00cbbbedebcf783140162a0af25db3c537f2270c3cd23b388973743ecadb866d",
        ),
    },
)

_PRING_ECOLI = _pring(
    "pring_ecoli",
    "Escherichia coli",
    {
        "sequences": _pring_file(
            "ecoli/ecoli_simple.fasta", "f5034d586845130fe56cd9b6a6d08e9f9f431d05467b1c0b54e2a354f84768af"
        ),
        "edges": _pring_file(
            "ecoli/ecoli_ppi.txt", "348bf5581c0382afaab8a8f58534ace27db4b8741254f60ff6b5c28371426e0e"
        ),
        "test_pairs": _pring_file(
            "ecoli/ecoli_test_ppi.txt", "1971a10293dd3ed062334b09b2982f1aa9bbfabfd49cd6dccf805d1f6318d164"
        ),
        "nodes_bfs": _pring_file(
            "ecoli/ecoli_BFS_sampled_nodes.pkl",
            "4f961f84152e94761b8b5b2c2a12978a5c6b061ef427eb1c6df4a9a733ceb5ca",
        ),
        "nodes_dfs": _pring_file(
            "ecoli/ecoli_DFS_sampled_nodes.pkl",
            "fdc5c503272bee525f4ba95163e75406af7ebe712c828f41289fd584134bd389",
        ),
        "nodes_random_walk": _pring_file(
            "ecoli/ecoli_RANDOM_WALK_sampled_nodes.pkl",
            "f2085263da90b48f98824d69e9e28762c64ab509338252232461d3188bbaa0c5",
        ),
    },
)

_PRING_HUMAN = _pring(
    "pring_human",
    "Homo sapiens",
    {
        "sequences": _pring_file("human/human_simple.fasta"),
        "edges": _pring_file(
            "human/human_ppi.txt", "d0fc5ac57bb94dadcf8a3ad4cbc6ca4e86ca2f91a864de4dd5218a3484a10dda"
        ),
        "train_pairs": _pring_file(
            "human/human_train_ppi.txt",
            "4e08ea2a69a07632cd043c86d91d782350b4f454e67d989986d725c935967c33",
            1_355_100,
        ),
        "validation_pairs": _pring_file(
            "human/human_val_ppi.txt",
            "e7172c1d07094a9af1f8d8556bf421377f8943228674844af5735fe42bd3c8ab",
            338_776,
        ),
        "test_pairs": _pring_file(
            "human/human_test_ppi.txt", "fcbd604d5a5eee16f73fc239706015ba4368a030c2fc02e2fe8810373ecd9c35"
        ),
        "nodes_bfs": _pring_file(
            "human/human_BFS_sampled_nodes.pkl",
            "f418d4721dbfcb4b15ecb9d021dcc4acc10bae5c2de020e74154fe0bad218314",
        ),
        "nodes_dfs": _pring_file(
            "human/human_DFS_sampled_nodes.pkl",
            "fd8e6002b9c0f4111dc80c6ebdf94ad26c6ee3efb2f70582e009ddbbc8d3a7fd",
        ),
        "nodes_random_walk": _pring_file(
            "human/human_RANDOM_WALK_sampled_nodes.pkl",
            "df39ab158a100602483da2ea4676ac04af69462dd123f11fb47cba7f22fffe80",
        ),
    },
)

CATALOGUE: Mapping[str, Benchmark] = MappingProxyType(
    {entry.name: entry for entry in (_BERNETT, _PRING_ARATH, _PRING_YEAST, _PRING_ECOLI, _PRING_HUMAN)}
)


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the message lists the nearest names and all of them.
    """
    if name not in CATALOGUE:
        raise unknown_name("benchmark", name, tuple(CATALOGUE))
    return CATALOGUE[name]


def unknown_name(kind: str, name: str, known: tuple[str, ...]) -> ConfigError:
    """The error for an unknown name, with the nearest known names."""
    near = difflib.get_close_matches(name, known, n=3)
    return ConfigError(
        f"there is no {kind} {name!r}",
        got=name,
        expected="one of " + ", ".join(known),
        remedy=f"did you mean {' or '.join(near)}?" if near else None,
    )
