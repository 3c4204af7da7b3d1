"""How fast the triangle of blocks is where q = k, beside the bars that it is held to.

    python -m pytest benchmarks/test_symmetric.py --benchmark-only -s

Races as in `test_kernels`: the triangle against the same kernel that computes every block of
scores, and against torch's flash attention; one thread, one head, head_dim 64, float32.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.test_kernels import Bar, race_to_bars
from harness.execute.workers import Workers
from harness.workload import Workload

TRIANGLE, FULL = "symmetric(kernel=triangle)", "every_block"
CUBIC = "symmetric(mechanism=polynomial, kernel=triangle)"
FULL_CUBIC = "every_block(mechanism=polynomial)"
ONE = {"q_len": 4096, "shared": "qk", "threads": 1}
BOTH = {"pass": "forward+backward"}
RACES: dict[str, tuple[dict[str, Any], list[Bar]]] = {
    "forward": (ONE, [Bar(TRIANGLE, 0.78, FULL), Bar(TRIANGLE, 0.95, aim=0.88)]),
    "polynomial": (ONE, [Bar(CUBIC, 0.78, FULL_CUBIC)]),
    "short": (ONE | {"q_len": 1024}, [Bar(TRIANGLE, 0.9, FULL), Bar(TRIANGLE, 1.05)]),
    "forward+backward": (ONE | BOTH, [Bar(TRIANGLE, 1.0, FULL), Bar(TRIANGLE, 1.35)]),
}


@pytest.mark.parametrize("title", RACES)
def test_symmetric(workers: Workers, benchmark: Any, capsys: Any, title: str) -> None:
    fields, bars = RACES[title]
    workload = Workload.model_validate(fields)
    with capsys.disabled():
        benchmark.pedantic(lambda: race_to_bars(workers, workload, bars), rounds=1)
