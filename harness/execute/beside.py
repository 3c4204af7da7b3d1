"""What is measured beside a race, in its process: ceilings, throttling, and then energy."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from harness.device import Device
from harness.execute.setting import start_device
from harness.measure.ceilings import CeilingMeter
from harness.measure.energy import EnergyMeter
from harness.measure.faults import reason_of, status_of
from harness.measure.latency import Entrant
from harness.measure.throttling import ThrottleWatch
from harness.workload import Workload

CEILINGS_SHARE, CEILINGS_MOST_S = 0.04, 0.06
"""Of a launch's budget, and at most, what ceilings may take after their first measurement."""


AGAIN_S, PAUSE_S = 1.0, 0.02
"""How long ceilings are measured when they decide whether a case is impossible, with pauses."""


def limits(payload: dict[str, Any], folder: Path) -> dict[str, float]:
    """The ceilings of `{"workload"}`, measured for longer than beside a race; {} where none are."""
    workload = Workload.model_validate(payload["workload"]).carried
    meter = CeilingMeter(workload, start_device(workload), AGAIN_S)
    begin = time.perf_counter()
    while time.perf_counter() - begin < AGAIN_S:
        meter.measure()
        time.sleep(PAUSE_S)
    best = meter.best()
    return {} if best is None else dataclasses.asdict(best)


class Beside:
    """Give a race `running` and `ceilings.measure` (as `between`), and ask for `found` after it."""

    def __init__(
        self,
        workload: Workload,
        device: Device,
        entrants: Sequence[Entrant],
        running: Callable[[int], None],
        budget_s: float,
    ) -> None:
        self._device, self._entrants = device, entrants
        self.running = ThrottleWatch(device, entrants, running)
        allowance_s = min(CEILINGS_SHARE * budget_s, CEILINGS_MOST_S)
        self.ceilings = CeilingMeter(workload, device, allowance_s)
        self._energy: dict[str, dict[str, Any]] = {}

    def measure_energy(self, controls: Collection[str]) -> None:
        """Energy of every entrant but the copies, where the device counts any; takes seconds."""
        counter = self._device.energy_counter()
        if counter is None:
            return
        try:
            meter = EnergyMeter(counter, self._device)
            for index, entrant in enumerate(self._entrants):
                if entrant.fault is None and entrant.rounds and entrant.name not in controls:
                    self._measure_energy_of(index, meter)
        except OSError:
            return  # the counter, or the right to read it, is gone: what is measured stays

    def _measure_energy_of(self, index: int, meter: EnergyMeter) -> None:
        entrant = self._entrants[index]
        try:
            used = meter.measure(
                entrant.call, statistics.median(entrant.rounds), lambda: self.running(index)
            )
        except OSError:
            raise
        except Exception as error:  # a variant that raises costs only itself
            # A device that it broke for all raises again, while this is the one that is named.
            self._device.synchronize()
            entrant.fault = (status_of(error), reason_of(error))
        else:
            if used is not None:
                self._energy[entrant.name] = used.model_dump()
        self.running(-1)

    def found(self, index: int) -> dict[str, Any]:
        """What a launch of this entrant keeps beside its samples; nothing of what is not known."""
        best, entrant = self.ceilings.best(), self._entrants[index]
        known = {
            "throttled": self.running.rounds[index],
            "ceilings": None if best is None else dataclasses.asdict(best),
            "energy": self._energy.get(entrant.name),
        }
        return {name: value for name, value in known.items() if value}
