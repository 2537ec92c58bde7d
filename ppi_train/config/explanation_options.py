"""Parameters of `explain`: the pair whose score is explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config.fields import option
from ppi_train.config.options import OptionGroup


@dataclass(frozen=True, kw_only=True)
class ExplanationOptions(OptionGroup):
    SECTION: ClassVar[str] = "explanation"

    protein_a: str | None = option(None, "Accession of one protein of the pair.")
    protein_b: str | None = option(None, "Accession of the other; may be the same.")

    def validate(self) -> list[str]:
        return [
            f"{name}: required; an accession of the FASTA, data set or cache"
            for name in ("protein_a", "protein_b")
            if not getattr(self, name)
        ]
