"""What the page answers: pasted proteins as scored pairs, within bounds."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any

from ppi_train.data.fasta import clean_sequence, parse_fasta, refuse_nucleotides
from ppi_train.errors import DataError
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.serving import PairScorer

# Bounds of one request; `predict` has none.
MOST_BYTES = 1_000_000
MOST_PROTEINS = 300
MOST_RESIDUES = 10_000
MOST_PAIRS = 5_000
# Of all proteins together: a million took over a minute, after which MLflow's application gives up.
MOST_IN_ALL = 200_000
# Integrated gradients over longer pairs take seconds.
MOST_EXPLAINED = 5_000
FIELDS = ("a", "b")
_BOTH = "the two fields"
_BLANK_LINE = re.compile(r"\n\s*\n")
_ROOM = (
    "score more with `predict`: mlflow run . --env-manager local -e predict -P fasta=FILE -P all_pairs=true "
    "-P output=FILE"
)


class TooMuchError(DataError):
    """A request exceeds a bound of the page."""


@dataclass(kw_only=True)
class PageModel:
    """A model in memory that scores what is pasted into the page.

    Attributes:
        name: The model's name.
        run_id: The run that trained it.
        prevalence: The share of interacting pairs that its probabilities are calibrated for.
        scorer: Scores sequences.
        answered: How many requests were answered with scores.
    """

    name: str
    run_id: str
    prevalence: float | None
    scorer: PairScorer
    answered: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def about(self) -> dict[str, object]:
        """What the page says of the model, and its bounds."""
        return {
            "model": self.name,
            "run_id": self.run_id,
            "prevalence": self.prevalence,
            "most_proteins": MOST_PROTEINS,
            "most_residues": MOST_RESIDUES,
            "most_pairs": MOST_PAIRS,
        }

    def score(self, texts: Mapping[str, object]) -> dict[str, Any]:
        """Scores the proteins of field `a` with each other, or with those of `b` if it has any.

        Args:
            texts: The text of the two fields: a FASTA, or one bare sequence.

        Returns:
            `pairs` by falling probability; `residues`, the weights of both proteins of a single pair, if the
            model has such.

        Raises:
            DataError: a text is not what is expected.
            TooMuchError: it exceeds a bound.
        """
        tables = [_read(name, texts.get(name, "")) for name in FIELDS]
        pairs = _pairs(*tables)
        sequence_of = {**tables[1], **tables[0]}
        _refuse_two_sequences(*tables)
        residues_in_all = sum(map(len, sequence_of.values()))
        if residues_in_all > MOST_IN_ALL:
            raise _too_much(_BOTH, f"{residues_in_all:,} residues in all", f"at most {MOST_IN_ALL:,}")
        rows = {
            "sequence_a": [sequence_of[a] for a, _ in pairs],
            "sequence_b": [sequence_of[b] for _, b in pairs],
        }
        with self._lock:  # one at a time: the machine is also used for other things
            logits, deviations = self.scorer.with_uncertainty(rows)
            residues = self._residues(pairs[0], sequence_of) if len(pairs) == 1 else None
            self.answered += 1
        bounds = [sigmoid(logits + sign * deviations) for sign in (-1, 0, 1)]
        columns = zip(*(values.tolist() for values in (*bounds, logits, deviations)), strict=True)
        scored = [
            {
                "protein_a": a,
                "protein_b": b,
                "probability": middle,
                "low": low,
                "high": high,
                "logit": logit,
                "uncertainty": deviation,
            }
            for (a, b), (low, middle, high, logit, deviation) in zip(pairs, columns, strict=True)
        ]
        scored.sort(key=lambda row: (-float(str(row["logit"])), row["protein_a"], row["protein_b"]))
        return {"pairs": scored, "residues": residues}

    def _residues(
        self, pair: tuple[str, str], sequence_of: Mapping[str, str]
    ) -> list[dict[str, object]] | None:
        sequences = [sequence_of[name] for name in pair]
        if sum(map(len, sequences)) > MOST_EXPLAINED:
            return None
        weights = self.scorer.residue_weights(*sequences)
        if weights is None:
            return None
        return [
            {"protein": name, "sequence": sequence, "weights": [round(float(value), 6) for value in values]}
            for name, sequence, values in zip(pair, sequences, weights, strict=True)
            if len(values) == len(sequence)  # a model of truncated proteins has no weights for the rest
        ]


def _read(name: str, text: object) -> dict[str, str]:
    """The sequences of a field by name; none if it is empty.

    Raises:
        DataError: it is neither a FASTA nor a sequence of amino acids.
        TooMuchError: it is too large.
    """
    place = f"field {name.upper()}"
    if not isinstance(text, str):
        raise DataError("a field is not text", where=place, got=type(text).__name__)
    if not text.strip():
        return {}
    if not text.lstrip().startswith(">") and "\t" not in text:
        text = f">protein_{name}\n{_bare_sequence(text, place)}"
    # JSON can hold halves of a character, which no text of bytes can.
    table = parse_fasta(text.encode("utf-8", "backslashreplace"), place)
    if len(table.sequences) > MOST_PROTEINS:
        raise _too_much(place, f"{len(table.sequences):,} proteins", f"at most {MOST_PROTEINS:,}")
    for protein, sequence in table.sequences.items():
        if len(sequence) > MOST_RESIDUES:
            raise _too_much(place, f"{protein}: {len(sequence):,} residues", f"at most {MOST_RESIDUES:,}")
        # Each by itself: of a few sequences even one of DNA is a mistake.
        refuse_nucleotides(replace(table, sequences={protein: sequence}, source=f"{place}, {protein}"))
    return dict(table.sequences)


def _bare_sequence(text: str, place: str) -> str:
    if _BLANK_LINE.search(text.strip().replace("\r", "")):
        raise DataError(
            "the text has a blank line in it: is this one sequence or several?",
            where=place,
            expected="one sequence, or several with a line `>name` above each",
        )
    try:
        return clean_sequence(text)
    except DataError as error:
        raise error.at(place) from None


def _pairs(of_a: Mapping[str, str], of_b: Mapping[str, str]) -> list[tuple[str, str]]:
    """The pairs that are asked for, each once.

    Raises:
        DataError: there are none.
        TooMuchError: there are too many.
    """
    if not of_a and not of_b:
        raise DataError(
            "both fields are empty", expected="a FASTA of two proteins or more, or one protein in each field"
        )
    if of_a and of_b:
        pairs = list(dict.fromkeys((a, b) if a <= b else (b, a) for a, b in product(of_a, of_b)))
        pairs = [(a, b) if a in of_a else (b, a) for a, b in pairs]
    else:
        pairs = list(combinations(of_a or of_b, 2))
    if not pairs:
        raise DataError(
            "there is one protein, and no other to pair it with",
            expected="a second protein, in the other field or in the same FASTA",
        )
    if len(pairs) > MOST_PAIRS:
        raise _too_much(_BOTH, f"{len(pairs):,} pairs", f"at most {MOST_PAIRS:,}")
    return pairs


def _refuse_two_sequences(of_a: Mapping[str, str], of_b: Mapping[str, str]) -> None:
    for name in of_a.keys() & of_b.keys():
        if of_a[name] != of_b[name]:
            raise DataError("a name has one sequence in field A and another one in field B", got=name)


def _too_much(place: str, got: str, expected: str) -> TooMuchError:
    return TooMuchError(
        "this is more than the page takes", where=place, got=got, expected=expected, remedy=_ROOM
    )
