"""The ceilings of the machine as a whole: products of every dtype, a large copy, one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from harness.execute.setting import start_device
from harness.execute.worker import Running
from harness.measure.ceilings import CeilingMeter
from harness.roofline import best
from harness.workload import Dtype, Workload

TIMES, ALLOWANCE_S = 4, 0.4
"""Measurements of each dtype, and the seconds of calls that all of them may take."""
LARGE: dict[str, Any] = {"q_len": 1 << 17, "head_dim": 128}
"""More than the copied buffer may have: it is then as large as the meter makes any."""


def ceilings(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The best rates of `{"device", "threads"}`; what the device does not do is left out.

    matmul_flops_per_s: by dtype, and `tf32` on CUDA. bytes_per_s: of a large copy, or of reading
    alone where that is faster. call_s: seconds of the smallest operator.
    """
    running = Running(folder)
    workloads = [
        Workload.model_validate({**LARGE, **payload, "dtype": dtype}) for dtype in get_args(Dtype)
    ]
    device = start_device(workloads[0])
    products: dict[str, float] = {}
    found = []
    for index, workload in enumerate(workloads):
        running(index)
        meter = CeilingMeter(workload, device, ALLOWANCE_S)
        for _ in range(TIMES):
            meter.measure()
        found.append(meter.best())
        # 16-bit meters measure float32 too; the highest of all is what the machine can do.
        products |= {
            name: max(rate, products.get(name, 0.0)) for name, rate in meter.products().items()
        }
    running(-1)
    overall = best(found)
    told: dict[str, Any] = {"device": payload["device"], "threads": payload["threads"]}
    if overall is None:
        return told
    return {
        **told,
        "matmul_flops_per_s": products,
        "bytes_per_s": overall.copy_bytes_per_s,
        "call_s": overall.call_s,
    }
