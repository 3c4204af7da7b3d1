"""Energy of one call: a device's counter read around many of them, what it uses idle taken off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, sleep

from harness.device import Device, EnergyCounter
from harness.measure.calls import Call
from harness.records.schema import EnergyResult

IDLE_S, MOST_IDLE_S = 0.5, 2.0
POLL_S = 1e-3
SHARE = 0.02
"""Of what is counted, the counter's last step may be: it decides for how long calls are made."""
LEAST_S, MOST_S = 0.1, 2.0
CHUNK_S = 0.01
"""Of calls that are made without waiting for the device in between."""


@dataclass(frozen=True)
class _Idle:
    """Power at rest, and how often the counter is brought up to date."""

    watts: float
    period_s: float


@dataclass(frozen=True)
class _Used:
    """Joules of one repetition above idle, and the counter's step spread over them."""

    joules: float
    resolution_joules: float
    times: int


class EnergyMeter:
    """Reads one counter; the device should have nothing else to do, or the same all the time.

    A counter is brought up to date every millisecond (RAPL) to 100 ms (NVML), which is found by
    watching it at rest. What the counter moves by in that time under load is its step: calls are
    made until it is SHARE of what they use, or MOST_S have passed.
    """

    def __init__(self, counter: EnergyCounter, device: Device) -> None:
        self._counter, self._device = counter, device
        self._idle = self._rest()

    def measure(
        self, call: Call, latency_s: float, alive: Callable[[], None]
    ) -> EnergyResult | None:
        """Joules of one timed call; None where the counter stands still.

        alive() is called now and then. A prefill is made once, for a step leaves the state as it
        is. The forward of a backward pass is made and counted again alone, and taken off.
        """
        if self._idle is None:
            return None
        backward = call.workload.pass_ == "backward"

        def both() -> None:
            call.before()
            call.run()

        call.before()
        used = self._repeated(both if backward else call.run, latency_s, alive)
        joules, resolution = used.joules, used.resolution_joules
        if backward:
            apart = self._repeated(call.before, latency_s, alive)
            joules, resolution = joules - apart.joules, resolution + apart.resolution_joules
        call.forget()
        return EnergyResult(
            joules=joules,
            resolution_joules=resolution,
            idle_watts=self._idle.watts,
            calls=used.times,
            counter=self._counter.name,
        )

    def _rest(self) -> _Idle | None:
        """What the counter does while nothing runs; None when it does not move."""
        self._device.synchronize()
        begin, last = perf_counter(), self._counter.joules()
        moved: list[tuple[float, float]] = []
        while True:
            sleep(POLL_S)
            now, joules = perf_counter(), self._counter.joules()
            if joules != last:
                moved.append((now, joules))
                last = joules
            waited = now - begin
            if (len(moved) > 1 and waited >= IDLE_S) or waited >= MOST_IDLE_S:
                break
        if len(moved) < 2:
            return None
        # From one move to another, so that no part of a step is left out.
        (first_s, first), (last_s, last) = moved[0], moved[-1]
        return _Idle((last - first) / (last_s - first_s), (last_s - first_s) / (len(moved) - 1))

    def _repeated(
        self, action: Callable[[], None], latency_s: float, alive: Callable[[], None]
    ) -> _Used:
        assert self._idle is not None
        enough_s = min(max(self._idle.period_s / SHARE, LEAST_S), MOST_S)
        chunk = max(1, int(CHUNK_S / max(latency_s, 1e-6)))
        action()
        self._device.synchronize()
        times, begin, start = 0, perf_counter(), self._counter.joules()
        seconds = 0.0
        while seconds < enough_s:
            alive()
            for _ in range(chunk):
                action()
            self._device.synchronize()
            times += chunk
            seconds = perf_counter() - begin
        used = self._counter.joules() - start
        seconds = perf_counter() - begin
        step = max(used / seconds * self._idle.period_s, self._counter.unit_joules)
        return _Used((used - self._idle.watts * seconds) / times, step / times, times)
