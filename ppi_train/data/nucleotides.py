"""Tells a FASTA of DNA or RNA, whose letters are all amino acids too, from one of proteins."""

from __future__ import annotations

from ppi_train.data.fasta import SequenceTable
from ppi_train.errors import DataError

# A short peptide of A, C, G and T may be real. In Swiss-Prot A, C, G, T, N and U are 26% of the
# residues, so that of proteins of this length less than 1 in 10^25 would be taken for DNA.
SHORTEST = 50
# Of a sequence's letters: the rest may be IUPAC's codes for what the sequencer could not tell.
_LETTERS_SHARE = 0.95
# Of the sequences: a proteome may hold a repeat or two.
_SEQUENCES_SHARE = 0.9
_ALL_BUT_NUCLEOTIDES = str.maketrans("", "", "ACGTUN")


def refuse_nucleotides(table: SequenceTable) -> None:
    """Refuses a FASTA of which nearly all sequences that are long enough to tell are DNA or RNA.

    Raises:
        DataError: it is, with the share of the sequences and how likely a protein would look like that.
    """
    long = [one for one in table.sequences.values() if len(one) >= SHORTEST]
    found = sum(_is_nucleotides(one) for one in long)
    if found and found > _SEQUENCES_SHARE * len(long):
        raise DataError(
            "the FASTA holds DNA or RNA, not proteins",
            where=table.source,
            got=f"{found:,} of the {len(long):,} sequences of {SHORTEST} letters or more are written "
            f"in A C G T U N; a protein of that length is so less than once in 10^25",
            expected="amino acids",
            remedy="translate the coding sequences to proteins, and give the FASTA of those",
        )


def _is_nucleotides(sequence: str) -> bool:
    others = len(sequence.translate(_ALL_BUT_NUCLEOTIDES))
    return others <= (1 - _LETTERS_SHARE) * len(sequence)
