"""The shape of a schedule: as many rows, entries and owners as its sizes say."""

from __future__ import annotations

from harness.errors import ScheduleError
from harness.schedule.model import SCHEMES, Schedule


def check_shape(schedule: Schedule) -> None:
    """ScheduleError if rows, widths, owners or the scheme do not fit together."""
    m = schedule.elements
    if schedule.scheme not in SCHEMES:
        raise ScheduleError(
            f"scheme is unknown: scheme={schedule.scheme!r}; use one of {', '.join(SCHEMES)}"
        )
    if m < 1 or not schedule.owner:
        raise ScheduleError(
            f"a schedule needs an element and a vector: elements={m}, "
            f"{schedule.vectors} owners; write at least 1 of each"
        )
    _check_owners(schedule)
    if len(schedule.operations) != len(schedule.sends):
        raise ScheduleError(
            "operations and sends must have a row for each cycle: "
            f"{len(schedule.operations)} rows of operations, {len(schedule.sends)} of sends; "
            "write an empty row where nothing is sent"
        )
    _check_widths(schedule)


def _check_owners(schedule: Schedule) -> None:
    for i, owner in enumerate(schedule.owner):
        if not 0 <= owner < schedule.elements:
            raise ScheduleError(
                f"owner of vector {i} is out of range: owner={owner}, elements="
                f"{schedule.elements}; use 0 to {schedule.elements - 1}"
            )


def _check_widths(schedule: Schedule) -> None:
    rows = {"operations": schedule.operations, "sends": schedule.sends}
    for name, table in rows.items():
        for cycle, row in enumerate(table):
            if len(row) != schedule.elements:
                raise ScheduleError(
                    f"{name} of cycle {cycle} must have one entry for each element: {len(row)} "
                    f"entries, elements={schedule.elements}; write {schedule.elements} entries"
                )
