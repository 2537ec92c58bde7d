"""The recipe of an embedding cache: its metadata and columns.

docs/reference/caches.md describes both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ppi_train.errors import CacheError

METADATA_KEY = b"ppi_train.embedding_cache"
# This key in a file says that its writer found every number finite; the checksums say that the numbers
# have not changed since.
FINITE_KEY = b"ppi_train.all_finite"
# The digest of the numbers, written last; see `digest_of_numbers`.
CONTENT_KEY = b"ppi_train.content_digest"
SCHEMA_VERSION = 1
GRANULARITIES = ("protein", "residue")
DTYPES = ("float16", "float32")
# Bounds on numbers in an embedding, on `max_length`, and on nested levels of an embedder's description.
MAX_DIMENSION = 1_000_000
MAX_LENGTH = 2**31 - 1
MAX_LEVELS = 20


@dataclass(frozen=True, kw_only=True)
class CacheSpec:
    """How a cache was made.

    This is enough to refuse a cache that does not fit. `embedder` has the embedder's name, parameters and
    digest; `max_length` is in residues, None for no limit; `fasta_digest` is the digest of the sequences
    that were embedded. `content_digest` is the sha256 of the numbers themselves if they were imported,
    since there is then no embedder that could compute them again; None in a cache made by an embedder of
    this project.
    """

    embedder: dict[str, object]
    dimension: int
    granularity: str
    dtype: str
    max_length: int | None
    truncation: str
    fasta_digest: str
    schema_version: int = SCHEMA_VERSION
    content_digest: str | None = None

    def to_json(self) -> str:
        fields = dataclasses.asdict(self)
        if self.content_digest is None:
            del fields["content_digest"]
        return json.dumps(fields, sort_keys=True)

    @property
    def values(self) -> np.dtype[np.floating]:
        """The numbers as they lie in the file, little-endian on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")

    def kept_residues(self, lengths: np.ndarray) -> np.ndarray:
        """The number of residue states of each protein, int64.

        Args:
            lengths: Residues of the full sequences.
        """
        kept = lengths.astype(np.int64)
        return kept if self.max_length is None else np.minimum(kept, self.max_length)

    @property
    def digest(self) -> str:
        """sha256 of all fields; caches with equal digests were made in the same way."""
        fields = dataclasses.asdict(self) | {"embedder": same_wherever_it_lies(self.embedder)}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def embedder_run_id(self) -> str:
        """The run that trained the embedder; "" if there is none."""
        parameters = self.embedder.get("parameters")
        return str(parameters.get("run_id", "")) if isinstance(parameters, dict) else ""

    @property
    def precision(self) -> str:
        """The number format of the embedder's arithmetic."""
        parameters = self.embedder.get("parameters")
        return str(parameters.get("precision", "float32")) if isinstance(parameters, dict) else "float32"

    def recipe(self) -> dict[str, object]:
        """The fields that caches must share to be used together.

        These are all except the sequences and the number format. The digest of imported numbers is left
        out too: a model that was trained on one import must score the proteins of another.
        """
        fields = dataclasses.asdict(self)
        del fields["fasta_digest"], fields["dtype"], fields["content_digest"]
        return fields


def same_wherever_it_lies(embedder: Any) -> Any:
    """An embedder's description without the location of its weights.

    The content of the weights is in its digest.
    """
    parameters = embedder.get("parameters") if isinstance(embedder, dict) else None
    if not isinstance(parameters, dict):
        return embedder
    return embedder | {"parameters": {name: value for name, value in parameters.items() if name != "model"}}


def cache_schema(spec: CacheSpec) -> pa.Schema:
    """The columns of a cache.

    The vector of a protein is a list of fixed size. The states of its residues are raw bytes, since a
    list of varying length costs two levels per number to store and has to be decoded when read.
    """
    if spec.granularity == "protein":
        value = {"float16": pa.float16(), "float32": pa.float32()}[spec.dtype]
        embedding = [("embedding", pa.list_(pa.field("item", value, nullable=False), spec.dimension))]
    else:
        embedding = [("crc32", pa.uint32()), ("embedding", pa.binary())]
    columns = [("protein_id", pa.string()), ("sequence_digest", pa.string()), ("length", pa.int32())]
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in (*columns, *embedding)],
        metadata={METADATA_KEY: spec.to_json().encode()},
    )


def digest_of_numbers(proteins: Iterable[tuple[str, str, int]]) -> str:
    """sha256 of the embeddings of proteins, in whatever order they are stored.

    Args:
        proteins: The accession of each, the digest of its sequence, and the CRC-32 of its embedding's bytes.
    """
    hasher = hashlib.sha256()
    for accession, sequence, checksum in sorted(proteins):
        hasher.update(f"{accession}\t{sequence}\t{checksum:08x}\n".encode())
    return hasher.hexdigest()


def all_finite(values: np.ndarray) -> bool:
    """Whether an array has no NaN and no infinity.

    This runs at the speed of memory. NaN and infinity are the numbers whose exponent bits are all set: the
    largest of the positive numbers as signed integers, and of the negative ones as unsigned integers.

    Args:
        values: float16 or float32, any shape, not empty.
    """
    bits = values.dtype.itemsize * 8
    infinity = {16: 0x7C00, 32: 0x7F80_0000}[bits]
    signed, unsigned = (values.view(values.dtype.str.replace("f", kind)) for kind in "iu")
    return bool(signed.max() < infinity and unsigned.max() < infinity + (1 << (bits - 1)))


def spec_from_json(text: bytes, *, where: object) -> CacheSpec:
    """Reads a cache's metadata.

    Raises:
        CacheError: the cache is of a newer version, or this is not the metadata of a cache.
    """
    try:
        fields = json.loads(text)
        version = fields["schema_version"]
        if version > SCHEMA_VERSION:
            raise CacheError(
                "the embedding cache was made by a newer version of ppi_train",
                where=where,
                got=f"schema_version {version}",
                expected=f"at most {SCHEMA_VERSION}",
                remedy="update ppi_train, or make the cache again with this version",
            )
        return _checked(CacheSpec(**fields))
    except CacheError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CacheError("the embedding cache's metadata is not valid", where=where, got=error) from None


def _checked(spec: CacheSpec) -> CacheSpec:
    limit = 1 if spec.max_length is None else spec.max_length
    numbers = (spec.dimension, MAX_DIMENSION), (limit, MAX_LENGTH)
    if not all(type(number) is int and 1 <= number <= most for number, most in numbers):
        raise ValueError(f"dimension={spec.dimension!r}, max_length={spec.max_length!r}")
    if spec.granularity not in GRANULARITIES or spec.dtype not in DTYPES:
        raise ValueError(f"granularity={spec.granularity!r}, dtype={spec.dtype!r}")
    if not isinstance(spec.content_digest, str | None):
        raise ValueError(f"content_digest={spec.content_digest!r}")
    if not all(isinstance(text, str) for text in (spec.truncation, spec.fasta_digest)):
        raise ValueError(f"truncation={spec.truncation!r}, fasta_digest={spec.fasta_digest!r}")
    _check_depth(spec.embedder)
    return spec


def _check_depth(value: object, levels: int = MAX_LEVELS) -> None:
    """Refuses values nested deeper than the parameters of any embedder.

    They could exceed Python's recursion limit later.
    """
    if not levels:
        raise ValueError(f"an embedder with values nested deeper than {MAX_LEVELS} levels")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        _check_depth(item, levels - 1)


def check_recipe(found: CacheSpec, wanted: dict[str, object], *, where: object) -> None:
    """Refuses a cache without the recipe that a model or config needs.

    Args:
        found: The cache.
        wanted: The required fields of the recipe; others may differ.
        where: Names the cache in messages.

    Raises:
        CacheError: with every difference and both values.
    """
    recipe = found.recipe()
    differences = sorted(
        name
        for name, value in wanted.items()
        if same_wherever_it_lies(recipe[name]) != same_wherever_it_lies(value)
    )
    if differences:
        raise CacheError(
            f"the embedding cache has another {' and '.join(differences)} than asked for",
            where=where,
            got=", ".join(_shown(name, recipe[name], wanted[name]) for name in differences),
            expected=", ".join(_shown(name, wanted[name], recipe[name]) for name in differences),
            remedy="embed the sequences again with these settings, or name the cache that was made with them",
        )


def _shown(name: str, value: object, other: object) -> str:
    """A field of a recipe, with the precision of an embedder that differs from the other one in that."""
    precision = _precision(value)
    differs = precision and _precision(other) not in (precision, "")
    return f"{name}={_short(value)}" + (f", embedder_precision={precision}" if differs else "")


def _precision(value: object) -> str:
    """The precision of an embedder, which a recipe leaves out where it is float32; empty for other fields."""
    parameters = value.get("parameters") if isinstance(value, dict) else None
    return str(parameters.get("precision", "float32")) if isinstance(parameters, dict) else ""


def _short(value: object) -> object:
    if isinstance(value, dict) and "name" in value:
        parameters = value.get("parameters")
        trained = parameters.get("run_id") if isinstance(parameters, dict) else None
        origin = f" of run {trained}" if trained else f"@{str(value.get('digest', ''))[:12]}"
        return f"{value['name']}{origin}"
    return "unlimited" if value is None else value
