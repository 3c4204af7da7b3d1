"""The probe: one case alone, for all that must not be measured while timing."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.device import Device, Profile
from harness.execute.setting import load_variants, measured, start_device
from harness.execute.worker import Running
from harness.inputs import make_inputs, make_output_gradient
from harness.mask import Mask
from harness.measure import kernels, memory, numerics
from harness.measure.calls import Call, Produced, make_buffers, once, prepare
from harness.measure.memory import Memory
from harness.measure.process import GlobalGenerators
from harness.measure.properties import compiled_graphs
from harness.measure.repetition import FirstOutput, RandomStates
from harness.measure.semantics import Probed, Semantics, probe_semantics
from harness.measure.truth import Truth, load
from harness.variant import AttentionOp
from harness.workload import Workload

OTHER_SEED = 271_828


def probe(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is known of `{"variant", "workload", "truth"}` before it is timed.

    Does it run, is it right, does it hold what it claims, what ran, first call, peak memory.
    """
    Running(folder)(0)
    asked = Workload.model_validate(payload["workload"])
    workload = asked.carried
    device = start_device(workload)
    loaded = load_variants(payload["files"])
    _refuse(loaded.changes.get(payload["variant"]["name"]))
    case = _begin(
        measured(payload["variant"], asked), workload, load(Path(payload["truth"])), device
    )
    _refuse(loaded.settings.restore())
    judged = numerics.judge(case.produced, case.truth, workload)
    if judged.wrong is None and not _unchanged(case.call, case.inputs):
        judged = dataclasses.replace(judged, wrong="it writes its inputs q, k or v")
    first = None
    if judged.wrong is None and case.produced.output is not None:
        first = FirstOutput.keep(case.produced.output, case.truth, workload, case.drew)
    case.let_go()
    RandomStates(workload.device).reseed(OTHER_SEED)
    generators = GlobalGenerators()
    used, profile = _measured_memory(case.call, device)
    drew = generators.drawn()
    answer = {
        "probe": _told(case, used, profile),
        "numerics": dataclasses.asdict(judged),
        "fallback": kernels.fallback(case.call.op, workload, profile.kernels),
        "semantics": None,
    }
    # Last, so that its calls show neither in the memory nor in what was compiled.
    if first is not None:
        second = case.call.produced(profile.result)
        answer["semantics"] = dataclasses.asdict(_claims(case, first, second, drew))
        _refuse(loaded.settings.restore())
    return answer


@dataclass
class _Case:
    """A case that was called once."""

    call: Call
    inputs: tuple[torch.Tensor, ...]
    truth: Truth
    mask: Mask
    states: tuple[RandomStates, RandomStates]
    produced: Produced
    prepare_s: float
    first_call_s: float
    drew: str | None

    def let_go(self) -> None:
        """Free what the first call made; what decode needs before a call is made again."""
        self.produced = Produced(None)
        self.call.forget()
        if self.call.workload.pass_ == "decode":
            self.call.before()


def _begin(op: AttentionOp, workload: Workload, truth: Truth, device: Device) -> _Case:
    inputs = make_inputs(workload)
    upstream = make_output_gradient(workload, truth.rows) if workload.has_gradients else None
    buffers = make_buffers(workload, inputs, upstream)
    mask = workload.build_mask()
    unprepared = RandomStates(workload.device)
    begin = time.perf_counter()
    call = prepare(op, workload, mask, buffers)
    prepare_s = time.perf_counter() - begin
    uncalled, generators = RandomStates(workload.device), GlobalGenerators()
    produced, first_call_s, _ = once(call, device)
    # A first call that compiles may draw what it likes: the second one tells.
    drew = None if compiled_graphs() else generators.drawn()
    states = (unprepared, uncalled)
    return _Case(call, inputs, truth, mask, states, produced, prepare_s, first_call_s, drew)


def _refuse(changed: str | None) -> None:
    if changed is not None:
        raise RuntimeError(changed)


def _told(case: _Case, used: Memory, profile: Profile) -> dict[str, Any]:
    return {
        "prepare_s": case.prepare_s,
        "first_call_s": case.first_call_s,
        **dataclasses.asdict(used),
        "kernels": profile.kernels,
        "sent_bytes": None if case.call.team is None else case.call.team.sent_bytes,
        "compiled_frames": kernels.compiled_frames(),
    }


def _claims(case: _Case, first: FirstOutput, second: Produced, drew: str | None) -> Semantics:
    probed = Probed(case.call, case.truth, case.inputs, case.mask, first, case.states)
    return probe_semantics(probed, second, drew)


def _measured_memory(call: Call, device: Device) -> tuple[Memory, Profile]:
    """Of a team, the peaks of its workers together: what this process holds is the harness's."""
    team = call.team
    if team is None:
        return memory.measure(device, lambda: _profiled(call))
    team.reset()
    team.profiler = device.profile
    used, profile = memory.measure(device, lambda: _profiled(call))
    team.profiler = None
    used = dataclasses.replace(used, peak_bytes=team.peak_bytes, rss_peak_bytes=None)
    return used, dataclasses.replace(profile, kernels=team.kernels)


def _profiled(call: Call) -> Any:
    # What backward needs was saved by its forward: it belongs to the peak.
    if call.workload.pass_ == "backward":
        call.before()
        if call.team is not None:
            call.team.sent_bytes = 0  # by the forward, which is none of the pass
    return call.run()


def _unchanged(call: Call, inputs: tuple[torch.Tensor, ...]) -> bool:
    held = (call.buffers.q, call.buffers.k, call.buffers.v)
    return all(torch.equal(a.detach(), b) for a, b in zip(held, inputs, strict=True))
