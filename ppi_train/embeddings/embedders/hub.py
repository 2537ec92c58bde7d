"""Files of published models: where they are, and what they contain.

A model is given as a short name, a Hugging Face ID, or a local folder. Weights are only read from
safetensors: other weight files are pickles, which can run code when read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ppi_train.errors import ConfigError, first_line, nearest
from ppi_train.io.files import expanded
from ppi_train.io.unavailable import check_readable, described_by_cause

_SIZES = ("t6_8M", "t12_35M", "t30_150M", "t33_650M", "t36_3B")
SHORT_NAMES = {size: f"facebook/esm2_{size}_UR50D" for size in _SIZES}
HUB_PATIENCE = 8.0  # seconds
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Files to download: no pickles, and no weights of other frameworks.
_VOCABULARIES = ("vocab.txt", "tokenizer.json", "spiece.model")  # a model has one of them
_FILES = ("config.json", *_VOCABULARIES, "added_tokens.json", "*.safetensors", "*.safetensors.index.json")
_ONE_FILE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Config fields that describe how the file was written, not the model.
_BOOKKEEPING = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")


def located(model: str) -> str:
    """A model's permanent name: a folder's absolute path or a hub ID.

    Raises:
        ConfigError: neither an existing folder, nor a short name, nor an ID.
    """
    folder = expanded(model)
    if folder.is_dir():
        return str(folder.absolute())
    if model in SHORT_NAMES:
        return SHORT_NAMES[model]
    if _HUB_ID.fullmatch(model):
        return model
    if "/" in model or os.sep in model or folder.exists():
        raise ConfigError(
            "the model's folder is not there",
            where=folder.absolute(),
            expected="a folder with config.json, a vocabulary and *.safetensors",
            remedy="put it there, or give its location: embedder_model=FOLDER, and for a model or run that "
            "was made with it the variable PPI_TRAIN_EMBEDDER_MODEL=FOLDER",
        )
    raise ConfigError(
        "there is no such model",
        got=f"embedder_model={model}",
        expected=f"{', '.join(SHORT_NAMES)}, a Hugging Face ID (OWNER/NAME), or a local folder",
        remedy=nearest(model, SHORT_NAMES, cutoff=0.4),
    )


def model_folder(location: str) -> Path:
    """The folder with the model's files.

    Files of a hub's model are downloaded once, and not updated later.

    Raises:
        ConfigError: the hub cannot be reached or does not have it.
    """
    if Path(location).is_absolute():
        return Path(location)
    from huggingface_hub import HfApi, constants, errors, snapshot_download

    try:
        # A complete local copy is used without asking the hub, so that results stay the same.
        return Path(snapshot_download(location, allow_patterns=list(_FILES), local_files_only=True))
    except errors.LocalEntryNotFoundError:
        pass
    try:
        # `snapshot_download` would wait forever for a hub that accepts the connection and never answers.
        HfApi().model_info(location, revision="main", timeout=HUB_PATIENCE)
        return Path(snapshot_download(location, allow_patterns=list(_FILES)))
    except errors.RepositoryNotFoundError:
        raise ConfigError(
            "the hub has no such model, or does not show it without a token",
            where=constants.ENDPOINT,
            got=location,
            remedy="check the ID; for a private model set HF_TOKEN",
        ) from None
    except (errors.HTTPError, OSError) as error:
        raise ConfigError(
            "the model is not on this machine, and its hub cannot be reached",
            where=constants.ENDPOINT,
            got=f"{location}: {_cause(error)}",
            remedy="on a machine with internet: hf download "
            f"{location} --local-dir FOLDER; copy the folder here, and give embedder_model=FOLDER",
        ) from None


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the model's `config.json`.

    Raises:
        ConfigError: the file is missing, or is no JSON object with a `model_type`.
        UnavailableError: the file could not be read.
    """
    path = folder / "config.json"
    with described_by_cause(path):
        content = path.read_bytes() if path.exists() else b""
    try:
        config = json.loads(content)
    except ValueError:
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ConfigError(
            "the folder holds no Hugging Face model",
            where=folder,
            got="no config.json" if not path.exists() else "a config.json without a model_type",
            expected="config.json, a vocabulary and *.safetensors, as `save_pretrained` writes them",
        )
    return config


def identity_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without fields that only describe its origin."""
    return {name: value for name, value in config.items() if name not in _BOOKKEEPING}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files with the model's weights.

    Either one file, or the shards that its index names.

    Raises:
        ConfigError: some or all are missing.
    """
    if (folder / _ONE_FILE).exists():
        return [folder / _ONE_FILE]
    if not (folder / _INDEX).exists():
        pickles = sorted(path.name for path in (*folder.glob("*.bin"), *folder.glob("*.pt")))
        raise ConfigError(
            "the model has no weights in safetensors",
            where=folder,
            got=", ".join(pickles) or "none in the folder",
            expected=f"{_ONE_FILE}, or {_INDEX} and its shards; pickles can run code and are not loaded",
            remedy="make a copy in safetensors once, as docs/how-to/embedders.md shows, and give its folder",
        )
    with described_by_cause(folder / _INDEX):
        index = (folder / _INDEX).read_bytes()
    try:
        names = sorted(set(json.loads(index)["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ConfigError("the index of the model's weights is damaged", where=folder / _INDEX) from None
    if not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise ConfigError(
            "the index of the model's weights names files outside the model's folder",
            where=folder / _INDEX,
            got=", ".join(map(str, names[:3])),
            expected="names of files in the same folder",
            remedy="get the model from another source",
        )
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ConfigError(
            "the model's weights are incomplete",
            where=folder,
            got=f"no {', '.join(absent[:3])}",
            expected=f"the {len(names)} files that {_INDEX} names",
            remedy="copy or download the model again",
        )
    return [folder / name for name in names]


def weights_digest(folder: Path) -> str:
    """sha256 over all tensors' names, types, shapes and bytes.

    Tensors are sorted by name: the digest depends neither on the folder's location nor on the sharding.

    Raises:
        ConfigError: no safetensors, or damaged ones.
        UnavailableError: a file could not be read.
    """
    files = weight_files(folder)
    stamps = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _digest_of_files(stamps)


@functools.lru_cache(maxsize=4)  # one command asks several times, and gigabytes take seconds
def _digest_of_files(stamps: tuple[tuple[str, int, int], ...]) -> str:
    import torch  # here, since finding a model or reporting that it is missing does not need it

    places: dict[str, Any] = {}
    hasher = hashlib.sha256()
    for path, *_ in stamps:
        check_readable(Path(path))  # safetensors says of every file that it may not open that it is not there
        try:
            opened = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise ConfigError(
                "the model's weights are damaged",
                where=path,
                got=error,
                remedy="copy or download the model again",
            ) from None
        places |= dict.fromkeys(opened.keys(), opened)
    for name in sorted(places):
        tensor = places[name].get_tensor(name)
        hasher.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return hasher.hexdigest()
