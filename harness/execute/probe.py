"""The probe: one case alone, for all that must not be measured while timing."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch

from harness.execute.setting import build, load_variants, start_device
from harness.execute.worker import Running
from harness.inputs import make_inputs, make_output_gradient
from harness.measure import kernels, memory, numerics
from harness.measure.calls import Call, make_buffers, once, prepare
from harness.measure.process import ProcessSettings
from harness.measure.truth import load
from harness.workload import Workload


def probe(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Does it run, is it right, what ran, first call, peak memory of `{"variant", "workload"}`."""
    Running(folder)(0)
    load_variants(payload["files"])
    workload = Workload.model_validate(payload["workload"])
    device = start_device(workload)
    truth = load(Path(payload["truth"]))
    inputs = make_inputs(workload)
    upstream = make_output_gradient(workload, truth.rows) if workload.has_gradients else None
    buffers = make_buffers(workload, inputs, upstream)
    mask = workload.build_mask()
    settings = ProcessSettings()
    begin = time.perf_counter()
    op = build(payload["variant"])
    call = prepare(op, workload, mask, buffers)
    prepare_s = time.perf_counter() - begin
    produced, first_call_s, _ = once(call, device)
    changed = settings.restore()
    if changed is not None:
        raise RuntimeError(changed)
    judged = numerics.judge(produced, truth, workload)
    if judged.wrong is None and not _unchanged(call, inputs):
        judged = dataclasses.replace(judged, wrong="it writes its inputs q, k or v")
    del produced
    call.forget()
    if call.workload.pass_ == "decode":
        call.before()
    used, profile = memory.measure(device, lambda: _profiled(call))
    return {
        "probe": {
            "prepare_s": prepare_s,
            "first_call_s": first_call_s,
            **dataclasses.asdict(used),
            "kernels": profile.kernels,
            "compiled_frames": kernels.compiled_frames(),
        },
        "numerics": dataclasses.asdict(judged),
        "fallback": kernels.fallback(op, workload, profile.kernels),
    }


def _profiled(call: Call) -> Any:
    # What backward needs was saved by its forward: it belongs to the peak.
    if call.workload.pass_ == "backward":
        call.before()
    return call.run()


def _unchanged(call: Call, inputs: tuple[torch.Tensor, ...]) -> bool:
    held = (call.buffers.q, call.buffers.k, call.buffers.v)
    return all(torch.equal(a.detach(), b) for a, b in zip(held, inputs, strict=True))
