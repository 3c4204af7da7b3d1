"""What a probe costs over its own run, beside a process that imports torch anew."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import variant
from harness.execute.workers import Workers
from harness.variant import definition_key
from harness.workload import Workload

TINY = Workload.model_validate({"heads": 1, "q_len": 16, "head_dim": 16})


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers() as started:
        yield started


def payload(workers: Workers) -> dict[str, Any]:
    variant.load_installed()
    spec = variant.parse_spec("softmax")
    assert not definition_key(variant.build(spec))[1]
    common = {
        "files": [],
        "workload": TINY.as_dict(),
        "variant": {"name": spec.name, "params": dict(spec.params)},
    }
    path = str(workers.scratch / "truth.pt")
    assert workers.run("truth", {**common, "path": path}, 60).answered
    return {**common, "truth": path}


def test_probe_over_its_own_run(workers: Workers, benchmark: Any, capsys: Any) -> None:
    asked = payload(workers)
    over: list[float] = []

    def once() -> None:
        begin = time.perf_counter()
        outcome = workers.run("probe", asked, 60)
        assert outcome.answered
        assert outcome.task_s is not None
        over.append(time.perf_counter() - begin - outcome.task_s)

    benchmark.pedantic(once, rounds=20, warmup_rounds=2)
    with capsys.disabled():
        print(f"\nprobe over its own run: median {statistics.median(over) * 1e3:.1f} ms")


def test_fresh_interpreter(benchmark: Any) -> None:
    command = [sys.executable, "-c", "import torch, torch._inductor"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True), rounds=3)


def test_run_of_one_block(benchmark: Any, tmp_path: Path) -> None:
    suite = tmp_path / "tiny.yaml"
    suite.write_text(
        "name: tiny\nvariants: [softmax]\nbaseline: softmax\n"
        "workloads: [{heads: 1, q_len: 16, head_dim: 16}]\nmeasure: {budget_s: 0.1}\n"
    )
    numbers = iter(range(100))

    def once() -> None:
        out = str(tmp_path / f"run-{next(numbers)}")
        command = [sys.executable, "-m", "harness.cli", "run", str(suite), "--out", out]
        subprocess.run(command, check=True, capture_output=True)

    benchmark.pedantic(once, rounds=3)
