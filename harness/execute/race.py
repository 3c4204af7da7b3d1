"""A launch: the survivors of a block raced in one process, their timed outputs checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.device import Device
from harness.execute.beside import Beside
from harness.execute.checker import Checker, Pool
from harness.execute.setting import Loaded, load_variants, measured, start_device
from harness.execute.slowed import slow_down
from harness.execute.worker import Running
from harness.mask import Mask
from harness.measure.calls import Call, once, prepare
from harness.measure.faults import reason_of, status_of
from harness.measure.kernels import allow_compilations, fallback, ran_eagerly
from harness.measure.latency import Entrant, Race, Rules
from harness.measure.timed import Inspector
from harness.workload import Workload


def race(payload: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Race `{"entrants", "workload", "rules", "seed"}`; the samples or the fault of each.

    entrants: `{"name", "variant", "own"}` in order, the baseline first when `has_baseline`, own
    the error of its definition in the case's dtype; an entrant with `slowed` is made slower by
    that share. energy: measure it afterwards, where the device counts any.
    """
    running = Running(folder)
    asked = Workload.model_validate(payload["workload"])
    workload = asked.carried
    device = start_device(workload)
    allow_compilations(len(payload["entrants"]))
    loaded = load_variants(payload["files"])
    pool = Pool(workload)
    inspector = Inspector(
        value=Checker(pool, payload["entrants"]),
        written=pool.written,
        inputs=pool.held(),
        settings=loaded.settings,
    )
    start = _Start(asked, workload, device, workload.build_mask(), pool, loaded, inspector)
    entrants = []
    for index, described in enumerate(payload["entrants"]):
        running(index)
        entrants.append(start.entrant(described))
    running(-1)
    beside = Beside(workload, device, entrants, running, payload["rules"]["budget_s"])
    Race(
        entrants=entrants,
        device=device,
        rules=Rules(**payload["rules"]),
        refill=pool.refill,
        inspector=inspector,
        running=beside.running,
        has_baseline=payload["has_baseline"],
        controls=frozenset(payload["controls"]),
        draws=pool.draws,
        apart=pool.apart,
        seed=payload["seed"],
        between=beside.ceilings.measure,
    ).run()
    if payload.get("energy"):
        pool.refill(0)  # the last draw may be one that is never timed
        beside.measure_energy(payload["controls"])
    return [_answer(entrant) | beside.found(index) for index, entrant in enumerate(entrants)]


@dataclass(frozen=True)
class _Start:
    """What entrants are made ready with: prepared, and called once."""

    asked: Workload
    workload: Workload
    device: Device
    mask: Mask
    pool: Pool
    loaded: Loaded
    inspector: Inspector

    def entrant(self, described: Mapping[str, Any]) -> Entrant:
        """One that may race, or its fault."""
        entrant = Entrant(described["name"], None)  # type: ignore[arg-type]
        changed = self.loaded.changes.get(described["variant"]["name"])
        if changed is not None:
            entrant.fault = ("error", changed)
            return entrant
        try:
            entrant.call = self._called_once(described)
            other = self._other_kernel(entrant.call)
            entrant.fault = self.inspector.process(searched=True)
            if other is not None and entrant.fault is None:
                entrant.fault = ("fallback", other)
            if self.workload.compile and entrant.fault is None:
                eager = ran_eagerly(_again(entrant.call))
                entrant.fault = None if eager is None else ("fallback", eager)
        except Exception as error:  # a variant that raises costs only itself
            # A device that it broke for all raises again, while this is the one that is named.
            self.device.synchronize()
            entrant.fault = (status_of(error), reason_of(error))
            self.inspector.process(searched=True)
        return entrant

    def _other_kernel(self, call: Call) -> str | None:
        """Why on some values of the race another kernel runs than was asked for."""
        if not (call.op.adaptive and call.op.expected_kernels(self.workload)):
            return None
        for draw in range(self.pool.draws):
            self.pool.refill(draw)
            call.before()
            ran = self.device.profile(call.run).kernels
            found = fallback(call.op, self.workload, ran)
            if found is not None:
                return found
        return None

    def _called_once(self, described: Mapping[str, Any]) -> Call:
        self.pool.refill(self.pool.draws - 1)
        op = measured(described["variant"], self.asked)
        call = prepare(op, self.workload, self.mask, self.pool.buffers)
        if "slowed" in described:
            slow_down(call, described["slowed"], self.device)
        once(call, self.device)
        return call


def _again(call: Call) -> Callable[[], None]:
    def again() -> None:
        call.before()
        call.run()

    return again


def _answer(entrant: Entrant) -> dict[str, Any]:
    if entrant.fault is not None:
        status, reason = entrant.fault
        return {"name": entrant.name, "status": status, "reason": reason[:2000]}
    return {
        "name": entrant.name,
        "rounds_s": [round(seconds, 9) for seconds in entrant.rounds],
        "warmup_s": [round(seconds, 9) for seconds in entrant.warmup],
        "host_s": [round(seconds, 9) for seconds in entrant.host],
    }
