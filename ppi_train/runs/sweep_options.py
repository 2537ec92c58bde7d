"""Options of a hyper-parameter search."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup
from ppi_train.config.options import MONITORED

OF_COST = ("seconds", "weights")
PRUNERS = ("median", "hyperband", "none")
# A name of files and of tags; MLflow takes no others for the view of the trials.
_NAME = re.compile(r"\w[\w. -]{0,98}\w|\w", re.ASCII)
SCHEMES = ("sqlite:///", "journal:", "postgresql://", "postgresql+")


@dataclass(frozen=True, kw_only=True)
class SweepOptions(OptionGroup):
    SECTION: ClassVar[str] = "sweep"

    search: str | None = option(
        None, "YAML file of what is searched; unset: a default of the model.", place="file"
    )
    trials: int = option(
        20, "Trials that the study is to have, with those that it has.", low=1, high=bounds.TRIALS
    )
    objective: tuple[str, ...] = option(
        ("val/auroc",),
        "What is searched for, at the best epoch; with two, of which one may be the seconds of training or "
        "the number of weights, the trials that no other beats in both.",
        choices=(*MONITORED, *OF_COST),
    )
    pruner: str = option(
        "median", "How hopeless trials are stopped early; with two objectives none is.", choices=PRUNERS
    )
    study: str | None = option(
        None, "Name of the study, which the same command continues; unset: made of data and search space."
    )
    storage: str | None = option(
        None,
        "Where the study is kept: sqlite:///FILE, journal:FILE or postgresql://; default $PPI_TRAIN_STORAGE, "
        "which may have a password, or a file in data_dir. Never the database of MLflow.",
    )
    search_seed: int = option(
        0, "Seed of the search; seed is that of each training.", low=0, high=bounds.SEED
    )
    retrain_seeds: int = option(
        0, "Times that the winner is trained again, each with another seed.", low=0, high=100
    )

    @property
    def prunes(self) -> bool:
        """Whether trials may be stopped early: Optuna does so for a single objective only."""
        return self.pruner != "none" and len(self.objective) == 1

    def validate(self) -> list[str]:
        found = []
        if len(set(self.objective)) != len(self.objective) or len(self.objective) > 2:
            found.append("objective: expected one, or two that differ")
        if self.objective[0] not in MONITORED:
            found.append(f"objective: expected one of {', '.join(MONITORED)} first")
        if self.storage and not self.storage.startswith(SCHEMES):
            found.append(
                f"storage: expected sqlite:///FILE, journal:FILE or postgresql://...; got {self.storage!r}"
            )
        if self.study is not None and not _NAME.fullmatch(self.study):
            found.append(f"study: expected up to 100 letters, digits and any of `_-. `; got {self.study!r}")
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "pruner" in given and self.pruner != "none" and not self.prunes:
            return [f"pruner={self.pruner} has no effect: two objectives are searched for"]
        return []
