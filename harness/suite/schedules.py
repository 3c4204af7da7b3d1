"""The schedules that a suite simulates: by name, for so many vectors on so many elements."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from harness.errors import suggest
from harness.schedule import GENERATORS
from harness.suite.document import Document, field_text, show
from harness.suite.fields import complaint, fields_of
from harness.suite.plain import Place
from harness.suite.sweep import Sweep, read_sweep
from harness.workload import content_hash

MAX_OPERATIONS = 4_000_000
"""Of all schedules of a suite: about a minute of simulation."""
_FORM = "write - {schedule: ring, vectors: [16, 64], elements: 4}"


class ScheduleCase(BaseModel):
    """One schedule of `harness.schedule`, to be simulated: `vectors` on a ring of `elements`.

    No machine has a part in it: its figures are the same everywhere. Raises
    pydantic.ValidationError with one line a field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: str
    vectors: StrictInt = Field(ge=1)
    elements: StrictInt = Field(ge=1)

    @property
    def id(self) -> str:
        """A hash of the content: the same schedule has the same id in every run."""
        return content_hash(["schedule", self.schedule, self.vectors, self.elements])

    @property
    def most_operations(self) -> int:
        """No schedule of so many vectors computes more: a score and a sum for every pair."""
        return 2 * self.vectors**2

    def __str__(self) -> str:
        return f"{self.schedule} n={self.vectors} m={self.elements}"


def read_schedules(document: Document, entries: Any) -> tuple[ScheduleCase, ...]:
    """The entries under `schedules`, their lists swept; raises SuiteError."""
    if not isinstance(entries, list):
        raise document.error(
            ("schedules",), f"must be a list of mappings, found {show(entries)}; {_FORM}"
        )
    if not entries:
        raise document.error(("schedules",), f"an empty sweep, found []; {_FORM}")
    sweeps = [_sweep(document, ("schedules", at), entry) for at, entry in enumerate(entries)]
    _check_work(document, sweeps)
    found: dict[ScheduleCase, Sweep] = {}
    for sweep in sweeps:
        for given in sweep.combinations():
            case = ScheduleCase.model_validate(given)
            if case in found:
                first = field_text(found[case].place)
                raise document.error(
                    sweep.place, f"duplicate schedule: {case} stands in {first} too; drop one"
                )
            found[case] = sweep
    return tuple(found)


def _sweep(document: Document, place: Place, entry: Any) -> Sweep:
    if not isinstance(entry, dict):
        raise document.error(place, f"must be a mapping, found {show(entry)}; {_FORM}")
    sweep = read_sweep(document, place, entry, ScheduleCase, _complaint)
    for name in fields_of(ScheduleCase):
        if name not in sweep:
            raise document.error(place, f"{name} is missing; {_FORM}")
    return sweep


def _complaint(model: type[BaseModel], name: str, value: Any) -> str | None:
    problem = complaint(model, name, value)
    if problem is None and name == "schedule" and value not in GENERATORS:
        return f"unknown schedule, found {show(value)}; {suggest(value, GENERATORS)}"
    return problem


def _check_work(document: Document, sweeps: list[Sweep]) -> None:
    total = sum(
        2 * sum(n * n for n in sweep.values("vectors")) * sweep.size // len(sweep.values("vectors"))
        for sweep in sweeps
    )
    if total > MAX_OPERATIONS:
        raise document.error(
            ("schedules",),
            f"at most {MAX_OPERATIONS:,} operations, found {total:,} (2 n^2 for n vectors); "
            "write shorter lists or fewer vectors",
        )
