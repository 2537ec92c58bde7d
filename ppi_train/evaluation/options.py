"""Option groups of evaluation: scoring, intervals, the audit for leakage, networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup
from ppi_train.data.options import SCORE_KINDS

AUDITS = ("full", "overlap", "off")
# How node sets were drawn; OWN if that is not stated.
WALKS = ("bfs", "dfs", "random_walk")
OWN = "own"
# Given in place of files.
DRAW, OFF = "draw", "off"


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(OptionGroup):
    SECTION: ClassVar[str] = "evaluation"

    batch_size: int = option(8192, "Pairs scored at once.", low=1, high=bounds.BATCH_SIZE)


@dataclass(frozen=True, kw_only=True)
class InputStatisticsOptions(OptionGroup):
    SECTION: ClassVar[str] = "embedding"

    input_statistics: str = option(
        "training",
        "Proteins by whose mean and deviation embeddings are standardised: those of training, or all that "
        "are asked about, which is better for another species and needs 100 proteins.",
        choices=("training", "asked"),
    )

    @property
    def asked(self) -> bool:
        return self.input_statistics == "asked"


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(OptionGroup):
    SECTION: ClassVar[str] = "evaluation"

    bootstrap_resamples: int = option(
        1000, "Resamples behind each 95% interval; 0: no intervals.", low=0, high=bounds.RESAMPLES
    )


@dataclass(frozen=True, kw_only=True)
class PairedMeasureOptions(MeasureOptions):
    """Intervals where models are compared, which cannot do without them."""

    bootstrap_resamples: int = option(
        1000, "Resamples behind each 95% interval.", low=100, high=bounds.RESAMPLES
    )


@dataclass(frozen=True, kw_only=True)
class LeakageOptions(OptionGroup):
    SECTION: ClassVar[str] = "evaluation"

    audit: str = option(
        "full",
        "What the scored pairs share with the training pairs: full looks for similar sequences too, which "
        "takes half a minute for thousands of proteins, the first time.",
        choices=AUDITS,
    )


@dataclass(frozen=True, kw_only=True)
class GivenScoresOptions(OptionGroup):
    """Scores that another tool gave to the pairs, in place of a model."""

    SECTION: ClassVar[str] = "evaluation"

    scores: str | None = option(
        None,
        "Table of scores that another tool gave to the pairs (TSV, CSV, Parquet), in place of a model.",
        place="file",
    )
    score_type: str = option(
        "auto",
        "What the scores are; auto: logits in a column logit, else probabilities; ranking: they only order.",
        choices=SCORE_KINDS,
    )
    score_name: str | None = option(None, "Name of the tool; unset: that of the file.")
    trained_on: str | None = option(
        None, "Pairs that the tool was trained on, for the audit; unset: there is none.", place="file"
    )

    def unused_options(self, given: frozenset[str]) -> list[str]:
        idle = sorted({"score_type", "score_name", "trained_on"} & given) if self.scores is None else []
        return [f"{name} has no effect: no scores are given" for name in idle]


@dataclass(frozen=True, kw_only=True)
class AuditedPairsOptions(OptionGroup):
    SECTION: ClassVar[str] = "data"

    train_pairs: str | None = option(None, "Your own training pairs; goes with test_pairs.", place="file")
    test_pairs: str | None = option(None, "Your own test pairs; goes with train_pairs.", place="file")
    fasta: str | None = option(
        None,
        "Sequences of the proteins in your own pairs or network; unset: similarity is not measured.",
        place="file",
    )
    split: str = option(
        "auto",
        "Split of the dataset to audit; auto is test if the test files are available, else validation.",
        choices=("auto", "validation", "test"),
    )

    def validate(self) -> list[str]:
        if bool(self.train_pairs) != bool(self.test_pairs):
            return ["train_pairs and test_pairs: give both or none"]
        return []

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "split" in given and self.train_pairs:
            return [f"split={self.split} has no effect: test_pairs is given"]
        return []


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(OptionGroup):
    SECTION: ClassVar[str] = "evaluation"

    node_sets: tuple[str, ...] | None = option(
        None,
        "Node sets to compare networks on: files (JSON, or a pickle as PRING's), each as bfs=FILE, dfs=FILE, "
        "random_walk=FILE or FILE, with commas between; draw makes them; off leaves out those of a dataset.",
        place="file",
    )
    network_density: float | None = option(
        None,
        "Share of all pairs of the test proteins that is expected to interact, for the network of the "
        "expected number of edges; unset: node sets are called as densely as sets of the same walk and size "
        "in the training network, or all pairs as densely as that network.",
        above=0.0,
        high=1.0,
    )
    complexes: str | None = option(
        None, "Table complex_id protein_a protein_b of complexes that the network should show.", place="file"
    )
    essential: str | None = option(
        None, "Essential proteins of the network, one per line; goes with non_essential.", place="file"
    )
    non_essential: str | None = option(
        None, "Proteins known to be non-essential, one per line; goes with essential.", place="file"
    )

    def validate(self) -> list[str]:
        found = []
        if bool(self.essential) != bool(self.non_essential):
            found.append("essential and non_essential: give both or none")
        items = self.node_sets or ()
        alone = [item for item in items if item in (DRAW, OFF)]
        if alone and len(items) > 1:
            found.append(f"node_sets: {alone[0]} must be given alone; got {', '.join(items)}")
        kinds = [kind for kind, _ in map(kind_and_file, items)]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        found += [f"node_sets: two files of kind {kind}; give one of each" for kind in twice]
        return found

    @property
    def node_set_files(self) -> dict[str, str]:
        """The node set files by kind."""
        return dict(kind_and_file(item) for item in self.node_sets or () if item not in (DRAW, OFF))


def kind_and_file(item: str) -> tuple[str, str]:
    """Splits `bfs=FILE` into kind and file.

    An item without such a prefix is a file of kind `own`.

    >>> kind_and_file("dfs=my/sets.json")
    ('dfs', 'my/sets.json')
    """
    kind, _, path = item.partition("=")
    return (kind, path) if kind in WALKS and path else (OWN, item)
