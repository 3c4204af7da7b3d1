"""Sweeps: the workload entries of a suite, and the workloads that their lists stand for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pydantic

from harness.errors import SuiteError, suggest
from harness.suite.document import Document, field_text, mentioned, show
from harness.suite.fields import complaint, fields_of
from harness.suite.plain import Place
from harness.workload import Workload

MAX_CASES = 100_000
Complain = Callable[[type[pydantic.BaseModel], str, Any], str | None]


@dataclass(frozen=True)
class Sweep:
    """One entry under `workloads`: fields in the order of the file, each with its values."""

    place: Place
    axes: tuple[tuple[str, tuple[Any, ...]], ...]

    @property
    def size(self) -> int:
        """How many workloads the lists multiply to."""
        return math.prod(len(values) for _, values in self.axes)

    def __contains__(self, name: str) -> bool:
        return any(name == field for field, _ in self.axes)

    def values(self, name: str) -> tuple[Any, ...]:
        """The values of a field; () when the entry leaves it out."""
        return dict(self.axes).get(name, ())

    def with_values(self, name: str, values: tuple[Any, ...]) -> Sweep:
        """The sweep with the values of one field replaced, or added last."""
        if name not in self:
            return replace(self, axes=(*self.axes, (name, values)))
        axes = ((field, values if field == name else own) for field, own in self.axes)
        return replace(self, axes=tuple(axes))

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The fields of each workload; the last list varies fastest."""
        names = [name for name, _ in self.axes]
        for values in itertools.product(*(values for _, values in self.axes)):
            yield dict(zip(names, values, strict=True))


def expand(sweeps: Iterable[Sweep]) -> Iterator[tuple[Sweep, Workload]]:
    """Every workload of every sweep, in the order of the file, made one at a time."""
    for sweep in sweeps:
        for given in sweep.combinations():
            yield sweep, Workload.model_validate(given)


def read_sweeps(document: Document, entries: Any) -> tuple[Sweep, ...]:
    """The entries under `workloads`, each field's values checked; raises SuiteError."""
    if not isinstance(entries, list):
        raise document.error(
            ("workloads",),
            f"must be a list of mappings, found {show(entries)}; "
            "write - {q_len: [256, 1024], heads: 4}",
        )
    if not entries:
        raise document.error(
            ("workloads",), "an empty sweep, found []; write - {q_len: [256, 1024], heads: 4}"
        )
    return tuple(_sweep(document, ("workloads", at), entry) for at, entry in enumerate(entries))


def check_sweeps(
    document: Document, sweeps: tuple[Sweep, ...], variants: int, note: str, *, loose: bool
) -> None:
    """Build every workload once; raises SuiteError for a wrong or a duplicate one.

    `loose`: a workload that comes twice is no error, since the command line made it so.
    """
    total = sum(sweep.size for sweep in sweeps) * variants
    if total > MAX_CASES:
        raise document.error(
            ("workloads",),
            f"at most {MAX_CASES:,} cases, found {total:,}{note}; write shorter lists",
        )
    seen: dict[Workload, tuple[Sweep, dict[str, Any]]] = {}
    for sweep in sweeps:
        for given in sweep.combinations():
            workload = _workload(document, sweep, given, note)
            if workload in seen and not loose:
                raise _duplicate(document, sweep, given, *seen[workload], workload)
            seen.setdefault(workload, (sweep, given))


def _sweep(document: Document, place: Place, entry: Any) -> Sweep:
    if not isinstance(entry, dict):
        raise document.error(
            place, f"must be a mapping of fields, found {show(entry)}; write {{q_len: 1024}}"
        )
    sweep = read_sweep(document, place, entry, Workload)
    decodes = "decode" in sweep.values("pass")
    image = "height" in sweep and "width" in sweep
    if "q_len" not in sweep and not image and not (decodes and len(sweep.values("pass")) == 1):
        raise document.error(place, "q_len is missing; write q_len: [256, 1024], for example")
    if decodes and "kv_len" not in sweep:
        raise document.error(
            (*place, "pass"),
            "decode needs the length of the cache, found no kv_len; "
            "write kv_len: [1024, 4096], for example",
        )
    return sweep


def read_sweep(
    document: Document,
    place: Place,
    entry: dict[str, Any],
    model: type[pydantic.BaseModel],
    complain: Complain = complaint,
) -> Sweep:
    """The fields of an entry, each with its values; raises SuiteError for what the model has not.

    complain: what is wrong with one value of a field, as `fields.complaint`.
    """
    known = fields_of(model)
    for name in entry:
        if name not in known:
            raise document.error((*place, name), f"unknown field; {suggest(name, known)}")

    def wrong(name: str, value: Any) -> str | None:
        return complain(model, name, value)

    return Sweep(
        place,
        tuple((name, _axis(document, (*place, name), name, entry[name], wrong)) for name in entry),
    )


def _axis(
    document: Document, place: Place, name: str, value: Any, wrong: Callable[[str, Any], str | None]
) -> tuple[Any, ...]:
    if value == []:
        raise document.error(place, f"an empty sweep, found []; write {name}: with a value in it")
    values = value if isinstance(value, list) else [value]
    for at, item in enumerate(values):
        problem = wrong(name, item)
        if problem:
            raise document.error((*place, at) if isinstance(value, list) else place, problem)
    return tuple(values)


def _workload(document: Document, sweep: Sweep, given: dict[str, Any], note: str) -> Workload:
    try:
        return Workload.model_validate(given)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        text = str(first.get("ctx", {}).get("error") or first["msg"])
        name = mentioned(text, given) or (str(first["loc"][0]) if first["loc"] else None)
        place = (*sweep.place, name) if name else sweep.place
        raise document.error(place, text + note) from error


def _duplicate(
    document: Document,
    sweep: Sweep,
    given: dict[str, Any],
    other: Sweep,
    earlier: dict[str, Any],
    workload: Workload,
) -> SuiteError:
    if other is sweep:
        # Within one entry the culprit is the list that holds a value twice, or null beside it.
        name = next((name for name, values in sweep.axes if _repeats(values)), None)
        name = name or next(name for name in given if given[name] != earlier[name])
        return document.error(
            (*sweep.place, name),
            f"duplicate case: the list gives {workload} twice; drop one value",
        )
    return document.error(
        sweep.place,
        f"duplicate case: {workload} stands in {field_text(other.place)} "
        f"(line {document.line(other.place)}) too; drop it from one of them",
    )


def _repeats(values: tuple[Any, ...]) -> bool:
    return any(value in values[:at] for at, value in enumerate(values))
