"""The race: every variant once a round, in random order, on new values in the same buffers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import statistics
from harness.device import Device
from harness.measure.calls import Call, Produced
from harness.measure.faults import reason_of, status_of
from harness.measure.process import ProcessSettings

WARMUP_LEAST, WARMUP_MOST = 3, 50
WARMUP_SHARE = 0.5
"""Of the budget: slow calls are warm after few of them, and their rounds are dear."""
OVERDRAFT = 8
"""Budgets that the first look may cost: without one, slow calls would have no verdict at all."""
SETTLED = 1.1
"""Warm-up ends when each variant's latest time is within 10% of the best before it, either way."""


@dataclass(frozen=True)
class Rules:
    """When a race ends: margin and alpha of this launch, seconds it may take."""

    margin: float
    alpha: float
    budget_s: float


@dataclass
class Entrant:
    """One variant in a race, with every sample it gave, in order."""

    name: str
    call: Call
    rounds: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    warmup: list[float] = field(default_factory=list)
    fault: tuple[str, str] | None = None
    """(status, reason) of what took it out of the race."""
    decided: bool = False


@dataclass
class Race:
    """Runs entrants against the first of them, the baseline (when `has_baseline`).

    refill(draw) writes new values into the shared buffers; check(entrant, produced, draw) gives
    the reason why a timed output is wrong; running(index) names the entrant about to be called,
    and -1 when none is.
    """

    entrants: Sequence[Entrant]
    device: Device
    rules: Rules
    refill: Callable[[int], None]
    check: Callable[[Entrant, Produced, int], str | None]
    running: Callable[[int], None]
    has_baseline: bool
    controls: frozenset[str]
    draws: int
    seed: int = 0
    settings: ProcessSettings = field(default_factory=ProcessSettings)

    def run(self) -> None:
        """Warm up, then rounds until every verdict is in or the budget is spent."""
        order = random.Random(self.seed)
        self._warm_up(order)
        begin, rounds, next_look = time.perf_counter(), 0, statistics.FIRST_LOOK
        while self._open():
            self._round(order, timed=True, number=rounds)
            rounds += 1
            spent = time.perf_counter() - begin
            if rounds == next_look:
                self._look()
                next_look *= 2
            looked = rounds >= statistics.FIRST_LOOK
            if spent > (1 if looked else OVERDRAFT) * self.rules.budget_s:
                break

    def _warm_up(self, order: random.Random) -> None:
        begin = time.perf_counter()
        for number in range(WARMUP_MOST):
            self._round(order, timed=False, number=number)
            settled = number + 1 >= WARMUP_LEAST and self._settled()
            if settled or time.perf_counter() - begin > WARMUP_SHARE * self.rules.budget_s:
                return

    def _settled(self) -> bool:
        recent = [entrant.warmup[-WARMUP_LEAST:] for entrant in self._active()]
        best = [(times[-1], min(times[:-1])) for times in recent]
        # Either way: times that still fall are not settled, and their latest is their best.
        return all(now <= SETTLED * past and past <= SETTLED * now for now, past in best)

    def _active(self) -> list[Entrant]:
        return [e for e in self.entrants if e.fault is None and not e.decided]

    def _open(self) -> bool:
        """True while someone other than the baseline and its copy is still undecided.

        Where nobody else is left in the race, the baseline is timed beside its copy.
        """
        if not self.has_baseline:
            return bool(self._active())
        others = [e for e in self.entrants[1:] if e.fault is None]
        rivals = [e for e in others if e.name not in self.controls]
        waiting = any(not e.decided for e in rivals or others)
        return waiting and self.entrants[0].fault is None

    def _round(self, order: random.Random, *, timed: bool, number: int) -> None:
        draw = order.randrange(self.draws)
        indices = [i for i, e in enumerate(self.entrants) if e.fault is None and not e.decided]
        order.shuffle(indices)
        for index in indices:
            self.refill(draw)
            # Every variant is checked in its first rounds, and at random ones ever after.
            checked = number < 2 or order.random() < 1 / 16
            self._once(index, draw, timed=timed, checked=checked)

    def _once(self, index: int, draw: int, *, timed: bool, checked: bool) -> None:
        entrant = self.entrants[index]
        self.running(index)
        try:
            result = self._time(entrant, timed=timed)
            changed = self.settings.restore()
            if changed is not None:
                entrant.fault = ("error", changed)
            elif checked:
                # Its definition runs here: a heartbeat of its own, so that both have their time.
                self.running(index)
                reason = self.check(entrant, entrant.call.produced(result), draw)
                if reason is not None:
                    entrant.fault = ("incorrect", f"a timed call was wrong: {reason}")
        except Exception as error:  # a variant that raises costs only itself
            entrant.fault = (status_of(error), reason_of(error))
        # Not in a finally: a variant that ends the process must still be the one named.
        self.running(-1)

    def _time(self, entrant: Entrant, *, timed: bool) -> Any:
        entrant.call.before()
        self.device.flush_cache()
        timing = self.device.time(entrant.call.run)
        (entrant.rounds if timed else entrant.warmup).append(timing.seconds)
        if timed and timing.host_s != timing.seconds:
            entrant.host.append(timing.host_s)
        return timing.result

    def _look(self) -> None:
        if not self.has_baseline:
            for entrant in self._active():
                entrant.decided = len(entrant.rounds) >= 4 * statistics.FIRST_LOOK
            return
        for entrant in self._active()[1:]:
            seen = statistics.last_look(
                statistics.log_ratios(entrant.rounds, self.entrants[0].rounds), self.rules.alpha
            )
            if seen is not None:
                verdict = statistics.judge(seen.estimate, seen.low, seen.high, self.rules.margin)
                entrant.decided = verdict != "undecided"
