"""Prints as one JSON line what this interpreter has: `preflight.py DEVICE`."""

import importlib
import json
import platform
import sys


def versions():
    found = {"python": platform.python_version(), "missing": []}
    for name in ("torch", "numpy", "safetensors"):
        try:
            found[name] = importlib.import_module(name).__version__
        except Exception as error:
            found["missing"].append(f"{name} ({error})")
    return found


def device_problem(name):
    """Why the device cannot be used; None when it can."""
    import torch

    if not torch.distributed.is_available():
        return "this torch has no torch.distributed"
    if name == "cpu":
        return None if torch.distributed.is_gloo_available() else "this torch has no gloo"
    if name == "hpu":
        try:
            import habana_frameworks.torch.core  # noqa: F401
        except ImportError as error:
            return f"habana_frameworks: {error}"
        return None if torch.hpu.is_available() else "torch.hpu sees no Gaudi"
    module = getattr(torch, name, None)
    if module is None or not module.is_available():
        return f"torch {torch.__version__} sees no {name} device"
    return None


if __name__ == "__main__":
    found = versions()
    if not found["missing"]:
        found["problem"] = device_problem(sys.argv[1])
    print(json.dumps(found))
