"""Selection of device and precision.

An unavailable choice is an error; there is no silent fallback.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppi_train.errors import DeviceError, MemoryShortageError

logger = logging.getLogger(__name__)

# Weights, gradients and the two averages of AdamW, each in float32.
_TRAINING_BYTES = 16
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
# <malloc.h>: a larger block is memory of its own, which is returned when it is freed; so much may be free.
_M_TRIM_THRESHOLD, _KEPT_MEMORY = -1, 2**28
_M_MMAP_THRESHOLD, _KEPT_BLOCK = -3, 2**25
_AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """Resolves a device name; `auto` prefers CUDA over the CPU.

    `auto` and `cuda` take the first CUDA device, or that of LOCAL_RANK, which launchers of several processes
    set. The choice of `auto` is logged; a named device must exist.

    Raises:
        DeviceError: the named CUDA device does not exist on this machine.
    """
    device = find_device(name)
    if name == "auto":
        logger.info("device=auto took %s", describe_device(device))
    return device


def find_device(name: str) -> torch.device:
    """`resolve_device` without a line in the log."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", _local_rank()) if count else torch.device("cpu")
    device = torch.device("cuda", _local_rank()) if name == "cuda" else torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(
            "the device that was asked for is not here",
            got=f"device={name}",
            expected=f"one of: cpu{''.join(f', cuda:{index}' for index in range(count))}",
            remedy="give device=cpu, or device=auto to take what is available",
        )
    return device


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK") or 0)


def describe_device(device: torch.device) -> str:
    """`cpu (2 threads)`, or the name of the GPU."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device says that it has instructions for bf16.

    These are AVX512-BF16 or AMX of a processor, and compute capability 8.0 of a GPU. Nothing is timed: the
    answer is the same each time.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    said = torch.cpu.get_capabilities()
    has_instructions = bool(said.get("avx512_bf16") or said.get("amx_bf16"))
    return has_instructions and _onednn_has(torch.bfloat16)


def resolve_amp(asked: str, device: str, *, gains: Collection[str]) -> str:
    """The mixed precision of a training: `off`, `bf16` or `fp16`.

    Args:
        asked: One of these, or `auto`: bf16 where the device has it and the model gains by it.
        device: Name of the device.
        gains: Types of device on which bf16 makes the model's training faster, such as `cpu`.

    Raises:
        DeviceError: see `resolve_device`.
    """
    if asked != "auto":
        return asked
    if not gains:
        return "off"
    found = find_device(device)
    amp = "bf16" if found.type in gains and has_fast_bf16(found) else "off"
    logger.info("amp=auto took %s", amp)
    return amp


def check_bf16(device: torch.device, *, got: str, remedy: str) -> None:
    """Refuses bf16 on a GPU that does not support it.

    Args:
        device: The device.
        got: The option that asks for bf16.
        remedy: What to give instead.

    Raises:
        DeviceError: it does not.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(
            "this GPU does not support bf16",
            got=got,
            expected="a GPU of compute capability 8.0 or more",
            remedy=remedy,
        )


@contextlib.contextmanager
def autocast(device: torch.device, amp: str) -> Iterator[None]:
    """The mixed-precision context for the forward pass; nothing for `off`.

    Raises:
        DeviceError: bf16 on a GPU that does not support it.
    """
    if amp == "off":
        yield
        return
    if amp == "bf16":
        check_bf16(device, got="amp=bf16", remedy="give amp=fp16 or amp=off")
    dtype = _AMP_DTYPES[amp]
    onednn: Any = torch.backends.mkldnn
    was_enabled = onednn.enabled
    # It is asked for an LSTM in this format also on a processor for which it has none, and fails.
    onednn.enabled = was_enabled and (device.type != "cpu" or _onednn_has(dtype))
    try:
        with torch.autocast(device.type, dtype=dtype):
            yield
    finally:
        onednn.enabled = was_enabled


def product_dtype(x: Tensor) -> torch.dtype:
    """The type in which products with a tensor are computed here: that of `autocast`, or its own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _onednn_has(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes in a half precision on this processor."""
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported")())


def seed_everything(seed: int, *, deterministic: bool) -> None:
    """Seeds torch and sets whether its algorithms must be deterministic.

    The seed determines initial weights and dropout.
    """
    torch.manual_seed(seed)
    # Only where it changes something: the call imports all of torch.compile, which takes a second.
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)


def seed_draws(seed: int, device: torch.device) -> None:
    """Seeds what a process draws on a CPU and on a device.

    `torch.manual_seed` also looks for every other kind of device, and writes down the stack for each: half a
    millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def keep_freed_memory() -> None:
    """Has the C library keep freed memory, instead of returning it to the system at once.

    A training step allocates and frees some megabytes for each of its tensors; that the system takes each
    page back and gives it out again, as zeros, took up to a third of a step. Nothing changes where the C
    library is not that of GNU.
    """
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):
        allocator.mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK)
        allocator.mallopt(_M_TRIM_THRESHOLD, _KEPT_MEMORY)


def check_model_fits(build: Callable[[], torch.nn.Module], device: torch.device) -> None:
    """Refuses a model that is too large to be trained, before memory is allocated for it.

    Args:
        build: Makes the model; called for its shapes alone.
        device: Where it is to be trained.

    Raises:
        MemoryShortageError: the weights, their gradients and the optimiser need more than all memory.
    """
    with torch.device("meta"):
        parameters = sum(weights.numel() for weights in build().parameters())
    needed, there = _TRAINING_BYTES * parameters, total_memory(device)
    if needed > there:
        raise MemoryShortageError(
            "the model does not fit into memory",
            got=f"{parameters:,} parameters, which need {needed / 1e9:,.1f} GB in training",
            expected=f"at most {there / 1e9:,.1f} GB, all memory of {device}",
            remedy="lower hidden_dim, members, num_layers or another size of the model",
        )


def total_memory(device: torch.device) -> int:
    """Bytes of memory of a device; of a CPU, those that this process may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        total = min(total, int(_CONTAINER_LIMIT.read_text()))
    return total
