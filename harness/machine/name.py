"""The machine's short name, for folders of runs and for telling runs apart."""

from __future__ import annotations

import re

from harness.device import CpuDevice
from harness.machine.gpu import gpu_description
from harness.workload import usable_cpus

# What vendors put into a name and nobody says; "96-Core" is the chip's, not what we may use.
_NOISE = re.compile(
    r"\((?:r|tm)\)|@.*|\b(?:cpu|processor|hbm\d*e?|(?:\d+|dual|quad|six|eight|sixteen)-core)\b"
)


def machine_slug(device: str) -> str:
    """The machine's short name for runs on `cpu` or `cuda`: letters a-z, digits and hyphens.

    `amd-epyc-2c` (model, and CPUs that may be used) or `nvidia-h100-80gb`; the same at every
    call, and the same on two machines of one kind.
    """
    if device == "cuda":
        gpu = gpu_description()
        name = _slug(str(gpu["model"])) if gpu else "no-gpu"
        return name if name.startswith("nvidia") or not gpu else f"nvidia-{name}"
    return f"{_slug(str(CpuDevice().describe()['model']))}-{usable_cpus()}c"


def _slug(text: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", _NOISE.sub(" ", text.lower())).strip("-")
    return words or "unknown"
