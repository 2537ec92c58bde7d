"""The embedder `esm2`: residue states of a published protein language model.

ESM-2 (Lin et al. 2023, Science 379:1123) and any other encoder of the type `esm`; those of the types `t5`
(ProtT5, ProstT5, Ankh) and `esmc` (ESM-C) as well. The last layer, without special tokens; per protein
their mean.

Shapes: n windows, t tokens, l residues, d dimension.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from ppi_train.embeddings.embedders.base import EmbedderRequest, Window, batches_by_length, windows_of
from ppi_train.embeddings.embedders.families import (
    TO_STRUCTURE,
    Family,
    Tokens,
    family_of,
    tokens_of,
    window_of,
)
from ppi_train.embeddings.embedders.hub import (
    identity_of,
    located,
    model_folder,
    read_config,
    weight_files,
    weights_digest,
)
from ppi_train.errors import ConfigError, DeviceError, first_line
from ppi_train.io.unavailable import described_by_cause, unavailable_error
from ppi_train.models.device import check_bf16

DEFAULT_MODEL = "t30_150M"
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Padding included. On a CPU more is slower, since activations no longer fit its cache; rates are in
# docs/how-to/embedders.md.
RESIDUES_PER_BATCH = {"cpu": 1024, "cuda": 16384}
_T5_SENTINELS = 100  # numbered after the pieces, and named in no file


class Esm2:
    """The embedder `esm2`.

    The weights are loaded when the first sequence is embedded, not before.

    Raises:
        ConfigError: `transformers` is not installed, or the model is missing, incomplete, or of
            another type.
        DeviceError: bf16 on a GPU that does not support it.
    """

    name = "esm2"

    def __init__(
        self, model: str, *, granularity: str = "protein", precision: str = "float32",
        device: torch.device | None = None,
    ) -> None:  # fmt: skip
        _require_transformers()
        self.granularity = granularity
        self._model, self._precision, self._device = located(model), precision, device or torch.device("cpu")
        if precision == "bf16":
            check_bf16(
                self._device,
                got="embedder_precision=bf16",
                remedy="give embedder_precision=fp16 or float32",
            )
        self._folder = model_folder(self._model)
        self._config = read_config(self._folder)
        self._family = family_of(self._config, self._folder)
        weight_files(self._folder)
        self.dimension = int(self._config[self._family.width])
        self._window = window_of(self._config, self._family)
        self._overlap = (self._window + 2) // 4

    @classmethod
    def from_request(cls, request: EmbedderRequest) -> Esm2:
        return cls(
            request.model or DEFAULT_MODEL,
            granularity=request.granularity or "protein",
            precision=request.precision,
            device=request.device,
        )

    def parameters(self) -> dict[str, object]:
        """The settings that determine the embeddings.

        `model` says where the weights were found; `window` and `overlap` are in residues.
        """
        return {
            "model": self._model,
            "precision": self._precision,
            "layer": "last",
            "window": self._window,
            "overlap": self._overlap,
        }

    def digest(self) -> str:
        """sha256 over settings, config, vocabulary and weights.

        It does not depend on the location of the model's folder.
        """
        settings = {name: value for name, value in self.parameters().items() if name != "model"}
        if self._kept:
            settings["kept in float32"] = self._kept
        text = json.dumps(
            {
                "name": self.name,
                "config": identity_of(self._config),
                "tokens": [self._tokens.of_letter.tolist(), self._tokens.first, self._tokens.last],
                "weights": weights_digest(self._folder),
                **settings,
            },
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """Mean states (d,) or all residue states (l, d) of each sequence.

        They are float32.

        The embedding of a sequence does not depend on the other sequences, to rounding.

        Raises:
            DeviceError: the numbers of the model exceed the range of the precision.
        """
        windows = [
            window
            for number, sequence in enumerate(sequences)
            for window in windows_of(number, len(sequence), size=self._window, overlap=self._overlap)
        ]
        shapes = [(len(sequence), self.dimension) if self.granularity == "residue" else self.dimension
                  for sequence in sequences]  # fmt: skip
        found = [np.zeros(shape, dtype=np.float32) for shape in shapes]
        for batch in batches_by_length(windows, residues=RESIDUES_PER_BATCH[self._device.type]):
            states_nld = self._states(
                [sequences[window.sequence][window.start : window.end] for window in batch]
            )
            if self.granularity == "residue":
                _put_states(found, batch, states_nld)
            else:
                _add_sums(found, batch, states_nld)
        if self.granularity == "protein":
            found = [
                total / np.float32(len(sequence)) for total, sequence in zip(found, sequences, strict=True)
            ]
        if self._precision != "float32":
            self._refuse_overflow(found)
        return found

    def _refuse_overflow(self, found: list[np.ndarray]) -> None:
        wrong = sum(not np.isfinite(array).all() for array in found)
        if wrong:
            others = [name for name in ("bf16", "float32") if name != self._precision]
            raise DeviceError(
                "the embeddings are not finite: the model's numbers exceed the range of the precision",
                where=self._model,
                got=f"{wrong:,} of {len(found):,} proteins with embedder_precision={self._precision}",
                remedy=f"give embedder_precision={' or '.join(others)}",
            )

    def _states(self, texts: Sequence[str]) -> torch.Tensor:
        """States (n, l, d) float32 on the device.

        Values past the end of a text are meaningless.
        """
        tokens = self._tokens
        before, after = len(tokens.first), len(tokens.last)
        longest = max(map(len, texts))
        ids_nt = np.full((len(texts), before + longest + after), tokens.pad, dtype=np.int64)
        for row, text in zip(ids_nt, texts, strict=True):
            letters = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
            row[: before + len(text) + after] = [*tokens.first, *tokens.of_letter[letters], *tokens.last]
        lengths = torch.tensor([before + len(text) + after for text in texts])
        mask_nt = (torch.arange(ids_nt.shape[1]) < lengths[:, None]).to(torch.int64)
        half = None if self._precision == "float32" else PRECISIONS[self._precision]
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=half, enabled=half is not None),
        ):
            output = self._network(
                input_ids=torch.from_numpy(ids_nt).to(self._device), attention_mask=mask_nt.to(self._device)
            )
        states_ntd: torch.Tensor = output.last_hidden_state
        return states_ntd[:, before : before + longest].float()

    @functools.cached_property
    def _tokens(self) -> Tokens:
        size = int(self._config["vocab_size"])
        with described_by_cause(self._folder):
            vocabulary = _read_vocabulary(self._folder, size)
        return tokens_of(vocabulary, self._folder, self._family, vocabulary_size=size)

    @property
    def _kept(self) -> tuple[str, ...]:
        return self._family.kept if self._precision == "fp16" else ()

    @functools.cached_property
    def _network(self) -> Any:
        network = _load(self._folder, self._family)
        if self._precision != "float32":
            # Only the linear layers, which take most of the time and memory: residual sums, norms and rotary
            # angles stay in float32, since an angle in half precision is useless.
            for name, module in network.named_modules():
                if not isinstance(module, torch.nn.Linear):
                    continue
                if name.rpartition(".")[2] in self._kept:
                    _keep_in_float32(module)
                else:
                    module.to(PRECISIONS[self._precision])
        return network.to(self._device)


def _keep_in_float32(module: Any) -> None:
    """Computes a layer in float32 where autocast would compute it in half precision."""
    forward = module.forward

    def forward_in_float32(states: torch.Tensor) -> torch.Tensor:
        with torch.autocast(states.device.type, enabled=False):
            result: torch.Tensor = forward(states.float())
        return result

    module.forward = forward_in_float32


def _put_states(found: list[np.ndarray], batch: Sequence[Window], states_nld: torch.Tensor) -> None:
    for window, states_ld in zip(batch, states_nld.cpu().numpy(), strict=True):
        kept = slice(window.keep_from - window.start, window.keep_to - window.start)
        found[window.sequence][window.keep_from : window.keep_to] = states_ld[kept]


def _add_sums(found: list[np.ndarray], batch: Sequence[Window], states_nld: torch.Tensor) -> None:
    place = torch.arange(states_nld.shape[1])
    first, last = (
        torch.tensor([[edge - window.start] for window, edge in zip(batch, edges, strict=True)])
        for edges in ([window.keep_from for window in batch], [window.keep_to for window in batch])
    )
    kept_nl = ((place >= first) & (place < last)).to(states_nld.device)
    sums_nd = (states_nld * kept_nl[..., None]).sum(dim=1).cpu().numpy()
    for window, total in zip(batch, sums_nd, strict=True):
        found[window.sequence] += total


def _read_vocabulary(folder: Path, vocabulary_size: int) -> dict[str, int]:
    """Reads the map from token to number.

    The model has one of three kinds of vocabulary file.
    """
    listed, described, pieces = (folder / name for name in ("vocab.txt", "tokenizer.json", "spiece.model"))
    if listed.exists():
        lines = listed.read_text(encoding="utf-8").splitlines()
        return {line.strip(): number for number, line in enumerate(lines)}
    if described.exists():
        return _described_vocabulary(json.loads(described.read_bytes()))
    if pieces.exists():
        return _piece_vocabulary(pieces, vocabulary_size)
    raise ConfigError(
        "the model has no vocabulary",
        where=folder,
        expected="vocab.txt, tokenizer.json or spiece.model in the folder of the weights",
        remedy="copy it from where the model came from, or call the tokenizer's `save_pretrained`",
    )


def _piece_vocabulary(path: Path, vocabulary_size: int) -> dict[str, int]:
    """The tokens of a SentencePiece model and those that were added to it.

    Raises:
        ConfigError: the model has tokens that no file names, such as those of ProstT5.
    """
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto.FromString(path.read_bytes())
    tokens = {piece.piece: number for number, piece in enumerate(model.pieces)}
    added = path.with_name("added_tokens.json")
    if added.exists():
        return {**tokens, **json.loads(added.read_bytes())}
    unnamed = vocabulary_size - len(tokens) - _T5_SENTINELS
    if unnamed > 0:
        raise ConfigError(
            "the model has tokens that no file of its folder names",
            where=path.parent,
            got=f"{unnamed} tokens beyond those of spiece.model, as in ProstT5, whose sequences need "
            f"{TO_STRUCTURE} before them",
            expected="added_tokens.json beside spiece.model",
            remedy="copy it from where the model came from; a model without added tokens has {} in it",
        )
    return tokens


def _described_vocabulary(tokenizer: dict[str, Any]) -> dict[str, int]:
    tokens = tokenizer["model"]["vocab"]
    if isinstance(tokens, list):  # of pairs of a token and its probability
        tokens = {token: number for number, (token, _) in enumerate(tokens)}
    return {**tokens, **{added["content"]: added["id"] for added in tokenizer.get("added_tokens", [])}}


def _load(folder: Path, family: Family) -> Any:
    """Loads the network in float32 on the CPU.

    Every weight must be in the checkpoint.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        network, report = getattr(transformers, family.model_class).from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **family.options,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError, MemoryError) as error:
        unavailable = unavailable_error(error, folder)
        if unavailable is not None:
            raise unavailable from error
        raise ConfigError(
            "the model's weights cannot be loaded",
            where=folder,
            got=first_line(error),
            remedy="copy or download the model again",
        ) from error
    # Missing weights would be initialised at random, and the embeddings would be noise.
    absent = [name for name in report["missing_keys"] if not any(part in name for part in family.unused)]
    if absent:
        raise ConfigError(
            "the model's weights do not fit its config",
            where=folder,
            got=f"{len(absent)} tensors are not there, such as {sorted(absent)[0]}",
            expected=f"the weights of a {family.model_class}",
        )
    return network.eval()


def _require_transformers() -> None:
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError(
            "the embedder esm2 needs the package transformers",
            got="it is not installed",
            remedy='pip install "ppi_train[esm]", or in a checkout: pip install -e ".[esm]"',
        )
