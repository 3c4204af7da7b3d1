"""`--set`: values that replace those of a suite's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import OptionError, suggest
from harness.suite.fields import complaint, fields_of
from harness.suite.model import Measure
from harness.suite.plain import parse_literal
from harness.suite.sweep import Sweep
from harness.suite.where import split_commas
from harness.workload import Workload

_PREFIX = "measure."


@dataclass(frozen=True)
class Settings:
    """Values by workload field, each a sweep, and values by field of `measure`."""

    workload: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    measure: tuple[tuple[str, Any], ...] = ()

    def apply(self, sweep: Sweep) -> Sweep:
        """The sweep with every set field replaced."""
        for name, values in self.workload:
            sweep = sweep.with_values(name, values)
        return sweep


def parse_settings(texts: Sequence[str]) -> Settings:
    """Read `heads=2,8` and `measure.margin=0.05`; the last of two for one field holds.

    Raises OptionError naming the setting that is wrong.
    """
    workload: dict[str, tuple[Any, ...]] = {}
    measure: dict[str, Any] = {}
    for text in texts:
        name, equals, raw = (part.strip() for part in text.partition("="))
        if not equals or not raw:
            raise OptionError(f'--set "{text}": no value; write field=value, as in heads=2,8')
        if name.startswith(_PREFIX):
            measure[name.removeprefix(_PREFIX)] = _measured(text, name, raw)
        elif name in fields_of(Workload):
            workload[name] = _swept(text, name, raw)
        else:
            known = [*fields_of(Workload), *(_PREFIX + field for field in fields_of(Measure))]
            raise OptionError(f'--set "{text}": unknown field {name!r}; {suggest(name, known)}')
    return Settings(tuple(workload.items()), tuple(measure.items()))


def _swept(text: str, name: str, raw: str) -> tuple[Any, ...]:
    inside = raw[1:-1] if raw.startswith("[") and raw.endswith("]") else raw
    values = tuple(_literal(text, piece) for piece in split_commas(inside))
    for value in values:
        problem = complaint(Workload, name, value)
        if problem:
            raise OptionError(f'--set "{text}": {name}: {problem}')
    return tuple(dict.fromkeys(values))


def _measured(text: str, name: str, raw: str) -> Any:
    field = name.removeprefix(_PREFIX)
    if field not in fields_of(Measure):
        remedy = suggest(field, fields_of(Measure))
        raise OptionError(f'--set "{text}": measure has no field {field!r}; {remedy}')
    value = _literal(text, raw)
    problem = complaint(Measure, field, value)
    if problem:
        raise OptionError(f'--set "{text}": {name}: {problem}')
    return value


def _literal(text: str, raw: str) -> Any:
    try:
        return parse_literal(raw)
    except ValueError as error:
        raise OptionError(f'--set "{text}": cannot read the value {raw!r}: {error}') from error
