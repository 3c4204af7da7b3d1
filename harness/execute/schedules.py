"""A schedule of a suite, simulated into a record."""

from __future__ import annotations

from harness.errors import ScheduleError
from harness.execute.block import utc_now
from harness.records import ScheduleRecord
from harness.records.schema import ScheduleFigures
from harness.schedule import GENERATORS
from harness.schedule.account import account
from harness.suite import ScheduleCase


def simulated(case: ScheduleCase) -> ScheduleRecord:
    """The record of a schedule; `unsupported` where it is not made for the sizes."""
    known = {**case.model_dump(), "block_id": case.id, "case_id": case.id}
    try:
        made = GENERATORS[case.schedule](case.vectors, case.elements)
    except ScheduleError as error:
        return ScheduleRecord(**known, status="unsupported", reason=str(error), ended_utc=utc_now())
    found = account(made)
    figures = ScheduleFigures(
        scheme=made.scheme,
        cycles=found.figures.cycles,
        bound=found.bound,
        ring_cycles=found.ring,
        operations=found.figures.operations,
        registers=found.figures.registers,
        vector_words=found.figures.vector_words,
        score_words=found.figures.score_words,
    )
    return ScheduleRecord(**known, status="ok", figures=figures, ended_utc=utc_now())
