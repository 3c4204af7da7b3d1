"""What is kept of a race beside its samples."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import pytest

from harness.device import CpuDevice, EnergyCounter
from harness.device.protocol import Clocks
from harness.execute import beside, checker, race
from harness.execute.beside import Beside
from harness.execute.worker import prepare_folder
from harness.measure.calls import Call
from harness.measure.latency import Entrant, Race
from harness.records.schema import EnergyResult, Launch
from tests.build import workload
from tests.execute.asking import described

OWN = {"tensor": 1e-6, "row": 1e-6, "gradient": 1e-6, "largest_v": 5.0}
USED = EnergyResult(joules=2.0, resolution_joules=0.1, idle_watts=9.0, calls=7, counter="fake")


class Counting(CpuDevice):
    """A CPU whose energy is counted."""

    counter: Any = object()

    def energy_counter(self) -> EnergyCounter | None:
        return cast(EnergyCounter, self.counter)


class FakeMeter:
    """Gives USED to every call but those that raise."""

    asked: list[str]
    raises: dict[str, Exception]

    def __init__(self, counter: Any, device: Any) -> None:
        if "counter" in self.raises:
            raise self.raises["counter"]

    def measure(self, call: Any, latency_s: float, alive: Any) -> EnergyResult:
        self.asked.append(call)
        alive()
        if call in self.raises:
            raise self.raises[call]
        return USED


@pytest.fixture(autouse=True)
def meter(monkeypatch: pytest.MonkeyPatch) -> type[FakeMeter]:
    monkeypatch.setattr(beside, "EnergyMeter", FakeMeter)
    FakeMeter.asked, FakeMeter.raises = [], {}
    return FakeMeter


def made(device: CpuDevice, *names: str) -> tuple[Beside, list[Entrant], list[int]]:
    entrants = [Entrant(name, cast(Call, name), rounds=[1.0]) for name in names]
    named: list[int] = []
    case = workload(threads=1)
    return Beside(case, device, entrants, named.append, budget_s=0.1), entrants, named


def test_energy_is_measured_of_all_but_copies_and_failures(meter: type[FakeMeter]) -> None:
    found, entrants, named = made(Counting(), "softmax", "control", "wrong", "sdpa")
    entrants[2].fault = ("incorrect", "off")
    found.measure_energy({"control"})
    assert meter.asked == ["softmax", "sdpa"]
    assert named == [0, -1, 3, -1]
    assert found.found(0)["energy"] == USED.model_dump()
    assert "energy" not in found.found(1)


def test_a_variant_that_raises_costs_only_itself(meter: type[FakeMeter]) -> None:
    found, entrants, named = made(Counting(), "softmax", "sdpa")
    meter.raises = {"softmax": ValueError("no such head")}
    found.measure_energy(())
    assert entrants[0].fault == ("error", "ValueError: no such head")
    assert "energy" in found.found(1)
    assert named[-1] == -1


@pytest.mark.parametrize("where", ["counter", "sdpa"])
def test_a_counter_that_is_gone_is_nobodys_fault(meter: type[FakeMeter], where: str) -> None:
    found, entrants, _ = made(Counting(), "softmax", "sdpa")
    meter.raises = {where: OSError("Permission denied")}
    found.measure_energy(())
    assert [entrant.fault for entrant in entrants] == [None, None]
    assert "energy" not in found.found(1)


def test_where_nothing_counts_energy_none_is_measured(meter: type[FakeMeter]) -> None:
    device = Counting()
    device.counter = None
    found, _, named = made(device, "softmax")
    found.measure_energy(())
    assert (meter.asked, named, found.found(0)) == ([], [], {})


def test_what_is_found_fits_a_launch() -> None:
    found, _, _ = made(CpuDevice(), "softmax")
    assert found.found(0) == {}
    found.ceilings.measure()
    found.running.rounds[0].append(4)
    launch = Launch(rounds_s=(1.0,), warmup_s=(), **found.found(0))
    assert launch.throttled == (4,)
    assert launch.ceilings == found.ceilings.best() is not None


class Told(CpuDevice):
    """A CPU that tells its throttling and counts 50 W."""

    name = "fake"
    unit_joules = 1e-6

    def clocks(self) -> Clocks:
        return Clocks(1000.0, ("power cap",))

    def energy_counter(self) -> EnergyCounter | None:
        return self

    def joules(self) -> float:
        return 50.0 * time.perf_counter()


def test_a_race_keeps_all_that_its_device_tells(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the meters are real here
    monkeypatch.setattr(race, "start_device", lambda case: Told())
    names = {"softmax": "softmax", "control": "softmax", "sdpa": "sdpa"}
    payload: dict[str, Any] = {
        "files": [],
        "workload": workload(threads=1).as_dict(),
        "entrants": [
            {"name": name, "variant": described(variant), "own": OWN}
            for name, variant in names.items()
        ],
        "has_baseline": True,
        "controls": ["control"],
        "rules": {"margin": 0.02, "alpha": 0.05, "budget_s": 0.05},
        "seed": 1,
        "energy": True,
    }
    prepare_folder(tmp_path, payload)
    softmax, control, sdpa = race.race(payload, tmp_path)
    for answer in (softmax, control, sdpa):
        assert answer["throttled"] == list(range(len(answer["rounds_s"])))
        assert answer["ceilings"]["matmul_flops_per_s"] > 0
    assert "energy" not in control
    assert (softmax["energy"]["counter"], sdpa["energy"]["calls"] > 0) == ("fake", True)
    # Rest and work draw the same here.
    assert softmax["energy"]["idle_watts"] == pytest.approx(50.0, rel=0.01)
    assert "energy" not in race.race({**payload, "energy": False}, tmp_path)[0]


def test_energy_is_measured_on_values_that_are_timed(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meter: type[FakeMeter]
) -> None:
    class EndingApart(Race):
        def run(self) -> None:
            self.refill(self.apart[0])

    monkeypatch.setattr(race, "start_device", lambda case: Counting())
    monkeypatch.setattr(race, "Race", EndingApart)
    monkeypatch.setattr(race, "Entrant", lambda name, call: Entrant(name, call, rounds=[1.0]))
    monkeypatch.setattr(checker, "ALL_ROWS_SCORES", 0)
    shape = workload(pass_="forward+backward", threads=1)
    payload: dict[str, Any] = {
        "files": [],
        "workload": shape.as_dict(),
        "entrants": [{"name": "softmax", "variant": described("softmax"), "own": OWN}],
        "has_baseline": False,
        "controls": [],
        "rules": {"margin": 0.02, "alpha": 0.05, "budget_s": 0.05},
        "seed": 1,
        "energy": True,
    }
    prepare_folder(tmp_path, payload)
    race.race(payload, tmp_path)
    (call,) = cast("list[Any]", meter.asked)
    assert bool((call.buffers.output_gradient != 0).all())
