"""Reading and writing of FASTA files.

A FASTA is read once per run and before anything else, so it is parsed record by record on bytes; line and
column numbers are worked out only for error messages. DNA and RNA are refused by how often their letters
occur, since all of these are letters of amino acids too.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from ppi_train.errors import DataError
from ppi_train.io.files import BOM, MAX_RESIDUES, read_file, refuse_endless, write_file
from ppi_train.io.packed import unpack

NONSTANDARD = "UOBZJX*"
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"

_LETTERS = (AMINO_ACIDS + NONSTANDARD).encode()
_SPACE = b" \t\n\v\f"
_NO_AMINO_ACID = re.compile(b"[^%s%s%s\n]" % (_LETTERS, _LETTERS.lower(), _SPACE))

# Limit of a whole FASTA, unpacked: all of Swiss-Prot is a tenth of it. The sequences are kept in memory.
MAX_FASTA_BYTES = 4 << 30

# The shortest sequence that can be DNA or RNA: a short peptide of A, C, G and T may be real. In Swiss-Prot
# A, C, G, T, N and U are 26% of the residues, so that fewer than 1 in 10^25 proteins of this length would be
# mistaken for DNA.
SHORTEST = 50
# Share of its letters: the rest may be IUPAC's codes for ambiguous nucleotides.
_LETTERS_SHARE = 0.95
# Share of the sequences: a proteome may have a repeat or two.
_SEQUENCES_SHARE = 0.9
_ALL_BUT_NUCLEOTIDES = str.maketrans("", "", "ACGTUN")


def sequence_digest(sequence: str) -> str:
    """sha256, in hex, of a sequence's ASCII letters.

    >>> sequence_digest("MKV")[:8]
    '06101e17'
    """
    return hashlib.sha256(sequence.encode("ascii")).hexdigest()


def accession_of(header: bytes) -> bytes:
    """The accession in a FASTA header without `>`, or an empty string.

    >>> accession_of(b"sp|P12345|NAME_HUMAN Some protein")
    b'P12345'
    """
    words = header.split(None, 1)
    fields = words[0].split(b"|") if words else [b""]
    return fields[1] if fields[0] in (b"sp", b"tr") and len(fields) > 1 else b"|".join(fields)


def clean_sequence(text: object) -> str:
    """Cleans a sequence from another source the way `read_fasta` does.

    Raises:
        DataError: this is not text, has no residue, more than MAX_RESIDUES, or a letter that is not an amino
            acid.
    """
    body = "".join(text.split()).upper() if isinstance(text, str) else ""
    if len(body) > MAX_RESIDUES:
        raise DataError(
            "the sequence is too long to be a protein",
            got=f"{len(body):,} letters, which begin with {body[:40]!r}",
            expected=f"at most {MAX_RESIDUES:,}",
        )
    strange = sorted(set(body) - set(AMINO_ACIDS + NONSTANDARD))
    sequence = body.rstrip("*").replace("*", "X")
    if strange or not sequence:
        raise DataError(
            "this is not a protein sequence",
            got=f"{str(text)[:40]!r}{f', with {strange[0]!r}' if strange else ''}",
            expected=f"one or more of {AMINO_ACIDS} {NONSTANDARD}, in either case",
        )
    return sequence


@dataclass(frozen=True, kw_only=True)
class SequenceTable:
    """The sequences of a FASTA.

    `sequences` maps accession to upper-case sequence, in the order of the file; `source` is the path as
    it was given, for messages; `nonstandard` counts the letters U O B Z J X and * that occur, stripped
    stops included; `duplicates` counts records that repeat an earlier one exactly.
    """

    sequences: Mapping[str, str]
    source: str
    nonstandard: Mapping[str, int]
    duplicates: int

    @cached_property
    def digest(self) -> str:
        """sha256 of the sorted lines `accession<TAB>sequence`.

        It depends neither on the order of the records nor on wrapping, case or compression, so that an
        embedding cache is found again for a FASTA that was only rewritten.
        """
        found = hashlib.sha256()
        for accession, sequence in sorted(self.sequences.items()):
            found.update(f"{accession}\t{sequence}\n".encode())
        return found.hexdigest()


def read_fasta(path: str | Path) -> SequenceTable:
    """Reads a FASTA, plain, gzip, bzip2 or zstd, or a table of names and sequences with a tab between.

    The format is recognised by the first bytes. Sequences may be wrapped, and in upper or lower case. The
    key is the header up to the first white space; for `sp|P12345|NAME` and `tr|P12345|NAME` it is the
    accession in the middle. U O B Z J and X stay in the sequence; a stop `*` at the end is stripped and one
    inside becomes X, so that no residue moves. All of them are counted.

    Raises:
        DataError: the file is absent, empty, not a FASTA, or larger than MAX_FASTA_BYTES; with the line:
            an empty header or sequence, a sequence longer than MAX_RESIDUES, a letter that is not an amino
            acid (and its column), a key with two sequences (both lines).
    """
    refuse_endless(path, b">", "FASTA")
    data = read_file(path, "FASTA", limit=MAX_FASTA_BYTES)
    return parse_fasta(unpack(path, data, "FASTA", b">", limit=MAX_FASTA_BYTES), str(path))


def parse_fasta(data: bytes, source: str) -> SequenceTable:
    """Parses the unpacked bytes of a FASTA as `read_fasta` does; `source` is named in messages.

    Raises:
        DataError: see `read_fasta`.
    """
    data = _plain_lines(data, source)
    start = len(data) - len(data.lstrip())
    of_table = None if data[start : start + 1] == b">" else _as_records(source, data)
    if of_table is not None:
        data, start = of_table, 0
    elif data[start : start + 1] != b">":
        _refuse_start(source, data, start)
    sequences: dict[str, str] = {}
    first_of: dict[str, int] = {}
    bodies: list[bytes] = []
    duplicates = 0
    parser = _Records(source=source, data=data, start=start, rows=of_table is not None)
    for number, (key, body) in enumerate(parser):
        bodies.append(body)
        sequence = body.rstrip(b"*").replace(b"*", b"X").decode("ascii")
        if not sequence:
            parser.refuse(number, "a sequence is empty", got=f"only stops for {key}")
        if key not in sequences:
            sequences[key], first_of[key] = sequence, number
        elif sequences[key] == sequence:
            duplicates += 1
            bodies.pop()
        else:
            parser.refuse(
                number,
                f"the key {key} has two sequences",
                got=f"lines {parser.line(first_of[key])} and {parser.line(number)} differ",
                expected="one sequence a key",
            )
    joined = b"\n".join(bodies)
    counts = {letter: joined.count(letter.encode()) for letter in NONSTANDARD}
    return SequenceTable(
        sequences=sequences,
        source=source,
        nonstandard={letter: count for letter, count in counts.items() if count},
        duplicates=duplicates,
    )


@dataclass(frozen=True, kw_only=True)
class _Records:
    """The records of a FASTA as (key, upper-case sequence), with their lines."""

    source: str
    data: bytes
    start: int
    rows: bool
    """Whether the records were rows of a table, which messages count without the blank ones."""

    @cached_property
    def _parts(self) -> list[bytes]:
        return self.data[self.start + 1 :].split(b"\n>")

    def line(self, number: int) -> int:
        """The line of record `number`'s header, or its row in a table, from 1."""
        if self.rows:
            return number + 1
        before = sum(part.count(b"\n") + 1 for part in self._parts[:number])
        return 1 + self.data.count(b"\n", 0, self.start) + before

    def refuse(self, number: int, what: str, *, got: object, expected: object = None) -> NoReturn:
        raise DataError(what, where=f"{self.source}, line {self.line(number)}", got=got, expected=expected)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for number, part in enumerate(self._parts):
            header, _, text = part.partition(b"\n")
            key = self._key(number, header)
            body = text.translate(None, _SPACE).upper()
            if not body:
                self.refuse(number, "a sequence is empty", got=f"no residue for {key}")
            if len(body) > MAX_RESIDUES:
                self.refuse(
                    number,
                    f"the sequence of {key} is too long to be a protein",
                    got=f"{len(body):,} letters",
                    expected=f"at most {MAX_RESIDUES:,}",
                )
            if body.translate(None, _LETTERS):
                self._refuse_letter(number, key, text)
            yield key, body

    def _key(self, number: int, header: bytes) -> str:
        raw = accession_of(header)
        if not raw:
            self.refuse(
                number,
                "a header has no accession",
                got=">" + header.decode("utf-8", "replace"),
                expected="`>` and an accession",
            )
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(number, "an accession is not UTF-8", got=raw, expected="text in UTF-8")

    def _refuse_letter(self, number: int, key: str, text: bytes) -> NoReturn:
        found = _NO_AMINO_ACID.search(text)
        assert found, "no bad letter found"
        at = found.start()
        line = self.line(number) + (0 if self.rows else 1 + text.count(b"\n", 0, at))
        column = at - text.rfind(b"\n", 0, at)
        raise DataError(
            f"the sequence of {key} has a letter that is not an amino acid",
            where=f"{self.source}, line {line}, column {column}",
            # latin-1 has a character for each byte.
            got=repr(found[0].decode("latin-1")),
            expected=f"one of {AMINO_ACIDS} {NONSTANDARD}, in either case",
        )


def _plain_lines(data: bytes, source: str) -> bytes:
    """The text without its byte order mark, and with the line ends of Unix."""
    data = data.removeprefix(BOM)
    if b"\0" in data:
        raise DataError("the file is not text", where=source, got="binary data", expected="a FASTA")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.strip():
        raise DataError("the FASTA is empty", where=source, expected="at least one sequence")
    return data


def _as_records(source: str, data: bytes) -> bytes | None:
    """A table of two columns, name and sequence, as FASTA records; None for any other text.

    Raises:
        DataError: a later row has another number of columns.
    """
    rows = [line.split(b"\t") for line in data.split(b"\n") if line.strip()]
    if any(len(row) != 2 for row in rows[:10]):
        return None
    body = rows[1:] if rows[0][1].strip().lower() in (b"sequence", b"seq") else rows
    if not body or body[0][1].strip().upper().translate(None, _LETTERS):
        return None
    for number, row in enumerate(body, start=1 + len(rows) - len(body)):
        if len(row) != 2:
            raise DataError(
                "a row of the table of sequences has the wrong number of columns",
                where=f"{source}, row {number}",
                got=len(row),
                expected="a name and a sequence, with a tab between",
            )
    return b"\n".join(b">" + b"\n".join(row) for row in body)


def _refuse_start(source: str, data: bytes, start: int) -> NoReturn:
    line = data[start:].split(b"\n", 1)[0][:40].decode("utf-8", "replace")
    number = 1 + data.count(b"\n", 0, start)
    raise DataError(
        "there is text before the first `>`: this is not a FASTA",
        where=f"{source}, line {number}",
        got=repr(line),
        expected="`>` and an accession",
    )


def joined_tables(tables: Sequence[SequenceTable]) -> SequenceTable:
    """The sequences of several files as one table.

    Raises:
        DataError: two files have different sequences of one accession.
    """
    first, *others = tables
    if not others:
        return first
    sequences: dict[str, str] = {}
    nonstandard: Counter[str] = Counter()
    for table in tables:
        for accession, sequence in table.sequences.items():
            if sequences.setdefault(accession, sequence) != sequence:
                raise DataError(
                    f"the key {accession} has two sequences",
                    where=" and ".join(table.source for table in tables),
                    got=f"another one in {table.source} than before",
                    expected="one sequence a key",
                )
        nonstandard.update(table.nonstandard)
    return SequenceTable(
        sequences=sequences,
        source=",".join(table.source for table in tables),
        nonstandard=dict(nonstandard),
        duplicates=sum(table.duplicates for table in tables),
    )


def write_fasta(path: Path, sequences: Mapping[str, str]) -> None:
    """Writes a FASTA, one line per sequence, completely or not at all."""
    write_file(path, "".join(f">{key}\n{sequence}\n" for key, sequence in sequences.items()).encode())


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
