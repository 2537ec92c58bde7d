"""The scored proteins whose sequences the language model behind the embeddings has read."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ppi_train.runs.language_text import logged_text_digests
from ppi_train.runs.scored_split import SplitScores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class KnownSequences:
    """How many of the scored proteins are in the text of the language model.

    Attributes:
        count: Those whose sequence is in the text.
        proteins: All scored proteins.
        run_id: The run that trained the language model.
        prefix: Prefix of the metric's name: `test` or `val`.
    """

    count: int
    proteins: int
    run_id: str
    prefix: str

    @property
    def metrics(self) -> dict[str, float]:
        return {f"{self.prefix}/proteins_in_language_text": self.count}

    @property
    def sentence(self) -> str:
        """What the log and the page say."""
        return (
            f"Of the {self.proteins:,} scored proteins {self.count:,} have a sequence that the language "
            f"model of run {self.run_id} has read, without labels"
        )


def known_sequences(scored: SplitScores, *, prefix: str) -> KnownSequences | None:
    """Counts the scored proteins that the language model has read.

    None if the embeddings are not those of a language model that a run has trained, or its text is not known.

    Args:
        scored: The scored split.
        prefix: Prefix of the metric's name.
    """
    run_id = scored.inputs.cache.spec.embedder_run_id
    text = logged_text_digests(run_id) if run_id else None
    if text is None:
        return None
    digests = scored.sequence_digests
    count = sum(digest in text for digest in digests.values())
    found = KnownSequences(count=count, proteins=len(digests), run_id=run_id, prefix=prefix)
    logger.info("%s", found.sentence)
    return found
