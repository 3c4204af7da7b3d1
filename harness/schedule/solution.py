"""What a solver hands back, and the check that it passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import ScheduleError
from harness.schedule.model import Schedule
from harness.schedule.problem import Problem
from harness.schedule.simulate import Figures, simulate

Proof = Literal["counting bound", "unsatisfiable"]


@dataclass(frozen=True)
class Solution:
    """The shortest schedule that was found.

    bound: no schedule is shorter, by counting or because every shorter formula was refuted;
    proof: why, where that makes it optimal. variables, clauses: of the formula that gave it.
    registers: what it holds at most in an element; fewest: no schedule of these cycles holds less.
    """

    schedule: Schedule
    cycles: int
    bound: int
    optimal: bool
    proof: Proof | None
    seconds: float
    variables: int
    clauses: int
    registers: int
    fewest: bool = False


def check(problem: Problem, schedule: Schedule) -> Figures:
    """What the simulator says of a schedule, which must also leave scores where they are wanted.

    ScheduleError: the simulator refuses it; a score is not at an owner when the schedule ends.
    """
    figures = simulate(schedule)
    there = _scores_at_the_end(schedule)
    for score in problem.scores:
        for element in problem.needed_at(score):
            if (score.i, score.j) not in there[element]:
                raise ScheduleError(
                    f"element {element}, cycle {schedule.cycles}: s({score.i},{score.j}) is not "
                    f"there at the end; send it to the owners of {score.i} and of {score.j}"
                )
    return figures


def _scores_at_the_end(schedule: Schedule) -> list[set[tuple[int, int]]]:
    there: list[set[tuple[int, int]]] = [set() for _ in range(schedule.elements)]
    for operations, sends in zip(schedule.operations, schedule.sends, strict=True):
        for element, operation in enumerate(operations):
            if operation is not None and operation.kind == "score":
                there[element].add((operation.i, operation.j))
        for element, items in enumerate(sends):
            arrived = {(item.i, item.j) for item in items if item.kind == "score"}
            there[(element + 1) % schedule.elements] |= arrived
    return there
