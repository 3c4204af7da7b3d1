"""A kernel that hangs on the values: one that changes between the draws of a race is a fallback."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from harness.execute.workers import Workers
from tests.build import workload
from tests.execute.asking import described, raced

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, as only Linux can safely")


def race(workers: Workers, inputs: str) -> dict[str, dict[str, Any]]:
    shape = workload(heads=1, q_len=64, head_dim=16, shared="qk", threads=1, inputs=inputs)
    variants = {"softmax": described("softmax"), "control": described("softmax")}
    variants["triangle"] = described("symmetric", kernel="triangle")
    return raced(workers, shape, variants, budget_s=0.2)


def test_values_of_the_race_for_which_another_kernel_runs(workers: Workers) -> None:
    # Scores of the first draw span 91, which the triangle takes, those of the second 146.
    found = race(workers, "normal(11)")
    assert found["triangle"]["status"] == "fallback"
    assert "asked for attnbench::triangle" in found["triangle"]["reason"]
    assert found["softmax"]["rounds_s"]


def test_values_for_which_all_is_as_asked(workers: Workers) -> None:
    assert race(workers, "normal(2)")["triangle"]["rounds_s"]
