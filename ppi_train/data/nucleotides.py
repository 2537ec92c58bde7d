"""Detection of DNA or RNA in a FASTA that should have proteins.

The letters of nucleotides are all letters of amino acids too.
"""

from __future__ import annotations

from ppi_train.data.fasta import SequenceTable
from ppi_train.errors import DataError

# A short peptide of A, C, G and T may be real. In Swiss-Prot A, C, G, T, N and U are 26% of the
# residues, so that fewer than 1 in 10^25 proteins of this length would be mistaken for DNA.
SHORTEST = 50
# Share of a sequence's letters: the rest may be IUPAC's codes for ambiguous nucleotides.
_LETTERS_SHARE = 0.95
# Share of the sequences: a proteome may have a repeat or two.
_SEQUENCES_SHARE = 0.9
_ALL_BUT_NUCLEOTIDES = str.maketrans("", "", "ACGTUN")


def refuse_nucleotides(table: SequenceTable) -> None:
    """Refuses a FASTA whose long sequences are nearly all DNA or RNA.

    Raises:
        DataError: the FASTA is refused, with the count of such sequences and how likely it is that a
            protein looks like that.
    """
    long = [sequence for sequence in table.sequences.values() if len(sequence) >= SHORTEST]
    found = sum(_is_nucleotides(sequence) for sequence in long)
    if found and found > _SEQUENCES_SHARE * len(long):
        raise DataError(
            "the FASTA holds DNA or RNA, not proteins",
            where=table.source,
            got=f"{found:,} of the {len(long):,} sequences of {SHORTEST} letters or more are written "
            f"in A C G T U N; fewer than one protein of that length in 10^25 looks like this",
            expected="amino acids",
            remedy="translate the coding sequences to proteins, and give the FASTA of those",
        )


def _is_nucleotides(sequence: str) -> bool:
    others = len(sequence.translate(_ALL_BUT_NUCLEOTIDES))
    return others <= (1 - _LETTERS_SHARE) * len(sequence)
