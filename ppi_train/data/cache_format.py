"""What an embedding cache says of itself: the JSON under one key of the Parquet file's metadata."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from ppi_train.errors import CacheError

METADATA_KEY = b"ppi_train.embedding_cache"
SCHEMA_VERSION = 1
GRANULARITIES = ("protein", "residue")
DTYPES = ("float16", "float32")


@dataclass(frozen=True, kw_only=True)
class CacheSpec:
    """How a cache was made, enough to refuse it where it does not fit.

    `embedder` holds the embedder's name, parameters and digest; `max_length` is in residues, None
    for no limit; `fasta_digest` is the digest of the sequences that were embedded.
    """

    embedder: dict[str, object]
    dimension: int
    granularity: str
    dtype: str
    max_length: int | None
    truncation: str
    fasta_digest: str
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """sha256 of all of the above: two caches with equal digests hold the same numbers."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def embedder_run_id(self) -> str:
        """The run that trained the embedder; "" for one that was not trained here."""
        parameters = self.embedder.get("parameters")
        return str(parameters.get("run_id", "")) if isinstance(parameters, dict) else ""

    def recipe(self) -> dict[str, object]:
        """All but the sequences: what caches must share to be read as one, or by one model."""
        fields = dataclasses.asdict(self)
        del fields["fasta_digest"], fields["dtype"]
        return fields


def spec_from_json(text: bytes, *, where: object) -> CacheSpec:
    """Reads a cache's metadata.

    Raises:
        CacheError: made by a newer version, or not the metadata of a cache.
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
    if type(spec.dimension) is not int or type(limit) is not int or spec.dimension < 1 or limit < 1:
        raise ValueError(f"dimension={spec.dimension!r}, max_length={spec.max_length!r}")
    if spec.granularity not in GRANULARITIES or spec.dtype not in DTYPES:
        raise ValueError(f"granularity={spec.granularity!r}, dtype={spec.dtype!r}")
    return spec


def check_recipe(found: CacheSpec, wanted: dict[str, object], *, where: object) -> None:
    """Compares a cache with what a model or a config wants of it; `wanted` names part of the recipe.

    Raises:
        CacheError: every difference, with both values.
    """
    recipe = found.recipe()
    differences = sorted(name for name, value in wanted.items() if recipe[name] != value)
    if differences:
        raise CacheError(
            f"the embedding cache has another {' and '.join(differences)} than asked for",
            where=where,
            got=", ".join(f"{name}={_short(recipe[name])}" for name in differences),
            expected=", ".join(f"{name}={_short(wanted[name])}" for name in differences),
            remedy="embed the sequences again with these settings, or name the cache that was made with them",
        )


def _short(value: object) -> object:
    if isinstance(value, dict) and "name" in value:
        parameters = value.get("parameters")
        trained = parameters.get("run_id") if isinstance(parameters, dict) else None
        origin = f" of run {trained}" if trained else f"@{str(value.get('digest', ''))[:12]}"
        return f"{value['name']}{origin}"
    return "unlimited" if value is None else value
