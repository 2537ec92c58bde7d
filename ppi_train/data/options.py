"""Options of a new split of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup

SPLIT_METHODS = ("random", "c3", "clustered", "bfs", "dfs", "random_walk", "time")
NEGATIVE_KINDS = ("degree_matched", "uniform")
_KEPT_APART = (
    "pairs, proteins (c3), similar proteins (clustered), a part of the network, or what is new (time)."
)

_FOR_VALIDATION = (
    "Share for validation: of the pairs (random, time), of the training pairs (bfs, dfs, random_walk), "
    "of the proteins (c3, clustered)."
)

# What scores of another tool may be; see data/score_tables.py.
SCORE_KINDS = ("auto", "probability", "logit", "ranking")


@dataclass(frozen=True, kw_only=True)
class SourceNetworkOptions(OptionGroup):
    """A network as it is downloaded, and what of it is taken."""

    SECTION: ClassVar[str] = "network"

    network: str | None = option(
        None,
        "A network as downloaded from STRING, BioGRID, IntAct, HuRI and others, in place of labelled pairs; "
        "goes with fasta.",
        place="file",
    )
    id_map: tuple[str, ...] | None = option(
        None,
        "Tables that map its names to those of the FASTA, such as STRING's aliases or UniProt's idmapping.",
        place="file",
    )
    ids: str = option(
        "as_given",
        "Names with a version or an isoform number: as they are, or also without it (canonical).",
        choices=("as_given", "canonical"),
    )
    min_score: float | None = option(None, "Lowest score of a pair, in the file's scale (STRING: 0 to 1000).")
    score_column: str | None = option(
        None, "Column of that score, such as a channel of STRING; unset: the combined one."
    )
    system_type: str | None = option(
        None, "BioGRID: type of the experiment; unset: physical.", choices=("physical", "genetic")
    )
    throughput: str | None = option(None, "BioGRID: throughput of the experiment.", choices=("low", "high"))
    taxid: tuple[str, ...] | None = option(
        None, "NCBI numbers of the organisms that both proteins are of, with commas between."
    )
    detection_method: tuple[str, ...] | None = option(
        None, "PSI-MITAB: detection methods, as MI:0018 or by name; any of them."
    )
    interaction_type: tuple[str, ...] | None = option(
        None, "PSI-MITAB: interaction types, as MI:0407 or by name; any of them."
    )
    expanded_complexes: str = option(
        "keep",
        "PSI-MITAB: pairs that were expanded from complexes.",
        choices=("keep", "drop", "only"),
    )
    known: tuple[str, ...] | None = option(
        None,
        "Further networks, whose pairs are never drawn as negatives; their names are mapped as well.",
        place="file",
    )

    def validate(self) -> list[str]:
        wrong = [text for text in self.taxid or () if not text.isdecimal()]
        return [f"taxid: expected numbers such as 9606; got {wrong[0]!r}"] if wrong else []


@dataclass(frozen=True, kw_only=True)
class DivisionOptions(OptionGroup):
    """How a network is divided, as far as all modes have the same names for it."""

    SECTION: ClassVar[str] = "split"

    max_identity: float = option(
        0.4, "clustered: proteins with a higher identity than this stay on the same side.", low=0, below=1
    )
    val_fraction: float = option(0.1, _FOR_VALIDATION, above=0, below=1)
    test_fraction: float = option(
        0.2, "Share for test: of the pairs (random, time), or of the proteins.", above=0, below=1
    )
    negative_ratio: float = option(
        1.0, "Negative pairs for each positive one.", above=0, high=bounds.NEGATIVE_RATIO
    )

    def wrong_fractions(self, method: str) -> list[str]:
        """The problem that validation and test together leave nothing for training."""
        walks = method in ("bfs", "dfs", "random_walk")
        if walks or self.val_fraction + self.test_fraction < 1:
            return []
        return [
            "val_fraction and test_fraction: expected a sum below 1; "
            f"got {self.val_fraction + self.test_fraction:g}"
        ]


@dataclass(frozen=True, kw_only=True)
class NewSplitOptions(DivisionOptions):
    pairs: str | None = option(
        None, "The positive pairs; where there are labels, those of label 0 are left out.", place="file"
    )
    fasta: str | None = option(
        None,
        "Their sequences: required by method=clustered and network, and for the full audit.",
        place="file",
    )
    output: str | None = option(
        None, "Folder for train.tsv, validation.tsv, test.tsv and split.json.", place="here"
    )
    overwrite: bool = option(False, "Replace a split that is there.")
    method: str = option("c3", f"What is kept apart: {_KEPT_APART}", choices=SPLIT_METHODS)
    negatives: str = option(
        "degree_matched",
        "How negative pairs are drawn from the proteins of each side.",
        choices=NEGATIVE_KINDS,
    )
    seed: int = option(0, "Seed of the split and of the negatives.", low=0, high=bounds.SEED)

    def validate(self) -> list[str]:
        found = [] if self.output else ["output: required; the folder to write to"]
        if self.method == "clustered" and not self.fasta:
            found.append("fasta: required with method=clustered; the sequences to cluster")
        return [*found, *self.wrong_fractions(self.method)]

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "max_identity" in given and self.method != "clustered":
            return [f"max_identity={self.max_identity} has no effect: method={self.method}"]
        return []


@dataclass(frozen=True, kw_only=True)
class NetworkDivisionOptions(DivisionOptions):
    """How the network of a training is divided, or negatives are added to its tables."""

    # The best epoch is chosen on validation, which with c3 has the square of this share of the pairs.
    val_fraction: float = option(0.15, _FOR_VALIDATION, above=0, below=1)
    split_method: str = option("c3", f"network: what is kept apart: {_KEPT_APART}", choices=SPLIT_METHODS)
    negatives: str | None = option(
        None,
        "How negative pairs are drawn, for a network (unset: degree_matched, unless the file has negatives) "
        "or for own tables of interactions only.",
        choices=NEGATIVE_KINDS,
    )
    split_seed: int = option(
        0, "Seed of the split of a network, and of drawn negatives.", low=0, high=bounds.SEED
    )

    def validate(self) -> list[str]:
        return self.wrong_fractions(self.split_method)

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "max_identity" in given and self.split_method != "clustered":
            return [f"max_identity={self.max_identity} has no effect: split_method={self.split_method}"]
        return []
