"""What differs between accelerators; nothing else of the worker knows which one it runs on."""

import contextlib
import os
from dataclasses import dataclass
from typing import Callable

import torch

# What a device without memory raises; newer torch has one name for all devices.
FULL = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)


@dataclass
class Device:
    """A rank's accelerator.

    `step_is_over` ends a piece of lazily recorded work; only Gaudi needs that.
    """

    torch: torch.device
    backend: str
    fused_optimizer: bool
    step_is_over: Callable[[], None] = lambda: None

    def autocast(self, dtype):
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.torch.type, dtype=getattr(torch, dtype))


def open_device(name):
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "cpu":
        return Device(torch.device("cpu"), "gloo", fused_optimizer=True)
    if name == "cuda":
        torch.cuda.set_device(local)
        return Device(torch.device("cuda", local), "nccl", fused_optimizer=True)
    if name == "xpu":
        torch.xpu.set_device(local)
        return Device(torch.device("xpu", local), xpu_backend(), fused_optimizer=False)
    if name == "hpu":
        import habana_frameworks.torch.core as core
        import habana_frameworks.torch.distributed.hccl  # noqa: F401 registers the backend

        return Device(torch.device("hpu"), "hccl", fused_optimizer=False, step_is_over=core.mark_step)
    raise ValueError(f"unknown device {name}")


def release_memory():
    """Gives back what torch's allocators keep for later."""
    for module in (torch.cuda, getattr(torch, "xpu", None)):
        if module is not None and module.is_available():
            module.empty_cache()


def xpu_backend():
    """torch has xccl since 2.8; before that, ccl comes from Intel's bindings."""
    built_in = getattr(torch.distributed, "is_xccl_available", lambda: False)
    if built_in():
        return "xccl"
    import oneccl_bindings_for_pytorch  # noqa: F401 registers the backend

    return "ccl"
