"""A kernel that hangs on the values: one that changes between the draws of a race is a fallback."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from harness.execute.workers import Workers
from tests.build import workload
from tests.execute.asking import FAR, described

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, as only Linux can safely")
OWN = {"tensor": 2e-7, "row": 1e-6, "gradient": 1e-6, "largest_v": 4.0}


def raced(workers: Workers, inputs: str) -> dict[str, dict[str, Any]]:
    shape = workload(heads=1, q_len=64, head_dim=16, shared="qk", threads=1, inputs=inputs)
    variants = {"softmax": described("softmax"), "control": described("softmax")}
    variants["triangle"] = described("symmetric", kernel="triangle")
    payload = {
        "files": [],
        "workload": shape.as_dict(),
        "entrants": [{"name": n, "variant": v, "own": OWN} for n, v in variants.items()],
        "has_baseline": True,
        "controls": ["control"],
        "rules": {"margin": 0.02, "alpha": 0.05, "budget_s": 0.2},
        "seed": 1,
    }
    outcome = workers.run("race", payload, FAR)
    assert outcome.answered, outcome
    return {answer["name"]: answer for answer in outcome.result}


def test_values_of_the_race_for_which_another_kernel_runs(workers: Workers) -> None:
    # Scores of the first draw span 91, which the triangle takes, those of the second 146.
    found = raced(workers, "normal(11)")
    assert found["triangle"]["status"] == "fallback"
    assert "asked for attnbench::triangle" in found["triangle"]["reason"]
    assert found["softmax"]["rounds_s"]


def test_values_for_which_all_is_as_asked(workers: Workers) -> None:
    assert raced(workers, "normal(2)")["triangle"]["rounds_s"]
