"""Import of embeddings made by other programs into a cache.

They are matched with a FASTA, checked and written. The source is read twice, one protein at a time: once
to check everything and to compute the digest of the numbers, which the metadata at the start of the cache
needs, and once to write them. All problems are reported together.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import SequenceTable, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.import_matching import match_proteins
from ppi_train.embeddings.import_sources.base import EmbeddingSource
from ppi_train.errors import DataError, counted, first_ten
from ppi_train.io.unavailable import UnavailableError

logger = logging.getLogger(__name__)

# Tokens that a language model adds to a sequence: <cls> and <eos>, or only the last (ProtT5 and Ankh).
_TOKENS = {2: "the first and the last row", 1: "the row of the special token"}

Advance = Callable[[int], object]
ReadAhead = Callable[[EmbeddingSource, list[str]], EmbeddingSource]


@dataclass(frozen=True, kw_only=True)
class ImportRules:
    """The user's description of the embeddings.

    `max_length` is the number of residues to which the source cut its proteins, None if it did not;
    `missing` is `error` or `drop`, for proteins of the FASTA that the source lacks.
    """

    embedder_name: str
    granularity: str = "auto"
    dtype: str = "float32"
    max_length: int | None = None
    truncation: str = "head"
    missing: str = "error"


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A source that was read completely and has no problems.

    `places` maps the sorted accessions to the places of their embeddings; `missing` are the accessions of
    the FASTA that the source lacks, `extra` the places whose protein the FASTA lacks.
    """

    source: EmbeddingSource
    sequences: Mapping[str, str]
    places: Mapping[str, str]
    missing: list[str]
    extra: list[str]
    spec: CacheSpec


def survey(
    source: EmbeddingSource,
    table: SequenceTable,
    rules: ImportRules,
    advance: Advance = lambda _: None,
    read_ahead: ReadAhead = lambda source, _: source,
) -> Survey:
    """Matches a source with a FASTA and checks all matched embeddings.

    Args:
        source: The embeddings.
        table: The sequences that they were made from.
        rules: The user's description of the embeddings.
        advance: Called with 1 for each protein that was read.
        read_ahead: Called with the source and the places that will be read; gives what is read in its place.

    Raises:
        DataError: with all problems by kind, each with its count and its first ten proteins.
        UnavailableError: the source could not be read; its bytes may be right.
    """
    places, extra = match_proteins(source, table)
    missing = sorted(table.sequences.keys() - places.keys())
    _settle_missing(source, table, missing, rules.missing)
    if extra:
        logger.warning(
            "%s of %s embeddings belong to no protein of the FASTA and are left out: %s",
            f"{len(extra):,}", f"{len(source.labels):,}", first_ten(extra),
        )  # fmt: skip
    source = read_ahead(source, sorted(set(places.values())))
    scan = _Scan(rules.dtype)
    for accession, place in places.items():
        scan.read(source, accession, place)
        advance(1)
    scan.log_dropped_axes()
    sequences = {accession: table.sequences[accession] for accession in places}
    granularity = _check_shapes(scan, sequences, rules)
    scan.problems.refuse(source.path, len(places))
    return Survey(
        source=source,
        sequences=sequences,
        places=places,
        missing=missing,
        extra=extra,
        spec=CacheSpec(
            embedder=describe_imported(rules.embedder_name, source.layer),
            dimension=next(iter(scan.shapes.values()))[-1],
            granularity=granularity,
            dtype=rules.dtype,
            max_length=rules.max_length,
            truncation=rules.truncation,
            fasta_digest=replace(table, sequences=sequences).digest,
            content_digest=scan.content.hexdigest(),
        ),
    )


def describe_imported(name: str, layer: int | None) -> dict[str, object]:
    """The description of an embedder that is known only by name.

    The digest covers the name and the layer, not the numbers: embeddings of other proteins by the same
    embedder, imported later, must fit a model that was trained on these.
    """
    parameters = {"imported": True, "layer": layer}
    digest = hashlib.sha256(json.dumps([name, parameters], sort_keys=True).encode()).hexdigest()
    return {"name": name, "parameters": parameters, "digest": digest}


def write_import(found: Survey, path: Path, advance: Advance = lambda _: None) -> None:
    """Writes the cache, sorted by accession.

    The file appears complete or not at all.

    Raises:
        DataError: the source has changed since the survey.
        UnavailableError: the source could not be read.
    """
    again = _Scan(found.spec.dtype)
    with CacheWriter(path, found.spec) as writer:
        for accession, place in found.places.items():
            stored = again.read(found.source, accession, place)
            if stored is None or again.problems:
                break
            vector = stored.reshape(-1) if found.spec.granularity == "protein" else stored
            sequence = found.sequences[accession]
            writer.add(accession, sequence_digest(sequence), len(sequence), vector)
            advance(1)
        if again.problems or again.content.hexdigest() != found.spec.content_digest:
            raise DataError(
                "the source of the embeddings was changed while it was read",
                where=found.source.path.absolute(),
                remedy="import it again when no program writes there any more",
            )


def _settle_missing(source: EmbeddingSource, table: SequenceTable, missing: list[str], choice: str) -> None:
    if not missing:
        return
    counts = f"{len(missing):,} of {len(table.sequences):,} proteins of the FASTA have no embedding"
    if choice == "error":
        raise DataError(
            counts,
            where=source.path.absolute(),
            got=first_ten(missing),
            expected=f"one for every sequence of {table.source}",
            remedy="embed them too, or give missing=drop to make a cache without them",
        )
    logger.warning("%s and are left out: %s", counts, first_ten(missing))


@dataclass
class _Problems:
    """The problems of the embeddings by kind, with counts and examples."""

    kinds: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def add(self, kind: str, example: str) -> None:
        count, examples = self.kinds.get(kind, (0, []))
        # One more example than is shown, so that the message can say that there are more.
        self.kinds[kind] = count + 1, (examples if len(examples) > 10 else [*examples, example])

    def refuse(self, path: Path, proteins: int) -> None:
        if not self.kinds:
            return
        lines = [
            f"  - {kind}: {count:,}: {first_ten(examples)}" for kind, (count, examples) in self.kinds.items()
        ]
        raise DataError(
            f"the embeddings of {counted(proteins, 'protein')} cannot be imported:\n" + "\n".join(lines),
            where=path.absolute(),
        )


class _Scan:
    """Reads embeddings in turn and collects shapes, digest and problems.

    The digest covers accession, width and the numbers as they are stored, so that it does not depend on
    the kind of source.
    """

    def __init__(self, dtype: str) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self.content = hashlib.sha256()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.problems = _Problems()
        self._dropped_axes = 0

    def log_dropped_axes(self) -> None:
        if self._dropped_axes:
            logger.info(
                "%s embeddings of shape (1, L, d) are taken as (L, d): the first axis has one protein",
                f"{self._dropped_axes:,}",
            )

    def read(self, source: EmbeddingSource, accession: str, place: str) -> np.ndarray | None:
        """The embedding (d,) or (L, d) in the cache's number format.

        None if it cannot be an embedding.
        """
        try:
            array = source.read(place)
        except UnavailableError:
            raise
        except DataError as error:
            self.problems.add(error.what, f"{place} ({error.got})" if error.got else place)
            return None
        if array.ndim == 3 and array.shape[0] == 1:  # a batch of one protein, as D-SCRIPT writes it
            array = array[0]
            self._dropped_axes += 1
        if array.ndim not in (1, 2) or not array.size:
            kind = "empty" if not array.size else "neither a vector nor one row per residue"
            self.problems.add(kind, f"{place} (shape {array.shape})")
            return None
        with np.errstate(over="ignore"):  # numbers too large for the format become infinite: refused below
            stored = np.ascontiguousarray(array, dtype=self._dtype)
        if not np.isfinite(stored).all():
            self.problems.add(self._why_not_finite(array), place)
        self.content.update(f"{accession}\t{stored.shape[-1]}\t{stored.size}\n".encode())
        self.content.update(stored.data)
        self.shapes[accession] = stored.shape
        return stored

    def _why_not_finite(self, array: np.ndarray) -> str:
        if np.isfinite(array).all():
            return f"beyond the range of embedding_dtype={self._dtype.name}"
        return "not finite: NaN or infinite"


def _check_shapes(scan: _Scan, sequences: Mapping[str, str], rules: ImportRules) -> str:
    """The granularity of the embeddings.

    Shapes that do not fit it or the sequences are added to the problems.
    """
    shapes = scan.shapes
    _check_dimensions(scan)
    granularity = rules.granularity
    if granularity == "auto":
        rows = any(len(shape) == 2 and shape[0] > 1 for shape in shapes.values())
        granularity = "residue" if rows else "protein"
    for accession, shape in shapes.items():
        example = f"{accession} (shape {shape}, {len(sequences[accession]):,} residues)"
        if granularity == "protein":
            problem = _more_than_a_vector(shape)
        else:
            problem = _wrong_rows(shape, len(sequences[accession]), rules.max_length)
        if problem:
            scan.problems.add(problem, example)
        if rules.truncation == "error" and len(sequences[accession]) > (rules.max_length or np.inf):
            scan.problems.add(f"longer than max_length={rules.max_length}, and truncation=error", example)
    return granularity


def _check_dimensions(scan: _Scan) -> None:
    """Adds to the problems all embeddings without the most common width."""
    ((common, _),) = Counter(shape[-1] for shape in scan.shapes.values()).most_common(1) or [(0, 0)]
    for accession, shape in scan.shapes.items():
        if shape[-1] != common:
            scan.problems.add(f"not {common} numbers wide, as most are", f"{accession} (shape {shape})")


def _more_than_a_vector(shape: tuple[int, ...]) -> str | None:
    if len(shape) == 1 or shape[0] == 1:
        return None
    return "several rows, and granularity=protein (to import residues: granularity=residue)"


def _wrong_rows(shape: tuple[int, ...], length: int, max_length: int | None) -> str | None:
    """The problem with a protein's rows; None if there is none."""
    if len(shape) == 1:
        return "one vector, where others have rows or granularity=residue was given"
    rows, width = shape
    expected = min(length, max_length or length)
    surplus = rows - expected
    if not surplus:
        return None
    if rows == length:
        return f"not cut to max_length={max_length} (leave max_length unset if the source was not cut)"
    if surplus in _TOKENS:
        return (
            f"{surplus} more rows than residues: special tokens were left in (leave out {_TOKENS[surplus]})"
        )
    if width == expected:
        return "rows and columns exchanged (transpose them)"
    if surplus < 0:
        return "fewer rows than residues (give max_length if the source was cut to it)"
    return "more rows than residues"
