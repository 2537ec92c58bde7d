"""Options of a new split of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup

SPLIT_METHODS = ("random", "c3", "clustered", "bfs", "dfs", "random_walk")
NEGATIVE_KINDS = ("degree_matched", "uniform")


@dataclass(frozen=True, kw_only=True)
class NewSplitOptions(OptionGroup):
    SECTION: ClassVar[str] = "split"

    pairs: str | None = option(
        None, "The positive pairs; where there are labels, those of label 0 are left out."
    )
    fasta: str | None = option(
        None, "Their sequences: required by method=clustered, and for the full audit of the result."
    )
    output: str | None = option(None, "Folder for train.tsv, validation.tsv, test.tsv and split.json.")
    overwrite: bool = option(False, "Replace a split that is there.")
    method: str = option(
        "c3",
        "What is kept apart: pairs, proteins (c3), clusters of similar ones, or a piece of the network.",
        choices=SPLIT_METHODS,
    )
    max_identity: float = option(
        0.4, "clustered: proteins with a higher identity than this stay on the same side.", low=0, below=1
    )
    val_fraction: float = option(
        0.1,
        "Share for validation: of the pairs (random), of the training pairs (bfs, dfs, random_walk), "
        "of the proteins (c3, clustered).",
        above=0,
        below=1,
    )
    test_fraction: float = option(
        0.2, "Share for test: of the pairs (random), or of the proteins.", above=0, below=1
    )
    negatives: str = option(
        "degree_matched",
        "How negative pairs are drawn from the proteins of each side.",
        choices=NEGATIVE_KINDS,
    )
    negative_ratio: float = option(
        1.0, "Negative pairs for each positive one.", above=0, high=bounds.NEGATIVE_RATIO
    )
    seed: int = option(0, "Seed of the split and of the negatives.", low=0, high=bounds.SEED)

    def validate(self) -> list[str]:
        needed = {"pairs": "the positive pairs to split", "output": "the folder to write to"}
        found = [f"{name}: required; {what}" for name, what in needed.items() if not getattr(self, name)]
        if self.method == "clustered" and not self.fasta:
            found.append("fasta: required with method=clustered; the sequences to cluster")
        walks = self.method in ("bfs", "dfs", "random_walk")
        if not walks and self.val_fraction + self.test_fraction >= 1:
            found.append(
                "val_fraction and test_fraction: expected a sum below 1; "
                f"got {self.val_fraction + self.test_fraction:g}"
            )
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "max_identity" in given and self.method != "clustered":
            return [f"max_identity={self.max_identity} has no effect: method={self.method}"]
        return []
