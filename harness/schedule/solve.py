"""The shortest schedule of a problem, then the fewest registers for it, proved where possible."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from harness.errors import ScheduleError
from harness.schedule.bounds import bound, counting_bound, least_registers, operations
from harness.schedule.decode import decode
from harness.schedule.encode import Encoding, encode
from harness.schedule.formula import Satisfier
from harness.schedule.problem import Problem
from harness.schedule.solution import Proof, Solution, check

Progress = Callable[[str], None]

LARGEST = 250_000
"""Operations times places times cycles beyond which a formula would fill memory and clock."""


def solve(
    problem: Problem, *, time_limit_s: float = 60.0, progress: Progress | None = None
) -> Solution:
    """The schedule of the fewest cycles, or the best that the time allows.

    Cycles are tried from the counting bound up. What is neither found nor refuted in a quarter of
    the time that is left is put off until a longer schedule is found.
    ScheduleError: too large; no schedule was found in time; python-sat is missing.
    """
    return _Search(problem, time_limit_s, progress).run()


def fewest_registers(
    problem: Problem,
    solution: Solution,
    *,
    time_limit_s: float = 60.0,
    progress: Progress | None = None,
) -> Solution:
    """The same cycles with as few registers in an element as the time allows; errors of solve."""
    began = time.monotonic()
    # Where no q is sent, none is counted: only a refutation tells that the others are needed.
    least = least_registers(problem) if _all_move(problem, solution) else 0
    found = solution
    while found.registers > least:
        wanted = found.registers - 1
        _tell(progress, f"{found.cycles} cycles, {wanted} registers?")
        made, answer, model = _decide(problem, found.cycles, wanted, until=began + time_limit_s)
        if not answer:
            return _timed(found, solution, began, fewest=answer is False)
        better = _solution(made, model, found.bound, solution.seconds)
        found = replace(better, optimal=solution.optimal, proof=solution.proof)
    return _timed(found, solution, began, fewest=True)


def _all_move(problem: Problem, solution: Solution) -> bool:
    sent = {item.kind for row in solution.schedule.sends for items in row for item in items}
    return set(problem.moves) <= sent


def _timed(found: Solution, first: Solution, began: float, *, fewest: bool) -> Solution:
    schedule = replace(found.schedule, registers=found.registers)
    seconds = first.seconds + time.monotonic() - began
    return replace(found, schedule=schedule, seconds=seconds, fewest=fewest)


class _Search:
    """From the counting bound up, until a schedule is found and all below it are refuted."""

    def __init__(self, problem: Problem, time_limit_s: float, progress: Progress | None) -> None:
        if not time_limit_s > 0:
            raise ScheduleError(f"time limit must be above 0 s, found {time_limit_s:g}; use 60")
        self.problem = problem
        self.progress = progress
        self.began = time.monotonic()
        self.end = self.began + time_limit_s
        _refuse_huge(problem)
        self.counted = bound(problem)
        _refuse_large(problem, self.counted)
        self.known = self.counted

    def run(self) -> Solution:
        """The first that is found; then those that were put off, as long as there is time."""
        best = self._upwards()
        while best.cycles > self.known and time.monotonic() < self.end:
            answer, found = self._try(best.cycles - 1, self.end)
            if found is None:
                self._note(best.cycles - 1, answer)
                break
            best = found
        return self._judged(best)

    def _upwards(self) -> Solution:
        cycles, step = self.counted, 1
        while time.monotonic() < self.end:
            share = (self.end - time.monotonic()) / 4
            answer, found = self._try(cycles, time.monotonic() + share)
            if found is not None:
                return found
            self._note(cycles, answer)
            cycles += step
            step *= 1 if answer is False else 2
        raise ScheduleError(
            f"no schedule of {self.problem.name} was found in {self.end - self.began:g} s "
            f"(none has fewer than {self.known} cycles); allow more time or fewer vectors"
        )

    def _note(self, cycles: int, answer: bool | None) -> None:
        # A schedule of fewer cycles would do for more of them, with a wait at its end.
        if answer is False:
            self.known = max(self.known, cycles + 1)

    def _try(self, cycles: int, until: float) -> tuple[bool | None, Solution | None]:
        _tell(self.progress, f"{cycles} cycles?")
        made, answer, model = _decide(self.problem, cycles, None, until)
        found = _solution(made, model, self.known, 0.0) if answer else None
        return answer, found

    def _judged(self, best: Solution) -> Solution:
        optimal = best.cycles == self.known
        proof: Proof = "counting bound" if self.known == self.counted else "unsatisfiable"
        seconds = time.monotonic() - self.began
        return replace(
            best,
            bound=self.known,
            optimal=optimal,
            proof=proof if optimal else None,
            seconds=seconds,
        )


def _decide(
    problem: Problem, cycles: int, registers: int | None, until: float
) -> tuple[Encoding, bool | None, frozenset[int]]:
    made = encode(problem, cycles, registers)
    satisfier = Satisfier(made.formula)
    try:
        answer = satisfier.decide(until)
        return made, answer, satisfier.model() if answer else frozenset()
    finally:
        satisfier.close()


def _refuse_huge(problem: Problem) -> None:
    """By closed forms alone: to list the operations of a million vectors is never done."""
    sizes = (problem.scheme, problem.vectors)
    cycles = counting_bound(*sizes, problem.elements, problem.complete)
    _refuse(problem, cycles * operations(*sizes, problem.complete))


def _refuse_large(problem: Problem, cycles: int) -> None:
    _refuse(problem, cycles * sum(len(problem.places(one)) for one in problem.operations))


def _refuse(problem: Problem, size: int) -> None:
    if size > LARGEST:
        raise ScheduleError(
            f"{problem.name} is too large to solve for: vectors={problem.vectors}, elements="
            f"{problem.elements} make {size:,} places for operations, at most {LARGEST:,} are "
            "tried; use fewer vectors, or a schedule by name"
        )


def _solution(made: Encoding, model: frozenset[int], known: int, seconds: float) -> Solution:
    schedule = decode(made, model)
    figures = check(made.problem, schedule)
    return Solution(
        schedule=schedule,
        cycles=schedule.cycles,
        bound=known,
        optimal=False,
        proof=None,
        seconds=seconds,
        variables=made.formula.variables,
        clauses=len(made.formula.clauses),
        registers=figures.registers,
    )


def _tell(progress: Progress | None, text: str) -> None:
    if progress is not None:
        progress(text)
