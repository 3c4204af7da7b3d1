"""Two kernels timed one after the other, as benchmarks usually do: what a race is held against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Timer

from harness.device import Device
from harness.execute.setting import load_variants, measured, start_device
from harness.execute.slowed import slow_down
from harness.execute.worker import Running
from harness.inputs import make_inputs, make_output_gradient
from harness.measure.calls import Call, make_buffers, once, prepare
from harness.workload import Workload

WARMUP_S = 0.025
"""What triton.testing.do_bench warms up for."""

Median = Callable[[Call, Device, float], float]


def sequential(payload: dict[str, Any], folder: Path) -> dict[str, dict[str, float]]:
    """Time a kernel, then a copy of it: `{"workload", "variant", "seconds", "slowed"}`.

    seconds: what both together may take, for each method. By method: median seconds a call of
    the kernel (`first_s`) and of the copy (`second_s`), and the seconds that it took (`spent_s`).
    """
    running = Running(folder)
    load_variants(payload["files"])
    asked = Workload.model_validate(payload["workload"])
    device = start_device(asked.carried)
    kernel, copy = _calls(payload, asked, device)
    answers = {}
    for index, (name, median) in enumerate(METHODS.items()):
        running(index)
        begin = time.perf_counter()
        first, second = (median(call, device, payload["seconds"] / 2) for call in (kernel, copy))
        spent = time.perf_counter() - begin
        answers[name] = {"first_s": first, "second_s": second, "spent_s": spent}
    running(-1)
    return answers


def _calls(payload: dict[str, Any], asked: Workload, device: Device) -> tuple[Call, Call]:
    """The kernel and its copy on the same buffers, as in a race; each called once."""
    workload = asked.carried
    mask, upstream = workload.build_mask(), None
    if workload.has_gradients:
        upstream = make_output_gradient(workload, torch.arange(workload.q_len), 1)
    buffers = make_buffers(workload, make_inputs(workload, 1), upstream)
    op = measured(payload["variant"], asked)
    kernel, copy = (prepare(op, workload, mask, buffers) for _ in range(2))
    if payload["slowed"]:
        slow_down(copy, payload["slowed"], device)
    for call in (kernel, copy):
        once(call, device)
    return kernel, copy


def autorange(call: Call, device: Device, seconds: float) -> float:
    """Median of torch.utils.benchmark's blocked_autorange: means of many calls a value."""
    timer = Timer(
        "call()", globals={"call": call.run}, num_threads=call.workload.threads, label="control"
    )
    return float(timer.blocked_autorange(min_run_time=seconds).median)


def do_bench(call: Call, device: Device, seconds: float) -> float:
    """Median of single calls after a warm-up of 25 ms, as triton.testing.do_bench has it."""
    warm = time.perf_counter() + WARMUP_S
    while time.perf_counter() < warm:
        device.time(call.run)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        times.append(device.time(call.run).seconds)
    return statistics.median(times)


METHODS: dict[str, Median] = {"blocked_autorange": autorange, "do_bench": do_bench}
