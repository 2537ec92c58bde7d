"""How the types of published models differ: their tokens, window and layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppi_train.errors import ConfigError

# ESM-2 learned from 1024 tokens, two of them special; T5 has no limit, but its memory grows with the square.
WINDOW = 1022
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class Family:
    """How models of one type are loaded and called.

    Attributes:
        model_class: Class in `transformers`.
        width: Name of the dimension in `config.json`.
        first, last: Tokens before and after the residues.
        positions: Positions that the model counts without a residue, its special tokens included; None
            where it has no limit of positions.
        as_x: Letters that the model does not know, replaced by X.
        kept: Layers that `transformers` keeps in float32 where others are in float16, whose range their
            numbers exceed.
        unused: Parts of `model_class` that do not affect the states; a checkpoint may lack them.
    """

    model_class: str
    width: str
    first: tuple[str, ...]
    last: tuple[str, ...]
    positions: int | None
    as_x: str
    options: dict[str, Any]
    unused: tuple[str, ...]
    kept: tuple[str, ...] = ()


FAMILIES = {
    "esm": Family(
        model_class="EsmModel", width="hidden_size", first=("<cls>",), last=("<eos>",), positions=4, as_x="J",
        options={"add_pooling_layer": False}, unused=("contact_head.", "position_ids", "inv_freq"),
    ),
    "t5": Family(
        model_class="T5EncoderModel", width="d_model", first=(), last=("</s>",), positions=None,
        as_x="UZOBJ", options={}, unused=(), kept=("wo",),
    ),
    "esmc": Family(
        model_class="EsmcModel", width="hidden_size", first=("<cls>",), last=("<eos>",), positions=2,
        as_x="J", options={}, unused=("inv_freq",),
    ),
}  # fmt: skip
# ProstT5 is a T5 that was trained to translate: this token before a sequence says that it is one of amino
# acids, not of structure states.
TO_STRUCTURE = "<AA2fold>"


def family_of(config: dict[str, Any], folder: Path) -> Family:
    family = FAMILIES.get(config["model_type"])
    if family is None:
        raise ConfigError(
            "the model is of a type that this embedder does not know",
            where=folder,
            got=f"model_type={config['model_type']}",
            expected=" or ".join(f"{name} ({known.model_class})" for name, known in FAMILIES.items()),
        )
    absent = [name for name in (family.width, "vocab_size") if not isinstance(config.get(name), int)]
    if absent:
        raise ConfigError(
            "the model's config is incomplete", where=folder / "config.json", got=f"no {', '.join(absent)}"
        )
    return family


def window_of(config: dict[str, Any], family: Family) -> int:
    """The model's maximum window, in residues."""
    positions = config.get("max_position_embeddings")
    if family.positions is not None and isinstance(positions, int):
        return max(positions - family.positions, 1)
    return WINDOW


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token numbers of a model's vocabulary.

    `of_letter` (256,) is indexed by the letter's code; `first` and `last` surround the residues; `pad` is
    padding.
    """

    of_letter: np.ndarray
    first: list[int]
    last: list[int]
    pad: int


def tokens_of(vocabulary: Mapping[str, int], folder: Path, family: Family, *, vocabulary_size: int) -> Tokens:
    """Chooses one token per residue from the model's vocabulary.

    A tokenizer's rules for words are ignored.

    Raises:
        ConfigError: a token is not in the vocabulary, or has a number that the model lacks.
    """

    def number(token: str) -> int:
        # SentencePiece marks the start of a word; with spaces between residues, each residue is a word.
        found = vocabulary.get(f"▁{token}", vocabulary.get(token))
        if found is None or found >= vocabulary_size:
            raise ConfigError(
                "the model's vocabulary does not fit a protein language model",
                where=folder,
                got=f"no token {token}" if found is None else f"{token} has number {found}",
                expected=f"one token for each amino acid, numbered below {vocabulary_size}",
            )
        return found

    of_letter = np.full(256, number("X"), dtype=np.int64)
    for letter in set(_LETTERS) - set(family.as_x):
        of_letter[ord(letter)] = number(letter)
    before = (*family.first, *([TO_STRUCTURE] if TO_STRUCTURE in vocabulary else []))
    first, last = ([number(token) for token in special] for special in (before, family.last))
    return Tokens(of_letter=of_letter, first=first, last=last, pad=number("<pad>"))
