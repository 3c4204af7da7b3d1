"""What tests of Triton kernels share: runs under its interpreter, compilation without a GPU."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
ROOT = Path(__file__).parents[2]


def interpreted(files: Sequence[str], chosen: str) -> tuple[int, set[str]]:
    """How many of the chosen tests pass under the interpreter, and why others are skipped.

    Triton reads TRITON_INTERPRET when it is first imported: they run in a process of their own.
    """
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-k", chosen]
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment |= {"TRITON_INTERPRET": "1", "COLUMNS": "200"}
    found = subprocess.run(
        [*command, *files], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]
    passed = re.search(r"(\d+) passed", found.stdout)
    assert passed is not None
    return int(passed[1]), set(re.findall(r"SKIPPED .*?: (.*)", found.stdout))


def ptx(kernel: Any, signature: dict[str, Any], constants: dict[Any, Any]) -> str:
    """A kernel compiled for compute capability 9.0, which needs no GPU.

    The interpreter takes what the compiler does not.
    """
    triton = importlib.import_module("triton")
    compiler = importlib.import_module("triton.compiler")
    backends = importlib.import_module("triton.backends.compiler")
    source = compiler.ASTSource(kernel, signature, constants)
    built = triton.compile(source, backends.GPUTarget("cuda", 90, 32))
    return str(built.asm["ptx"])
