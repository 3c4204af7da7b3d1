"""Launches of two runs on a machine that halves its speed for seconds: simulated, seeded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from harness import statistics
from harness.records.schema import Launch
from harness.roofline import Ceilings

ALPHA, MARGIN = 0.05, 0.02
WARM = Launch(rounds_s=(1.0,), warmup_s=(1.0,)).warmup_s


@dataclass(frozen=True)
class Machine:
    """How a machine disturbs what is timed on it.

    slow: the factor of its slow mode; dwell_s: mean seconds in either mode, 0 without a second
    one. jitter: of a call; luck: of a process; ceiling: of a measured rate, all in the logarithm.
    """

    slow: float = 2.0
    dwell_s: float = 3.0
    jitter: float = 0.05
    luck: float = 0.005
    ceiling: float = 0.01
    has_yardstick: bool = True


QUIET = Machine(dwell_s=0.0, jitter=0.02)


@dataclass
class Clock:
    """Time on a machine, and the mode that it is in."""

    machine: Machine
    random: np.random.Generator
    now_s: float = 0.0
    is_slow: bool = False
    switch_s: float = field(default=math.inf)

    def __post_init__(self) -> None:
        if self.machine.dwell_s:
            self.is_slow = bool(self.random.random() < 0.5)
            self.switch_s = self.random.exponential(self.machine.dwell_s)

    def factor(self) -> float:
        while self.now_s > self.switch_s:
            self.is_slow = not self.is_slow
            self.switch_s += self.random.exponential(self.machine.dwell_s)
        return self.machine.slow if self.is_slow else 1.0


def run(
    random: np.random.Generator,
    machine: Machine,
    times_s: Sequence[float],
    launches: int = 2,
    budget_s: float = 1.5,
) -> list[tuple[Launch, ...]]:
    """The launches of each variant in one block; the first is the baseline."""
    clock = Clock(machine, random)
    found = [_launch(clock, times_s, launches, budget_s) for _ in range(launches)]
    return list(zip(*found, strict=True))


def _launch(clock: Clock, times_s: Sequence[float], launches: int, budget_s: float) -> list[Launch]:
    random, machine = clock.random, clock.machine
    ceilings = _ceilings(clock)
    mine = np.asarray(times_s) * np.exp(machine.luck * random.normal(size=len(times_s)))
    rounds: list[list[float]] = [[] for _ in times_s]
    active, end, look = list(range(len(times_s))), clock.now_s + budget_s, statistics.FIRST_LOOK
    while clock.now_s < end or len(rounds[0]) < statistics.FIRST_LOOK:
        noise = np.exp(machine.jitter * random.normal(size=len(times_s)))
        for index in random.permutation(active):
            took = float(mine[index] * noise[index] * clock.factor())
            rounds[index].append(took)
            clock.now_s += 1.2 * took
        if len(rounds[0]) == look:
            look *= 2
            active = [0, *(i for i in active[1:] if _is_open(rounds[i], rounds[0], launches))]
            if len(active) == 1:
                break
    clock.now_s += 1.0  # the next process starts
    return [Launch(rounds_s=tuple(r), warmup_s=WARM, ceilings=ceilings) for r in rounds]


def _ceilings(clock: Clock) -> Ceilings | None:
    """What a yardstick of 50 ms sees: the mode at that moment, and its own noise."""
    speed, random = 1 / clock.factor(), clock.random
    clock.now_s += 0.05
    if not clock.machine.has_yardstick:
        return None
    first, second = np.exp(clock.machine.ceiling * random.normal(size=2))
    return Ceilings(1e10 * speed * first, 1e9 * speed * second, 1e-6)


def _is_open(times: Sequence[float], baseline: Sequence[float], launches: int) -> bool:
    seen = statistics.last_look(statistics.log_ratios(times, baseline), ALPHA / launches)
    if seen is None:
        return True
    return statistics.judge(seen.estimate, seen.low, seen.high, MARGIN) == "undecided"
