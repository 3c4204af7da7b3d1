"""Versions, threads, the libraries that torch computes with, and the allocator's settings."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import re
from pathlib import Path, PurePath
from typing import Any

import torch

from harness.machine.tree import told

PACKAGES = (
    "attnbench torch numpy triton xformers flash_attn flash_attn_3 flash_attn_4 sageattention"
).split()
NOT_MEASURING = ("cli", "report", "analysis")
"""Parts of the harness that only read records: nothing that measures may import them."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "GOMP_CPU_AFFINITY",
    "CUDA_VISIBLE_DEVICES",
)
ALLOCATOR_VARIABLES = (
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "GLIBC_TUNABLES",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)
_LIBRARIES = {
    "mkl": r"oneAPI Math Kernel Library Version ([\d.]+)",
    "onednn": r"(?:MKL-DNN|oneDNN) v([\d.]+)",
    "openmp": r"OpenMP (\d+)",
    "blas": r"BLAS_INFO=(\w+)",
    "compiler": r"((?:GCC|clang|MSVC) [\d.]+)",
}


def versions() -> dict[str, str]:
    """Versions of the packages that measure and are measured, and `harness_hash`."""
    found = {"harness": harness_hash()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@functools.cache
def harness_hash(root: Path = Path(__file__).parents[1]) -> str:
    """12 digits of the SHA-256 over the harness's own files that can change a number.

    Two checkouts of one version may measure differently; two reports of one run may not.
    """
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root)
        if name.parts[0] not in NOT_MEASURING:
            content = file.read_bytes()
            digest.update(f"{name.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def thread_facts() -> dict[str, Any]:
    """Threads as torch would use them here, before a workload sets its own."""
    backend = re.search(r"ATen parallel backend: (\w+)", torch.__config__.parallel_info())
    return told(
        torch=torch.get_num_threads(),
        interop=torch.get_num_interop_threads(),
        backend=backend[1] if backend else None,
    )


def library_facts(text: str | None = None) -> dict[str, Any]:
    """Versions in `torch.__config__.show()` (or a text like it): BLAS, oneDNN, OpenMP."""
    shown = torch.__config__.show() if text is None else text
    found = {name: re.search(pattern, shown) for name, pattern in _LIBRARIES.items()}
    return {name: match[1] for name, match in found.items() if match is not None}


def thread_variables() -> dict[str, str]:
    """What the environment says of threads and devices."""
    return {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}


def allocator_facts() -> dict[str, Any]:
    """What the environment says of allocators; `preloaded`: names of libraries put before."""
    variables = {name: os.environ[name] for name in ALLOCATOR_VARIABLES if name in os.environ}
    preloaded = re.split(r"[\s:]+", os.environ.get("LD_PRELOAD", "").strip())
    # Names only: where they lie is nobody's business.
    return told(**variables, preloaded=[PurePath(name).name for name in preloaded if name])
