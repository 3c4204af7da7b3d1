"""The race: every variant once a round, in random order, on new values in the same buffers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from harness import statistics
from harness.device import Device, Timing
from harness.measure.budget import OVERDRAFT, WARMUP_SHARE
from harness.measure.calls import Call
from harness.measure.faults import reason_of, status_of
from harness.measure.timed import Care, Fault, Inspector

WARMUP_LEAST, WARMUP_MOST = 3, 50
SETTLED = 1.1
"""Warm-up ends when each variant's latest time is within 10% of the best before it, either way."""
OPENING = 2
"""Rounds at the start of warm-up, of the race, and before each look in which all is looked at."""
SAMPLED = 1 / 16
"""Share of the other calls whose output is judged."""


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
    fault: Fault | None = None
    """What took it out of the race."""
    decided: bool = False


@dataclass
class Race:
    """Runs entrants against the first of them, the baseline (when `has_baseline`).

    refill(draw) writes new values into the shared buffers, of `draws` there are that are timed;
    those of `apart` are for calls that are not. running(index) names the entrant about to be
    called, and -1 when none is. between() is called after warm-up, at each look and at the end,
    for what is measured beside the race; its time is no part of the budget.
    """

    entrants: Sequence[Entrant]
    device: Device
    rules: Rules
    refill: Callable[[int], None]
    inspector: Inspector
    running: Callable[[int], None]
    has_baseline: bool
    controls: frozenset[str]
    draws: int
    apart: Sequence[int] = ()
    seed: int = 0
    between: Callable[[], None] = lambda: None
    _drawn: int = field(default=-1, init=False)
    _rounds_apart: int = field(default=0, init=False)
    _paused_s: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Warm up, then rounds until every verdict is in or the budget is spent."""
        order = random.Random(self.seed)
        self._share_faults()
        self._warm_up(order)
        self._pause()
        spent = self._stopwatch()
        rounds, next_look, latest = 0, statistics.FIRST_LOOK, 0.0
        while self._open():
            begun = spent()
            # The last two, as far as can be told: a round that is last must have been looked at.
            ending = begun + OPENING * latest > self._allowed_s(rounds)
            before_look = next_look - rounds
            care = _care(rounds, before_look, ending)
            self._round(order, rounds, care, spare=before_look == OPENING + 2)
            latest, rounds = spent() - begun, rounds + 1
            if rounds == next_look:
                self._look()
                self._pause()
                next_look *= 2
            if care.searched and spent() > self._allowed_s(rounds):
                break
        self.inspector.forget()
        self._pause()

    def _allowed_s(self, rounds: int) -> float:
        return self.rules.budget_s * (1 if rounds >= statistics.FIRST_LOOK else OVERDRAFT)

    def _stopwatch(self) -> Callable[[], float]:
        begin, paused = perf_counter(), self._paused_s
        return lambda: perf_counter() - begin - (self._paused_s - paused)

    def _pause(self) -> None:
        begin = perf_counter()
        self.between()
        self._paused_s += perf_counter() - begin

    def _warm_up(self, order: random.Random) -> None:
        spent = self._stopwatch()
        for number in range(WARMUP_MOST):
            opening = number < OPENING
            care = Care(opening, opening, awaited=opening, held=opening, apart=number == 0)
            self._round(order, number, care, timed=False)
            settled = number + 1 >= WARMUP_LEAST and self._settled()
            if settled or spent() > WARMUP_SHARE * self.rules.budget_s:
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

    def _share_faults(self) -> None:
        """The baseline and its copy are one variant: what is wrong with one is with the other."""
        if not self.has_baseline:
            return
        same = [e for e in self.entrants if e is self.entrants[0] or e.name in self.controls]
        fault = next((e.fault for e in same if e.fault is not None), None)
        for entrant in same:
            entrant.fault = entrant.fault or fault

    def _round(
        self,
        order: random.Random,
        number: int,
        care: Care,
        *,
        timed: bool = True,
        spare: bool = False,
    ) -> None:
        draw, apart = self._draw(order, number, care, spare), self._draw_apart(care)
        indices = [i for i, e in enumerate(self.entrants) if e.fault is None and not e.decided]
        order.shuffle(indices)
        for index in indices:
            sampled = not care.checked and order.random() < SAMPLED
            samples = self.entrants[index].rounds if timed else self.entrants[index].warmup
            self._once(index, draw, Care(checked=True) if sampled else care, samples)
            if apart is not None and self.entrants[index].fault is None:
                self._once(index, apart, Care(checked=True, held=care.held), None)
        self._share_faults()

    def _draw(self, order: random.Random, number: int, care: Care, spare: bool) -> int:
        """0 and 1 in turn where all is looked at, so that two truths are enough; else any other.

        An output that is stale then differs from the one that is asked for. What is only checked
        gets a third one, which the round before it is to `spare`: of three draws in a row, two
        results given in turn cannot be all.
        """
        third = min(2, self.draws - 1)
        if care.checked and not care.searched:
            self._drawn = third
        elif care.checked:
            self._drawn = 1 - self._drawn if self._drawn == number % 2 else number % 2
        else:
            others = [draw for draw in range(self.draws) if draw != self._drawn]
            free = [draw for draw in others if not (spare and draw == third)]
            self._drawn = order.choice(free or others)
        return self._drawn

    def _draw_apart(self, care: Care) -> int | None:
        """Those of `apart` in turn, where a round asks for one and there are any."""
        if not (care.apart and self.apart):
            return None
        self._rounds_apart += 1
        return self.apart[self._rounds_apart % len(self.apart)]

    def _once(self, index: int, draw: int, care: Care, samples: list[float] | None) -> None:
        """One call, whose seconds go to the samples; a call without is not timed."""
        entrant = self.entrants[index]
        self.refill(draw)
        self.running(index)
        try:
            self.inspector.before(care)
            timing = self._time(entrant, samples)
            if care.checked:
                # Its definition runs next: a heartbeat of its own, so that both have their time.
                self.running(index)
            entrant.fault = self.inspector.after(entrant, timing.result, draw, timing.seconds, care)
        except Exception as error:  # a variant that raises costs only itself
            # A device that it broke for all raises again, while this is the one that is named.
            self.device.synchronize()
            entrant.fault = (status_of(error), reason_of(error))
            self.inspector.process(searched=True)
        # Not in a finally: a variant that ends the process must still be the one named.
        self.running(-1)

    def _time(self, entrant: Entrant, samples: list[float] | None) -> Timing:
        entrant.call.before()
        self.device.flush_cache()
        timing = entrant.call.time(self.device)
        if samples is not None:
            samples.append(timing.seconds)
        if samples is entrant.rounds and timing.host_s != timing.seconds:
            entrant.host.append(timing.host_s)
        return timing

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


def _care(rounds: int, before_look: int, ending: bool) -> Care:
    """How closely a timed round is looked at."""
    whole = rounds < OPENING or before_look <= OPENING or ending
    first = rounds == 0 or before_look == OPENING or ending
    return Care(whole or before_look == OPENING + 1, whole, held=first, apart=first)
