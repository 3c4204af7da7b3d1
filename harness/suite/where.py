"""`--where`: conditions that keep some of a suite's workloads, variants and schedules."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from harness.distribution import InputSpec
from harness.errors import OptionError, VariantError, suggest
from harness.mask import MaskSpec
from harness.suite.document import show
from harness.suite.fields import choices, complaint, expected, fields_of, value_of
from harness.suite.plain import parse_literal
from harness.suite.schedules import ScheduleCase
from harness.variant import parse_spec
from harness.workload import VariantSpec, Workload

_CLAUSE = re.compile(r"\s*(?P<field>\w+)\s*(?P<op><=|>=|==|!=|=|<|>|\bin\b)\s*(?P<value>.*\S)\s*")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_KNOWN = (*fields_of(Workload), *fields_of(ScheduleCase), "variant")
_FORM = 'write field, operator and value, as in "q_len<=1024 and mask==causal"'


@dataclass(frozen=True)
class Clause:
    """One condition: a field, one of < <= > >= == != in, and the values compared with."""

    text: str
    field: str
    op: str
    values: tuple[Any, ...]

    def holds(self, found: Any) -> bool:
        """Whether a value of the field meets the condition."""
        if self.op in _ORDER:
            return _ORDER[self.op](found, self.values[0])
        return (found in self.values) != (self.op == "!=")


@dataclass(frozen=True)
class Filter:
    """The conditions of a run, all of which must hold."""

    clauses: tuple[Clause, ...] = ()

    def keeps(self, case: Workload | ScheduleCase) -> bool:
        """Whether every condition on a field that the workload or schedule has holds."""
        return all(clause.holds(value_of(case, clause.field)) for clause in self._of(type(case)))

    def keep_variants(
        self, variants: Sequence[VariantSpec], baseline: VariantSpec | None
    ) -> tuple[VariantSpec, ...]:
        """The variants that meet every condition on `variant`, and the baseline.

        Raises OptionError when a condition names a variant that the suite has not.
        """
        kept = tuple(variants)
        for clause in self.clauses:
            if clause.field == "variant":
                matched = _matched(clause, variants)
                wanted = clause.op != "!="
                kept = tuple(v for v in kept if v == baseline or (v in matched) == wanted)
        return kept

    def nothing_left(self, cases: Iterable[Workload | ScheduleCase]) -> OptionError:
        """The error of a filter that leaves none of these: what the suite has instead."""
        found: dict[str, dict[Any, None]] = {}
        for case in cases:
            for clause in self._of(type(case)):
                found.setdefault(clause.field, {}).setdefault(value_of(case, clause.field))
        has = "; ".join(f"{name} {_listed(list(values))}" for name, values in found.items())
        text = " and ".join(clause.text for clause in self.clauses)
        return OptionError(
            f'--where "{text}": an empty sweep, no case is left; the suite has {has}'
        )

    def _of(self, model: type[BaseModel]) -> list[Clause]:
        return [clause for clause in self.clauses if clause.field in fields_of(model)]


def parse_where(texts: Sequence[str]) -> Filter:
    """Read the conditions; several texts, or `and` within one, must all hold.

    Raises OptionError naming the condition that is wrong.
    """
    parts = (part for text in texts for part in re.split(r"\s+and(?:\s+|$)", text.strip()))
    return Filter(tuple(_clause(part) for part in parts))


def split_commas(text: str) -> list[str]:
    """Split at the commas that stand outside parentheses and brackets."""
    return [part.strip() for part in re.split(r",(?![^(\[]*[)\]])", text)]


def _clause(text: str) -> Clause:
    match = _CLAUSE.fullmatch(text)
    if match is None:
        raise OptionError(f'--where "{text}": cannot be read; {_FORM}')
    field, op = match["field"], "==" if match["op"] == "=" else match["op"]
    if field not in _KNOWN:
        raise OptionError(f'--where "{text}": unknown field {field!r}; {suggest(field, _KNOWN)}')
    raw = match["value"]
    if op == "in":
        if not (raw.startswith("[") and raw.endswith("]") and raw[1:-1].strip()):
            raise OptionError(f'--where "{text}": in takes a list; write {field} in [a, b]')
        pieces = split_commas(raw[1:-1])
    else:
        pieces = [raw]
    values = tuple(_value(text, field, op, piece) for piece in pieces)
    return Clause(text.strip(), field, op, values)


def _value(text: str, field: str, op: str, raw: str) -> Any:
    try:
        value = parse_literal(raw)
    except ValueError as error:
        raise OptionError(f'--where "{text}": cannot read the value {raw!r}: {error}') from error
    problem = _variant_problem(op, value) if field == "variant" else _problem(field, op, value)
    if problem:
        raise OptionError(f'--where "{text}": {problem}')
    spellings: dict[str, Callable[[str], object]] = {
        "mask": MaskSpec.parse,
        "inputs": InputSpec.parse,
    }
    return str(spellings[field](value)) if field in spellings else value


def _problem(field: str, op: str, value: Any) -> str | None:
    model = Workload if field in fields_of(Workload) else ScheduleCase
    kind = fields_of(model)[field].annotation
    if op in _ORDER and kind not in (int, float):
        return f"{field} has no order, found {op}; write {field}==, != or in"
    if (model is Workload and choices(field)) or kind is str:
        return _prefixed(field, complaint(model, field, value))
    allowed = {int: (int,), bool: (bool,), float: (int, float)}[kind]  # type: ignore[index]
    if isinstance(value, allowed) and (kind is bool or not isinstance(value, bool)):
        return None
    words = expected(fields_of(model)[field]).split(" of at")[0].split(" above")[0]
    return f"{field} is compared with {words}, found {show(value)}; write {words}"


def _prefixed(field: str, problem: str | None) -> str | None:
    return f"{field}: {problem}" if problem else None


def _variant_problem(op: str, value: Any) -> str | None:
    if op in _ORDER:
        return f"variant has no order, found {op}; write variant==, != or in"
    return None if isinstance(value, str) else f"variant is a name, found {show(value)}"


def _matched(clause: Clause, variants: Sequence[VariantSpec]) -> set[VariantSpec]:
    matched: set[VariantSpec] = set()
    for value in clause.values:
        found = {variant for variant in variants if _names(value, variant)}
        if not found:
            known = {v.name for v in variants} | {str(v) for v in variants}
            raise OptionError(
                f'--where "{clause.text}": the suite has no variant {value!r}; '
                f"{suggest(value, known)}"
            )
        matched |= found
    return matched


def _names(text: str, variant: VariantSpec) -> bool:
    # A bare name stands for every variant of that name, a text with parameters for one.
    if "(" not in text:
        return variant.name == text
    try:
        return parse_spec(text) == variant
    except VariantError:
        return False


def _listed(values: list[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:8])
    return shown + (", ..." if values[8:] else "")
