"""Selection of device and precision.

An unavailable choice is an error; there is no silent fallback.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch

from ppi_train.errors import DeviceError, MemoryShortageError

logger = logging.getLogger(__name__)

# Weights, gradients and the two averages of AdamW, each in float32.
_TRAINING_BYTES = 16
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """Resolves a device name; `auto` prefers CUDA over the CPU.

    `auto` takes the first CUDA device, and logs its choice; a named device must exist.

    The choice of `auto` is logged; a named device must exist.

    Raises:
        DeviceError: the named CUDA device does not exist on this machine.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        device = torch.device("cuda", 0) if count else torch.device("cpu")
        logger.info("device=auto took %s", describe_device(device))
        return device
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(
            "the device that was asked for is not here",
            got=f"device={name}",
            expected=f"one of: cpu{''.join(f', cuda:{index}' for index in range(count))}",
            remedy="give device=cpu, or device=auto to take what is available",
        )
    return device


def describe_device(device: torch.device) -> str:
    """`cpu (2 threads)`, or the name of the GPU."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def autocast(device: torch.device, amp: str) -> contextlib.AbstractContextManager[object]:
    """The mixed-precision context for the forward pass; nothing for `off`.

    Raises:
        DeviceError: bf16 on a GPU that does not support it.
    """
    if amp == "off":
        return contextlib.nullcontext()
    if amp == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(
            "this GPU does not support bf16",
            got="amp=bf16",
            expected="a GPU of compute capability 8.0 or more",
            remedy="give amp=fp16 or amp=off",
        )
    return torch.autocast(device.type, dtype=_AMP_DTYPES[amp])


def seed_everything(seed: int, *, deterministic: bool) -> None:
    """Seeds torch and sets whether its algorithms must be deterministic.

    The seed determines initial weights and dropout.
    """
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(deterministic)


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
