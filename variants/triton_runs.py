"""Where kernels in Triton, an optional package, can run."""

from __future__ import annotations

import importlib
import os

from harness import Workload


def triton_hindrance(workload: Workload) -> str | None:
    """Why they cannot, said without asking the GPU; None when they can.

    On the CPU they run where Triton interprets them, as TRITON_INTERPRET=1 asks it to: in Python,
    to look for faults, thousands of times slower.
    """
    if workload.device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "kernel=triton needs an NVIDIA GPU, found device=cpu; use another kernel"
    try:
        importlib.import_module("triton")
    except Exception as error:  # a binary of another system fails in many ways
        return f"triton does not import: {type(error).__name__}: {error}"
    return None
