"""What a schedule takes beside the least it could, and beside the ring."""

from __future__ import annotations

from dataclasses import dataclass

from harness.schedule.bounds import counting_bound
from harness.schedule.model import Schedule
from harness.schedule.simulate import Figures, simulate


@dataclass(frozen=True)
class Account:
    """The figures of a schedule.

    bound: no schedule of the problem that was solved, else of the scheme, is shorter. ring: the
    cycles of plain ring attention, which computes every pair; saving = 1 - cycles / ring.
    """

    figures: Figures
    bound: int
    ring: int
    saving: float


def account(schedule: Schedule, bound: int | None = None) -> Account:
    """Simulate a schedule and compare it; ScheduleError where it breaks a rule.

    bound: a better one than ceil(operations / m), where one is known.
    """
    n, m = schedule.vectors, schedule.elements
    ring = counting_bound("general", n, m, schedule.complete)
    counted = counting_bound(schedule.scheme, n, m, schedule.complete)
    return Account(
        figures=simulate(schedule),
        bound=counted if bound is None else max(bound, counted),
        ring=ring,
        saving=1 - schedule.cycles / ring,
    )
