from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch

from harness.device import CpuDevice, Device, Timing
from harness.measure import latency, timed
from harness.measure.budget import WARMUP_SHARE
from harness.measure.calls import Call, Produced
from harness.measure.latency import Entrant, Race, Rules
from harness.measure.timed import Care, Inspector

Times = Callable[[int], float]
WARMUPS = latency.WARMUP_LEAST


class Scripted:
    """A call whose n-th run takes the n-th scripted time, and may raise."""

    def __init__(self, name: str, times: Iterable[float], log: list[str]) -> None:
        self.name, self.times, self.log = name, iter(times), log
        self.raises_at: int | None = None
        self.runs = 0

    def before(self) -> None:
        self.log.append(f"before {self.name}")

    def run(self) -> float:
        self.runs += 1
        if self.runs == self.raises_at:
            raise ValueError("no such head")
        self.log.append(self.name)
        return next(self.times)

    def time(self, device: Device) -> Timing:
        return device.time(self.run)

    def produced(self, result: Any) -> Produced:
        return Produced(None)


class Clock:
    """Stands in for the clock; tells the time that calls have taken."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeDevice(CpuDevice):
    """Takes the time that a call returns."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def time(self, call: Callable[[], Any]) -> Timing:
        seconds = call()
        self.clock.now += seconds
        return Timing(seconds, seconds, 0.25 * seconds)


@dataclass
class Watched(Inspector):
    """Tells how closely each call is looked at, once it was made."""

    watched: Callable[[Care], None] = lambda care: None

    def after(self, *args: Any) -> Any:
        self.watched(args[-1])
        return super().after(*args)


class Track:
    """A race of scripted calls, and what happened in it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.log: list[str] = []
        self.draws: list[int] = []
        self.named: list[int] = []
        self.entrants: list[Entrant] = []
        self.wrong: tuple[str, int] | None = None
        self.checks: dict[str, int] = {}
        self.pauses: list[int] = []
        self.watched: Callable[[Care], None] = lambda care: None
        self.apart: tuple[int, ...] = ()

    def add(self, name: str, times: Iterable[float]) -> Scripted:
        call = Scripted(name, times, self.log)
        self.entrants.append(Entrant(name, cast(Call, call)))
        return call

    def race(self, *, budget_s: float = 2000.0, has_baseline: bool = True) -> None:
        Race(
            entrants=self.entrants,
            device=FakeDevice(self.clock),
            rules=Rules(margin=0.02, alpha=0.05, budget_s=budget_s),
            refill=self.draws.append,
            inspector=Watched(self._check, lambda draw: None, watched=self.watched),
            running=self.named.append,
            has_baseline=has_baseline,
            controls=frozenset({"control"}),
            draws=4,
            apart=self.apart,
            seed=3,
            between=self._between,
        ).run()

    def _between(self) -> None:
        self.pauses.append(len(self.entrants[0].rounds))
        self.clock.now += 1000.0

    def _check(self, entrant: Entrant, produced: Produced, draw: int) -> str | None:
        self.checks[entrant.name] = self.checks.get(entrant.name, 0) + 1
        if self.wrong == (entrant.name, self.checks[entrant.name]):
            return "row 3 is off"
        return None

    def runs(self) -> list[str]:
        return [line for line in self.log if not line.startswith("before")]


@pytest.fixture
def track(monkeypatch: pytest.MonkeyPatch) -> Track:
    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter", clock)
    monkeypatch.setattr(timed, "_sleep", lambda seconds: None)
    return Track(clock)


def _steady(seconds: float) -> Iterator[float]:
    """Times about `seconds` that alternate by 0.1%."""
    return (seconds * (1.001 if n % 2 else 1.0) for n in itertools.count())


def _swinging(seconds: float) -> Iterator[float]:
    """Times that swing by 8% for tens of rounds: nothing that small is ever decided."""
    return (seconds * math.exp(0.08 * math.sin(n / 7)) for n in itertools.count())


def test_every_entrant_runs_once_a_round_in_random_order(track: Track) -> None:
    names = ["softmax", "control", "a", "b"]
    for name in names:
        track.add(name, _steady(1.0) if name == "softmax" else _swinging(1.0))
    track.race(budget_s=100.0)
    runs = track.runs()
    rounds = [tuple(runs[at : at + 4]) for at in range(0, len(runs), 4)]
    assert len(rounds) > 16
    assert all(sorted(order) == sorted(names) for order in rounds)
    assert len(set(rounds)) > 6
    assert {order[0] for order in rounds} == set(names)


def test_each_call_is_refilled_prepared_and_named(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    track.add("a", _steady(0.5))
    track.race()
    runs = track.runs()
    assert track.log == [line for name in runs for line in (f"before {name}", name)]
    assert len(track.draws) == len(runs)
    assert all(len(set(track.draws[at : at + 3])) == 1 for at in range(0, 33, 3))
    assert set(track.draws) == {0, 1, 2, 3}
    assert track.named[-1] == -1
    order = [name for name, before in zip(track.named, [-1, *track.named], strict=False)
             if name >= 0 and before < 0]  # fmt: skip
    assert [track.entrants[index].name for index in order] == runs


def test_faster_and_slower_ones_leave_when_decided(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    fast, slow = track.add("fast", _steady(0.5)), track.add("slow", _steady(2.0))
    near = track.add("near", _steady(1.0))
    track.race()
    assert (fast.runs, slow.runs) == (WARMUPS + 8, WARMUPS + 8)
    assert near.runs > WARMUPS + 16
    assert [entrant.decided for entrant in track.entrants] == [False, True, True, True, True]
    samples = track.entrants[2]
    assert (len(samples.warmup), len(samples.rounds)) == (WARMUPS, 8)
    assert samples.rounds == pytest.approx([0.5] * 8, rel=0.01)
    assert samples.host == pytest.approx([0.125] * 8, rel=0.01)


def test_the_budget_ends_the_race_after_its_first_look(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    track.add("near", _swinging(1.0))
    track.race(budget_s=10.0)  # spent in the fourth round; the first look comes in the eighth
    assert [len(entrant.rounds) for entrant in track.entrants] == [8, 8, 8]


def test_the_overdraft_ends_the_race_whatever_it_has_seen(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    track.add("near", _swinging(1.0))
    track.race(budget_s=2.0)
    assert [len(entrant.rounds) for entrant in track.entrants] == [6, 6, 6]


def test_warm_up_ends_when_times_are_stable(track: Track) -> None:
    track.add("softmax", _steady(0.001))
    track.add("control", _steady(0.001))
    falling = [0.02, 0.01, 0.005, 0.0025, 0.0012, 0.00055]
    track.add("late", itertools.chain(falling, _steady(0.0005)))
    track.race()
    assert len(track.entrants[0].warmup) == len(falling) + 1
    assert track.entrants[2].warmup[: len(falling)] == falling


def test_warm_up_has_an_end(track: Track) -> None:
    track.add("softmax", _steady(0.3))
    track.add("control", _steady(0.3))
    track.add("restless", (0.01 * 2.0**-n for n in itertools.count()))
    track.race(budget_s=2.0)
    spent = [sum(times) for times in zip(*(e.warmup for e in track.entrants), strict=True)]
    assert sum(spent) > WARMUP_SHARE * 2.0
    assert len(spent) == 2


def test_an_entrant_that_raises_costs_only_itself(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    track.add("broken", _steady(1.0)).raises_at = WARMUPS + 4
    track.add("fast", _steady(0.5))
    track.race()
    assert track.entrants[2].fault == ("error", "ValueError: no such head")
    assert len(track.entrants[2].rounds) == 3
    assert track.entrants[3].decided
    assert [entrant.fault for entrant in track.entrants if entrant.name != "broken"] == [None] * 3


def test_a_wrong_timed_output_takes_its_entrant_out(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    track.add("lying", _steady(0.5))
    track.add("near", _steady(1.0))
    track.wrong = "lying", 3
    track.race()
    assert track.entrants[2].fault == ("incorrect", "a timed call was wrong: row 3 is off")
    assert not track.entrants[2].decided
    assert track.entrants[3].decided
    # The first two of the warm-up, the first two rounds, and some at random.
    assert track.checks["near"] >= 4
    assert track.checks["near"] < 0.5 * len(track.entrants[3].rounds)


def test_a_faulted_baseline_ends_the_race(track: Track) -> None:
    track.add("softmax", _steady(1.0)).raises_at = WARMUPS + 3
    track.add("control", _steady(1.0))
    track.add("near", _steady(1.0))
    track.race()
    assert track.entrants[0].fault == ("error", "ValueError: no such head")
    assert len(track.entrants[2].rounds) <= 3
    assert not track.entrants[2].decided


def test_the_control_does_not_hold_the_race_open(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _swinging(1.0))
    track.add("fast", _steady(0.4))
    track.race()
    assert [len(entrant.rounds) for entrant in track.entrants] == [8, 8, 8]
    assert not track.entrants[1].decided


def test_a_baseline_alone_is_raced_against_its_control(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    track.race()
    assert track.entrants[1].decided
    assert len(track.entrants[0].rounds) >= 32


def test_without_a_baseline_everyone_gives_as_many_samples(track: Track) -> None:
    track.add("a", _steady(1.0))
    track.add("b", _steady(2.0)).raises_at = WARMUPS + 2
    track.race(has_baseline=False)
    assert len(track.entrants[0].rounds) == 32
    assert track.entrants[1].fault is not None


def test_a_baseline_whose_rivals_all_fail_is_timed_beside_its_copy(track: Track) -> None:
    track.add("softmax", itertools.repeat(1.0))
    track.add("control", itertools.repeat(1.0))
    track.add("broken", itertools.repeat(1.0)).raises_at = 1
    track.race()
    assert track.entrants[2].fault is not None
    assert len(track.entrants[0].rounds) >= 8
    assert len(track.entrants[1].rounds) == len(track.entrants[0].rounds)


def test_a_call_that_changes_the_process_costs_itself_alone(track: Track) -> None:
    def changing() -> Iterator[float]:
        yield from [1.0] * WARMUPS
        torch.set_num_threads(torch.get_num_threads() + 1)
        yield 1.0

    track.add("softmax", itertools.repeat(1.0))
    track.add("other", itertools.repeat(0.5))
    track.add("changing", changing())
    before = torch.get_num_threads()
    track.race()
    assert torch.get_num_threads() == before
    assert [entrant.fault is None for entrant in track.entrants] == [True, True, False]
    status, reason = track.entrants[2].fault or ("", "")
    assert (status, "threads from" in reason) == ("error", True)


def test_what_lies_between_costs_no_budget(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    track.add("near", _swinging(1.0))
    track.race(budget_s=60.0)
    # After warm-up, at each look, and at the end; each of them takes longer than the race.
    assert track.pauses == [0, 8, 16, len(track.entrants[0].rounds)]
    assert 18 < len(track.entrants[0].rounds) < 23


def test_the_faults_of_the_control_are_the_baselines(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0)).raises_at = WARMUPS + 3
    track.add("near", _steady(1.0))
    track.race()
    assert (
        track.entrants[0].fault == track.entrants[1].fault == ("error", "ValueError: no such head")
    )
    assert track.entrants[2].fault is None
    assert len(track.entrants[2].rounds) <= 3


def test_what_is_asked_differs_from_what_was_asked_before(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _swinging(1.0))
    track.add("near", _swinging(1.0))
    track.race(budget_s=400.0)
    asked = track.draws[::3]
    assert all(now != before for now, before in itertools.pairwise(asked))
    # All is looked at, on draws 0 and 1: at the start, in the first rounds, before each look.
    opening = [asked[at : at + 2] for at in (0, WARMUPS, WARMUPS + 6, WARMUPS + 14, WARMUPS + 30)]
    assert all(sorted(pair) == [0, 1] for pair in opening), asked


def test_calls_on_draws_apart_are_judged_and_not_timed(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _swinging(1.0))
    near = track.add("near", _swinging(1.0))
    track.apart = 8, 9
    track.race(budget_s=400.0)
    samples = track.entrants[2]
    asked = [draw for draw in track.draws if draw in track.apart]
    assert near.runs == len(samples.warmup) + len(samples.rounds) + len(asked) // 3
    # In turn: in the warm-up, in the first round, before four looks, in the last two rounds.
    assert asked[::3] == [9, 8] * 4
    assert asked == [draw for draw in asked[::3] for _ in range(3)]
    assert len(samples.rounds) == len(samples.host) > 32


def test_a_wrong_answer_apart_takes_its_entrant_out(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    near = track.add("near", _steady(1.0))
    track.apart = 8, 9
    track.wrong = "near", 2  # the first call is timed, the second apart
    track.race()
    assert track.entrants[2].fault == ("incorrect", "a timed call was wrong: row 3 is off")
    assert (near.runs, len(track.entrants[2].warmup)) == (2, 1)


def test_the_last_rounds_of_a_budget_are_looked_at(track: Track) -> None:
    track.add("softmax", _steady(1.0))
    track.add("control", _steady(1.0))
    near = track.add("near", _swinging(1.0))
    cares: list[tuple[int, bool]] = []
    track.watched = lambda care: cares.append((near.runs, care.searched))
    track.race(budget_s=36.0)
    rounds = len(track.entrants[0].rounds)
    assert 10 < rounds < 14  # between looks
    searched = {number - WARMUPS for number, whole in cares if whole}
    assert {rounds - 1, rounds} <= searched
    assert 9 not in searched
