"""The schedules of a suite, simulated one after another into records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.errors import ScheduleError
from harness.execute.block import utc_now
from harness.records import ScheduleRecord
from harness.records.schema import ScheduleFigures
from harness.schedule import GENERATORS
from harness.schedule.account import account
from harness.suite import ScheduleCase


def simulated(cases: Iterable[ScheduleCase]) -> Iterator[ScheduleRecord]:
    """A record of each; `unsupported` where a schedule is not made for the sizes."""
    for case in cases:
        yield _simulated(case)


def _simulated(case: ScheduleCase) -> ScheduleRecord:
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
