"""attnbench machine: what it prints for readers and for programs, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from harness import machine
from harness.cli.options import read_margin
from harness.errors import OptionError, RunError
from harness.execute import control
from harness.execute.control import Trial
from harness.execute.tally import Answer
from harness.execute.workers import Outcome, Workers
from tests.cli.conftest import Call

KNOWN: dict[str, Any] = {
    "usable_cpus": 8,
    "torch": "2.10",
    "cpu": {
        "model": "Example 3000",
        "sockets": 1,
        "physical_cores": 4,
        "logical_cpus": 8,
        "smt": True,
        "usable_cores": 4,
        "one_cpu_a_core": "0-3",
        "l2_bytes": 1 << 20,
        "l3_bytes": 32 << 20,
        "l3_cpus": 8,
    },
    "frequency": {"governor": "powersave", "turbo": True, "max_mhz": 3200},
    "numa": {"nodes": 2, "cpus": ["0-3", "4-7"], "distances": ["10 20", "20 10"]},
    "memory": {"total_bytes": 8 << 30, "available_bytes": 4 << 30, "swap_bytes": 0},
    "container": {"cpus": 1.5, "periods": 10, "throttled_periods": 5},
    "virtual": {"machine": True, "steal": 0.02},
    "load_average": [7.0, 1.0, 0.5],
    "on_battery": False,
    "threads": {"torch": 8},
    "thread_variables": {"OMP_NUM_THREADS": "4"},
    "libraries": {"mkl": "2024.2"},
    "allocator_variables": {"preloaded": ["libjemalloc.so.2"]},
    "energy": {"cpu": {"absent": "no RAPL here"}, "cuda": {"counter": "NVML"}},
    "gpu": {"model": "NVIDIA H100", "power_watts": 80.4, "throttled": ["power cap"], "mig": True},
}
PRINTED = (
    "Example 3000, sockets 1, cores 4, logical CPUs 8, usable 8, SMT on",
    "L2 1 MiB, L3 32 MiB for 8 CPUs",
    "3200 MHz at most, governor powersave, turbo on",
    "2 nodes (CPUs 0-3 | 4-7; distances 10 20 | 20 10)",
    "8 GiB, 4 GiB available, no swap",
    "1.5 CPUs' worth of time, stopped in 5 of 10 periods",
    "virtual machine, steal 2.00% of busy time, load 7.00 1.00 0.50, on mains",
    "torch 8, OMP_NUM_THREADS=4",
    "torch 2.10, mkl 2024.2",
    "preloaded=libjemalloc.so.2",
    "NVIDIA H100, 80 W, held back by power cap, MIG on",
    "cpu: not measured, no RAPL here; cuda: NVML",
    "- governor is powersave: ",
    "remedy: run `cpupower frequency-set -g performance`",
    "remedy: run under `taskset -c 0-3`",
)


def _reached(self: Workers, task: str, payload: dict[str, Any], timeout_s: float) -> Outcome:
    """What a worker says of ceilings; that of the GPU dies."""
    assert task == "ceilings"
    assert payload["threads"] == 8
    if payload["device"] == "cuda":
        return Outcome(signal="SIGSEGV")
    rates = {"float32": 1.234e12, "float16": 5e9}
    told = {"matmul_flops_per_s": rates, "bytes_per_s": 3.68e10, "call_s": 8.8e-7}
    return Outcome(result={**payload, **told})


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "describe_machine", lambda: KNOWN)
    monkeypatch.setattr(Workers, "run", _reached)
    monkeypatch.setenv("COLUMNS", "160")


def test_what_is_printed_for_a_reader(call: Call, known: None) -> None:
    answer = call("machine")
    assert (answer.code, answer.err) == (0, "")
    for text in PRINTED:
        assert text in answer.out


def test_ceilings_are_printed_and_a_failure_is_told(call: Call, known: None) -> None:
    lines = _lines(call("machine").out)
    assert "ceilings of the cpu, 8 threads".split() in lines
    assert "matrix product float32 1.23 TFLOP/s".split() in lines
    assert "matrix product float16 5.00 GFLOP/s".split() in lines
    assert "memory, copied or read 36.8 GB/s".split() in lines
    assert "smallest call 880 ns".split() in lines
    assert "ceilings of the cuda".split() in lines
    assert "not measured: the process was killed by SIGSEGV".split() in lines
    told = json.loads(call("machine", "--json").out)["ceilings"]
    assert [found["device"] for found in told] == ["cpu", "cuda"]
    assert told[0]["call_s"] == 8.8e-7
    assert told[1]["reason"] == "the process was killed by SIGSEGV"


def test_a_machine_that_tells_little_has_few_lines(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "describe_machine", lambda: {"usable_cpus": 2, "cpu": {}})
    monkeypatch.setattr(Workers, "run", lambda *_: Outcome(result={"device": "cpu", "threads": 2}))
    answer = call("machine")
    assert answer.code == 0
    assert "not measured: no memory for it" in answer.out
    assert "nothing found that would hurt measurements" in answer.out
    assert "None" not in answer.out.split("GPU")[0]
    assert not {"caches", "clock", "NUMA", "limits", "host"} & set(answer.out.split())


def test_json_is_one_document(call: Call, known: None) -> None:
    answer = call("machine", "--json")
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert told["machine"] == KNOWN
    assert [hazard["name"] for hazard in told["hazards"]][:2] == ["governor", "turbo"]
    assert set(told["hazards"][0]) == {"name", "found", "why", "remedy"}
    assert "control" not in told


def _pretend(monkeypatch: pytest.MonkeyPatch, ends: type[BaseException] | None = None) -> None:
    def run(self: Any, trials: Sequence[Trial], listen: Callable[..., None]) -> None:
        for trial in trials:
            if ends is not None and trial.number == 1:
                raise ends("the kernel died") if ends is RunError else ends
            text = str(trial.block.workload)
            listen(
                trial.number,
                [
                    Answer("race", text, trial.slowed, "slower" if trial.slowed else "same", 1, 2),
                    Answer("do_bench", text, trial.slowed, "faster", 0.5, 2),
                ],
            )

    monkeypatch.setattr(control.Control, "run", run)


def _lines(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def test_a_control_is_a_table(call: Call, known: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch)
    answer = call("machine", "--control", "4", "--margin", "5%", "--budget", "3")
    assert answer.code == 0
    assert "against a copy of itself, margin 0.05, alpha 0.05, 2 launches, at most 3 s" in (
        answer.out
    )
    copies = ["race", "4", "0", "(0.0%)", "0.0%", "to", "60.2%", "4", "0", "2.0", "s"]
    found = ["race", "1", "1", "(100.0%)", "2.5%", "to", "100.0%", "0", "0", "2.0", "s"]
    missed = ["do_bench", "1", "0", "(0.0%)", "0.0%", "to", "97.5%", "0", "0", "2.0", "s"]
    assert copies in _lines(answer.out)
    assert missed in _lines(answer.out), "faster is no find"
    assert found in _lines(answer.out)
    assert "the copy made 5% slower" in answer.out
    assert [line.split()[0] for line in answer.err.splitlines()] == [
        f"[{n}/5]" for n in range(1, 6)
    ]
    assert "race same 1.0000 (2.0 s); do_bench faster 0.5000 (2.0 s)" in answer.err


def test_a_control_for_a_program(call: Call, known: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch)
    told = json.loads(call("machine", "--control", "4", "--set", "q_len=64", "--json").out)
    found = told["control"]
    assert found["kernel"] == "sdpa(backend=flash)"
    assert ["L64" in text for text in found["workloads"]] == [True]
    assert (found["margin"], found["launches"], found["budget_s"]) == (0.02, 2, 20)
    assert len(found["trials"]) == 10
    assert [(line["method"], line["slowed"], line["trials"]) for line in found["summary"]] == [
        ("race", 0.0, 4),
        ("do_bench", 0.0, 4),
        ("race", 0.05, 1),
        ("do_bench", 0.05, 1),
    ]


@pytest.mark.parametrize(
    ("ends", "code", "why"), [(KeyboardInterrupt, 3, "interrupted"), (RunError, 2, "kernel died")]
)
def test_what_was_measured_before_the_end_is_printed(
    call: Call,
    known: None,
    monkeypatch: pytest.MonkeyPatch,
    ends: type[BaseException],
    code: int,
    why: str,
) -> None:
    _pretend(monkeypatch, ends)
    answer = call("machine", "--control", "8")
    assert answer.code == code
    assert why in answer.err.splitlines()[-1]
    assert ["race", "1", "0", "(0.0%)", "0.0%", "to", "97.5%", "1", "0", "2.0", "s"] in _lines(
        answer.out
    )


@pytest.mark.parametrize(("text", "value"), [("2%", 0.02), ("0.02", 0.02), (" 2.5 % ", 0.025)])
def test_a_margin(text: str, value: float) -> None:
    assert read_margin(None, None, text) == pytest.approx(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "2", "0%", "-1%", "100%", "two", "2%%", "nan"])
def test_no_margin(text: str) -> None:
    with pytest.raises(OptionError, match="must lie between 0 and 100%"):
        read_margin(None, None, text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--margin", "2%"], "--margin is an option of the control; add --control 20"),
        (["--set", "q_len=8"], "--set is an option of the control; add --control 20"),
        (
            ["--control", "4", "--budget", "0"],
            "--budget must be above 0 seconds, found 0; write 10",
        ),
        (["--control", "4", "--set", "q_lne=8"], "unknown field 'q_lne'; did you mean q_len"),
        (["--control", "4", "--set", "pass=backward"], "write --set pass=forward+backward"),
    ],
)
def test_what_is_refused(refusal: Callable[..., str], words: list[str], text: str) -> None:
    assert text in refusal("machine", *words)


@pytest.mark.skipif(sys.platform != "linux", reason="forks, as only Linux can safely")
def test_a_real_control(call: Call) -> None:
    words = ["--set", "q_len=8", "--set", "head_dim=8", "--set", "threads=1", "--budget", "0.2"]
    answer = call("machine", "--control", "1", "--json", *words)
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    (ceilings,) = document["ceilings"]
    assert set(ceilings["matmul_flops_per_s"]) == {"float32", "bfloat16", "float16", "float64"}
    assert min(*ceilings["matmul_flops_per_s"].values(), ceilings["bytes_per_s"]) > 0
    assert ceilings["call_s"] > 0
    told = document["control"]
    assert [line["method"] for line in told["summary"]] == [
        "race",
        "blocked_autorange",
        "do_bench",
    ] * 2
