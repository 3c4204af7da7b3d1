"""The targets of the Makefile that others rely on to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")
def test_make_gpu_fails_where_there_is_no_gpu(tmp_path: Path) -> None:
    """Every test of tests/gpu would be skipped, and every case unsupported: both end with 0."""
    out = tmp_path / "run"
    done = subprocess.run(
        ["make", "gpu", f"GPU_PYTHON={sys.executable}", f"GPU_OUT={out}"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("make gpu: "))
    assert line.endswith(("use device: cpu", "name one that is there"))
    assert not out.exists()
