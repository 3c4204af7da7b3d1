"""A schedule as JSON and back: short enough to be kept beside a test and read by a person."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import ScheduleError
from harness.schedule.model import SCHEMES, Item, Operation, Schedule, Scheme
from harness.schedule.shape import check_shape

FIELDS = (
    "name",
    "scheme",
    "owner",
    "elements",
    "registers",
    "vector_links",
    "score_links",
    "complete",
)
_OPERATION = re.compile(r"(?P<kind>[SWM])\((?P<i>\d+)(?:,(?P<j>\d+))?\)")
_KINDS = {"S": "score", "W": "weigh", "M": "merge"}
_ITEM = re.compile(r"s\((?P<i>\d+),(?P<j>\d+)\)|(?P<kind>[qkvxo])(?P<at>\d+)")


def to_json(schedule: Schedule) -> str:
    """One line a cycle: for each element its operation, and after `>` what it sends.

    As in "S(1,2) > x3 s(0,1)"; "-" is an element that waits.
    """
    head = {name: getattr(schedule, name) for name in FIELDS}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    rows = [
        json.dumps([_cell(operation, sent) for operation, sent in zip(does, sends, strict=True)])
        for does, sends in zip(schedule.operations, schedule.sends, strict=True)
    ]
    return "\n".join(
        ["{", *lines, ' "cycles": [', ",\n".join(f"  {row}" for row in rows), " ]", "}"]
    )


def from_json(text: str) -> Schedule:
    """The schedule that to_json wrote.

    ScheduleError: no JSON, a field or a word in a cell that is not what to_json writes.
    """
    try:
        told = json.loads(text)
    except ValueError as error:
        raise ScheduleError(f"a stored schedule must be JSON: {error}") from error
    _check_fields(told)
    stored = _typed(told)
    cells = [[_read_cell(cell) for cell in row] for row in stored.cycles]
    schedule = Schedule(
        **{name: getattr(stored, name) for name in FIELDS},
        operations=tuple(tuple(does for does, _ in row) for row in cells),
        sends=tuple(tuple(sent for _, sent in row) for row in cells),
    )
    check_shape(schedule)
    return schedule


def _check_fields(told: Any) -> None:
    wanted = {*FIELDS, "cycles"}
    found = set(told) if isinstance(told, dict) else set()
    if found != wanted:
        raise ScheduleError(
            "a stored schedule has other fields than it must: "
            f"missing {', '.join(sorted(wanted - found)) or 'none'}, "
            f"unknown {', '.join(sorted(found - wanted)) or 'none'}"
        )
    if told["scheme"] not in SCHEMES:
        raise ScheduleError(f"scheme {told['scheme']!r}: use one of {', '.join(SCHEMES)}")


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    scheme: Scheme
    owner: tuple[int, ...]
    elements: int
    registers: int | None
    vector_links: int | None
    score_links: int | None
    complete: bool
    cycles: list[list[str]]


def _typed(told: dict[str, Any]) -> _Stored:
    try:
        return _Stored.model_validate({**told, "owner": _as_tuple(told["owner"])})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ScheduleError(
            f"{place} of a stored schedule is not what to_json writes: {first['msg']}; found "
            f"{first['input']!r}"
        ) from error


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _cell(operation: Operation | None, sent: tuple[Item, ...]) -> str:
    words = ["-" if operation is None else str(operation)]
    return " ".join(words + ([">", *map(str, sent)] if sent else []))


def _read_cell(cell: str) -> tuple[Operation | None, tuple[Item, ...]]:
    does, _, sent = cell.partition(">")
    return _read_operation(does.strip()), tuple(_read_item(word) for word in sent.split())


def _read_operation(word: str) -> Operation | None:
    if word == "-":
        return None
    found = _OPERATION.fullmatch(word)
    if found is None:
        raise ScheduleError(f"no operation: {word!r}; write S(1,2), W(1,2), M(1) or -")
    kind: Any = _KINDS[found["kind"]]
    return Operation(kind, int(found["i"]), int(found["j"] or found["i"]))


def _read_item(word: str) -> Item:
    found = _ITEM.fullmatch(word)
    if found is None:
        raise ScheduleError(f"nothing that is sent: {word!r}; write x1, q1, k1, v1, o1 or s(1,2)")
    if found["kind"] is None:
        return Item("score", int(found["i"]), int(found["j"]))
    kind: Any = "partial" if found["kind"] == "o" else found["kind"]
    return Item(kind, int(found["at"]), int(found["at"]))
