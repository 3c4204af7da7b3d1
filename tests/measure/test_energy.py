"""Energy of a call, against a counter that moves in steps and a clock that only calls move."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from harness.device import CpuDevice
from harness.measure import energy
from harness.measure.calls import Call
from harness.measure.energy import EnergyMeter
from harness.records.schema import EnergyResult
from tests.build import workload

IDLE_W = 20.0


class Machine:
    """Draws IDLE_W always and more while it works; its counter is brought up to date at times."""

    name = "fake"
    unit_joules = 1e-6

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self.now = 0.0
        self.used = 0.0
        self.shown = 0.0
        self.updates = 0

    def pass_time(self, seconds: float, watts: float = 0.0) -> None:
        """Let time pass, in pieces that end where the counter is brought up to date."""
        end = self.now + seconds
        while self.now < end:
            following = (self.updates + 1) * self.period_s
            until = min(end, following)
            self.used += (until - self.now) * (IDLE_W + watts)
            self.now = until
            if until == following:
                self.updates, self.shown = self.updates + 1, self.used

    def joules(self) -> float:
        return self.shown


class FakeCall:
    """`before` takes 1 ms at 100 W where there is something to do, `run` 2 ms at 50 W.

    A decode has a prefill of 3 s.
    """

    def __init__(self, machine: Machine, pass_: str = "forward") -> None:
        self.machine, self.made, self.filled = machine, 0, 0
        self.workload = workload(pass_=pass_, q_len=1 if pass_ == "decode" else 16)
        self.forgotten = False

    def before(self) -> None:
        if self.workload.pass_ == "backward":
            self.machine.pass_time(1e-3, 100.0)
        if self.workload.pass_ == "decode":
            self.filled += 1
            self.machine.pass_time(3.0, 100.0)

    def run(self) -> None:
        self.made += 1
        self.machine.pass_time(2e-3, 50.0)

    def forget(self) -> None:
        self.forgotten = True


def measured(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, call: FakeCall
) -> tuple[EnergyResult | None, int]:
    beats = 0

    def alive() -> None:
        nonlocal beats
        beats += 1

    monkeypatch.setattr(energy, "perf_counter", lambda: machine.now)
    monkeypatch.setattr(energy, "sleep", machine.pass_time)
    meter = EnergyMeter(machine, CpuDevice())
    return meter.measure(cast(Call, call), 2e-3, alive), beats


@pytest.mark.parametrize("period_s", [0.001, 0.02])
def test_a_call_has_its_own_energy_and_not_what_rest_uses(
    monkeypatch: pytest.MonkeyPatch, period_s: float
) -> None:
    machine = Machine(period_s)
    call = FakeCall(machine)
    found, beats = measured(monkeypatch, machine, call)
    assert found is not None
    assert found.joules == pytest.approx(2e-3 * 50, rel=0.05)
    assert abs(found.joules - 0.1) <= found.resolution_joules
    assert found.idle_watts == pytest.approx(IDLE_W, rel=0.02)
    assert (found.counter, found.calls) == ("fake", call.made - 1)
    assert 1 < beats < found.calls
    assert call.forgotten


@pytest.mark.parametrize(("period_s", "share"), [(0.001, 0.02), (0.02, 0.02), (0.1, 0.05)])
def test_calls_are_made_until_a_step_is_a_small_share(
    monkeypatch: pytest.MonkeyPatch, period_s: float, share: float
) -> None:
    machine = Machine(period_s)
    found, _ = measured(monkeypatch, machine, FakeCall(machine))
    assert found is not None
    step, counted = 70.0 * period_s, 70.0 * 2e-3
    assert found.resolution_joules == pytest.approx(step / found.calls, rel=0.1)
    assert found.resolution_joules / counted <= share * 1.1
    assert found.calls * 2e-3 <= energy.MOST_S + 2 * energy.CHUNK_S


def test_what_is_not_timed_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.001)
    call = FakeCall(machine, "backward")
    found, _ = measured(monkeypatch, machine, call)
    assert found is not None
    assert found.joules == pytest.approx(0.1, rel=0.05)
    # Forward and backward draw 20 + (100 + 2 * 50) / 3 W; each of the two readings has its step.
    assert found.resolution_joules > 1.3 * 1e-3 * (20 + 200 / 3) / found.calls


def test_a_prefill_is_made_once_and_is_no_part_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.001)
    call = FakeCall(machine, "decode")
    found, _ = measured(monkeypatch, machine, call)
    assert found is not None
    assert call.filled == 1
    assert found.joules == pytest.approx(0.1, rel=0.05)
    assert found.resolution_joules == pytest.approx(1e-3 * 70 / found.calls, rel=0.1)


def test_a_counter_that_stands_still_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(math.inf)
    call = FakeCall(machine)
    assert measured(monkeypatch, machine, call) == (None, 0)
    assert call.made == 0
    assert machine.now == pytest.approx(energy.MOST_IDLE_S, rel=0.01)


def test_a_slow_counter_is_watched_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.7)
    found, _ = measured(monkeypatch, machine, FakeCall(machine))
    assert found is not None
    assert found.idle_watts == pytest.approx(IDLE_W, rel=0.02)


def test_a_machine_at_rest_counts_what_it_should() -> None:
    machine: Any = Machine(0.25)
    machine.pass_time(1.1)
    assert machine.joules() == pytest.approx(20.0)
