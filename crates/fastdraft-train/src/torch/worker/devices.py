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

    `step_is_over` ends a piece of lazily recorded work; only Gaudi needs that. `recorded` makes work
    on tensors that stay where they are cheap to repeat. `ahead` is how many passes of decoding the
    host may ask for before it looks at the first.
    """

    torch: torch.device
    backend: str
    fused_optimizer: bool
    step_is_over: Callable[[], None] = lambda: None
    recorded: Callable[[Callable[[], None]], Callable[[], None]] = lambda work: work
    ahead: int = 1

    def autocast(self, dtype):
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.torch.type, dtype=getattr(torch, dtype))


class CudaGraph:
    """Work that is done the first time, recorded the second, and repeated from then on.

    What it makes in between is over with it, so all recordings share one memory.
    """

    # A recording that stays, as the memory goes with the last one.
    first = None

    def __init__(self, work):
        self.work, self.graph, self.seen = work, None, False
        if CudaGraph.first is None:
            CudaGraph.first = torch.cuda.CUDAGraph()
            with torch.cuda.graph(CudaGraph.first):
                torch.zeros(1, device="cuda")

    def __call__(self):
        if not self.seen:
            # What libraries set up at first use cannot be recorded, nor be on the stream of others.
            self.seen, stream = True, torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self.work()
            torch.cuda.current_stream().wait_stream(stream)
            return
        if self.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=CudaGraph.first.pool()):
                self.work()
            self.graph = graph
        self.graph.replay()


def open_device(name):
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "cpu":
        return Device(torch.device("cpu"), "gloo", fused_optimizer=True)
    if name == "cuda":
        torch.cuda.set_device(local)
        return Device(torch.device("cuda", local), "nccl", fused_optimizer=True, recorded=CudaGraph, ahead=8)
    if name == "xpu":
        torch.xpu.set_device(local)
        return Device(torch.device("xpu", local), xpu_backend(), fused_optimizer=False, ahead=8)
    if name == "hpu":
        import habana_frameworks.torch.core as core
        import habana_frameworks.torch.distributed.hccl  # noqa: F401 registers the backend

        return Device(torch.device("hpu"), "hccl", fused_optimizer=False, step_is_over=core.mark_step, ahead=8)
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
