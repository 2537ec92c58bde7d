"""Option groups of embeddings: the embedder, its training data and its caches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup
from ppi_train.config.options import AMP, AMP_HELP, ComputeOptions, TrainingOptions
from ppi_train.embeddings.embedders import EMBEDDERS

LM_HIDDEN_DIM = 384
LM_EPOCHS = 4
LM_RATE = 3e-3
# A name that fits into a tag, a file name and a command line.
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class CacheSourceOptions(OptionGroup):
    """Where embeddings come from, for a mode that cannot do without one of them."""

    SECTION: ClassVar[str] = "embedding"

    fasta: str | None = option(
        None, "Sequences of the proteins in your own pairs (FASTA, plain or gzip).", place="file"
    )
    embeddings: str | None = option(
        None, "Parquet embedding cache (file or folder); made from the FASTA if unset.", place="cache"
    )
    cache_memory_mb: int = option(
        1024,
        "MiB of memory that reading a residue cache may use, regardless of its size.",
        low=1,
        high=bounds.MEMORY_MB,
    )


@dataclass(frozen=True, kw_only=True)
class CacheOptions(CacheSourceOptions):
    missing: str = option(
        "error",
        "Pairs whose protein has no embedding: refuse before training starts, or drop and count them.",
        choices=("error", "drop"),
    )


@dataclass(frozen=True, kw_only=True)
class EmbedderOptions(OptionGroup):
    SECTION: ClassVar[str] = "embedding"
    embedder: str | None = option(
        None, "What turns a sequence into an embedding (default: descriptors).", choices=tuple(EMBEDDERS)
    )
    embedder_run_id: str | None = option(
        None, "protein_lm: the MLflow run of train_embedder that has its weights.", names_runs=True
    )
    embedder_model: str | None = option(
        None, "esm2: a size such as t33_650M (default: t30_150M), a Hugging Face ID, or a local folder."
    )
    embedder_precision: str = option(
        "auto",
        "Number format of the embedder's arithmetic; auto: bf16 for protein_lm if the device has it.",
        choices=("auto", "float32", "bf16", "fp16"),
    )
    granularity: str | None = option(
        None, "One vector per protein or per residue (default: protein).", choices=("protein", "residue")
    )
    max_length: int | None = option(
        None, "Residues of a protein that are embedded; unset: all.", low=1, high=bounds.RESIDUES
    )
    truncation: str | None = option(
        None,
        "What is kept of a protein over max_length: its head (default), both ends; or error: refuse it.",
        choices=("head", "head_tail", "error"),
    )
    embedding_dtype: str = option(
        "float32", "Number format in a newly made cache.", choices=("float16", "float32")
    )

    def validate(self) -> list[str]:
        if self.embedder == "protein_lm" and self.embedder_precision == "fp16":
            return ["embedder_precision: fp16 is for embedder=esm2; protein_lm has float32 and bf16"]
        return []

    def missing_weights(self) -> list[str]:
        """The problem that `protein_lm` is to embed sequences with the weights of no run."""
        if self.embedder == "protein_lm" and not self.embedder_run_id:
            return ["embedder_run_id: required with embedder=protein_lm; the ID of a run of train_embedder"]
        return []

    def unused_options(self, given: frozenset[str]) -> list[str]:
        owners = {
            "embedder_run_id": ["protein_lm"],
            "embedder_model": ["esm2"],
            "embedder_precision": ["esm2", "protein_lm"],
        }
        idle = [
            f"{name} has no effect: it is for {' and '.join(f'embedder={owner}' for owner in named)}"
            for name, named in owners.items()
            if name in given and self.embedder not in named
        ]
        if "truncation" in given and self.max_length is None:
            idle.append(f"truncation={self.truncation} has no effect: max_length is not given")
        return idle


@dataclass(frozen=True, kw_only=True)
class EmbedOutputOptions(OptionGroup):
    SECTION: ClassVar[str] = "embedding"

    fasta: str | None = option(None, "Sequences to embed; unset: those of the dataset.", place="file")
    output: str | None = option(None, "The cache to write (.parquet); unset: under data_dir.", place="output")
    overwrite: bool = option(False, "Replace an output that exists.")


@dataclass(frozen=True, kw_only=True)
class ImportOptions(OptionGroup):
    SECTION: ClassVar[str] = "embedding"

    source: str | None = option(
        None,
        "HDF5 file, NumPy archive (.npz), or folder of .npy or .pt files: one array per protein.",
        place="file",
    )
    fasta: str | None = option(
        None, "The sequences that the embeddings were made from, by the same names.", place="file"
    )
    output: str | None = option(None, "The cache to write (.parquet).", place="output")
    overwrite: bool = option(False, "Replace an output that exists.")
    embedder_name: str | None = option(
        None, "What made the embeddings, such as esm2_t33; caches with the same name count as compatible."
    )
    granularity: str = option(
        "auto",
        "One vector per protein or per residue; auto: residue where an array has several rows.",
        choices=("auto", "protein", "residue"),
    )
    layer: int | None = option(
        None, "Layer to take from the .pt files of ESM; unset: the last.", low=0, high=bounds.SOURCE_LAYER
    )
    max_length: int | None = option(
        None, "Residues that the source cut its proteins to; unset: it has all.", low=1, high=bounds.RESIDUES
    )
    truncation: str | None = option(
        None,
        "What the source kept of a protein over max_length: its head (default), both ends; error: none.",
        choices=("head", "head_tail", "error"),
    )
    embedding_dtype: str = option("float32", "Number format in the cache.", choices=("float16", "float32"))
    missing: str = option(
        "error",
        "Proteins of the FASTA that the source lacks: refuse, or leave them out and count them.",
        choices=("error", "drop"),
    )

    def validate(self) -> list[str]:
        needed = {
            "source": "the embeddings to import",
            "fasta": "the sequences that the embeddings were made from",
            "output": "the cache to write, a name that ends in .parquet",
            "embedder_name": "a name for what made the embeddings, such as esm2_t33",
        }
        found = [f"{name}: required; {what}" for name, what in needed.items() if not getattr(self, name)]
        if self.embedder_name in EMBEDDERS:
            found.append(
                f"embedder_name: {self.embedder_name} is an embedder of this project; give another name"
            )
        elif self.embedder_name and not _LABEL.fullmatch(self.embedder_name):
            found.append(
                "embedder_name: expected letters, digits and . _ + -, at most 100 of them; "
                f"got {self.embedder_name!r}"
            )
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "truncation" in given and self.max_length is None:
            return [f"truncation={self.truncation} has no effect: max_length is not given"]
        return []


@dataclass(frozen=True, kw_only=True)
class ExcludeOptions(OptionGroup):
    SECTION: ClassVar[str] = "embedder"

    exclude_fasta: str | None = option(
        None,
        "Sequences kept out of the language model's text, besides the test proteins of the dataset.",
        place="file",
    )
    exclude_pairs: str | None = option(
        None,
        "Pairs whose proteins are kept out of that text, by their sequence there or in exclude_fasta.",
        place="file",
    )


@dataclass(frozen=True, kw_only=True)
class LanguageTextOptions(OptionGroup):
    SECTION: ClassVar[str] = "embedder"

    fasta: str | None = option(None, "Sequences to learn from; unset: those of the dataset.", place="file")


@dataclass(frozen=True, kw_only=True)
class FurtherTextOptions(OptionGroup):
    """Other proteomes that a language model learns from, under one name in the full pipeline too."""

    SECTION: ClassVar[str] = "embedder"

    text_fasta: tuple[str, ...] | None = option(
        None,
        "Further FASTAs, such as proteomes of other species, with commas between: the language model learns "
        "from their sequences too.",
        place="file",
    )


@dataclass(frozen=True, kw_only=True)
class LanguageModelOptions(OptionGroup):
    SECTION: ClassVar[str] = "model"

    hidden_dim: int = option(
        LM_HIDDEN_DIM, "Width of the recurrent layers.", low=1, high=bounds.WIDTH, aliases=("lm_hidden_dim",)
    )
    num_layers: int = option(1, "Recurrent layers.", low=1, high=bounds.LAYERS)
    window: int = option(256, "Residues that are read in one go.", low=16, high=bounds.RESIDUES)


@dataclass(frozen=True, kw_only=True)
class LanguageTrainingOptions(TrainingOptions):
    """The training loop of a language model, with defaults of its own."""

    batch_size: int = option(
        64, "Windows per optimiser step and accumulation step.", low=1, high=bounds.BATCH_SIZE
    )
    epochs: int = option(
        LM_EPOCHS, "Passes over the sequences.", low=1, high=bounds.EPOCHS, aliases=("lm_epochs",)
    )
    learning_rate: float = option(
        LM_RATE,
        "Peak learning rate of AdamW.",
        above=0,
        high=bounds.LEARNING_RATE,
        aliases=("lm_learning_rate",),
    )
    adam_beta2: float = option(
        0.98, "How long AdamW remembers squared gradients: nearly 1 is long.", low=0, below=1
    )
    early_stopping_metric: str = option(
        "val/loss", "Validation metric that picks the best weights.", choices=("val/loss",)
    )
    early_stopping_patience: int = option(
        0, "Fifths of a pass without improvement before stopping; 0: never.", low=0, high=bounds.PATIENCE
    )


@dataclass(frozen=True, kw_only=True)
class LanguageComputeOptions(ComputeOptions):
    """Device and precision of a language model, under the names of the full pipeline too."""

    amp: str = option("auto", AMP_HELP, choices=AMP, aliases=("lm_amp",))
