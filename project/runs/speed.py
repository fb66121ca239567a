"""What a training is computed with on this machine: its device, its precision, the layout of images in memory."""

import contextlib
import ctypes
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from project.distributed.forked import in_a_child
from project.errors import UserError
from project.nets.kernels import has_bf16

_MALLOC = (  # option (glibc's malloc.h), what keeps buffers, and what glibc begins with
    (-4, 0, 65536),  # M_MMAP_MAX: how many buffers are mapped one by one, which are unmapped when they are freed
    (-1, 2**31 - 1, 128 * 1024),  # M_TRIM_THRESHOLD: bytes at the heap's end that are not handed back
)


def settle_precision(cfg: DictConfig) -> tuple[torch.device, str]:
    """Replace `trainer.precision=auto` in `cfg` by what this machine computes fastest.

    `bf16-mixed` where the processor or the GPU has instructions for bfloat16, `32-true` elsewhere.

    Returns:
        The device of the training, and what is to be said of the choice; empty: nothing was chosen.
    """
    accelerator = str(cfg.trainer.get("accelerator", "auto"))
    try:
        device = device_for("gpu" if accelerator == "cuda" else accelerator)
    except UserError:  # the Trainer says what is wrong with it
        device = torch.device("cpu")
    if cfg.trainer.get("precision") != "auto":
        return device, ""
    forks = device.type == "cuda" and "fork" in str(cfg.trainer.get("strategy"))
    bf16 = in_a_child(lambda: has_bf16(device)) if forks else device.type in ("cpu", "cuda") and has_bf16(device)
    cfg.trainer.precision = "bf16-mixed" if bf16 else "32-true"
    which = "computes in bfloat16" if bf16 else "has no fast bfloat16"
    layout = ", channels_last" if "image_shape" in cfg.get("sizes", {}) and cfg.get("channels_last", True) else ""
    return device, f"precision: {cfg.trainer.precision}{layout} (this {_kind(device)} {which})"


def keep_buffers(keep: bool = True) -> None:
    """Let the C library keep the memory of freed tensors for the next ones, instead of handing large ones back.

    A training step frees and takes the same buffers again and again; each time the kernel would have to hand out empty
    pages, which costs a step on a CPU about a seventh of its time. Only glibc can be told; elsewhere nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for option, kept, usual in _MALLOC:
            mallopt(option, kept if keep else usual)


def release_buffers() -> None:
    """Give what is kept and not in use back to the system: between two trainings of one process."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def device_for(accelerator: str) -> torch.device:
    """The device of `auto`, `cpu`, `gpu` (or `cuda`), `mps`.

    Raises:
        UserError: this machine has none.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if accelerator == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    wanted = [name for name in (("cuda", "mps") if accelerator == "gpu" else (accelerator,)) if there.get(name)]
    if not wanted:
        has = ", ".join(name for name, is_there in there.items() if is_there)
        raise UserError(f"accelerator={accelerator} is not on this machine, which has: {has}")
    return torch.device(wanted[0])


def lay_out(net: nn.Module, channels_last: bool) -> None:
    """Images in the layout that convolutions of this machine are given: channels last, or channels first.

    Batches come with channels last; a network that is to have them first is given a copy.
    """
    net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    if not channels_last:
        net.register_forward_pre_hook(_channels_first)


def _channels_first(net: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part.contiguous() if isinstance(part, Tensor) and part.ndim == 4 else part for part in inputs)


def _kind(device: torch.device) -> str:
    return "processor" if device.type == "cpu" else "GPU"
