"""The variants of a suite and its baseline, as the file names them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from harness.errors import SuiteError, VariantError, suggest
from harness.suite.document import Document, field_text, mentioned, show
from harness.suite.plain import Place
from harness.suite.sweep import MAX_CASES
from harness.variant import create, get, parameters, registered
from harness.workload import VariantSpec

_FORM = "write a name or {name: {parameter: value}}"


def read_variants(document: Document, entries: Any) -> tuple[VariantSpec, ...]:
    """The variants under `variants`, their lists swept; raises SuiteError."""
    if not isinstance(entries, list):
        raise document.error(
            ("variants",),
            f"must be a list, found {show(entries)}; write variants: [softmax, ...]",
        )
    if not entries:
        raise document.error(("variants",), "an empty sweep, found []; name a variant")
    found: dict[VariantSpec, Place] = {}
    for at, entry in enumerate(entries):
        place: Place = ("variants", at)
        for spec in _specs(document, place, entry):
            if spec in found:
                raise _duplicate(document, place, spec, found[spec])
            found[spec] = place
    return tuple(found)


def read_baseline(document: Document, entry: Any, variants: Sequence[VariantSpec]) -> VariantSpec:
    """The variant that the others are compared with; raises SuiteError."""
    return read_one(document, ("baseline",), entry, variants, "the baseline")


def read_one(
    document: Document, place: Place, entry: Any, variants: Sequence[VariantSpec], role: str
) -> VariantSpec:
    """One variant of the suite, named anywhere in its file; raises SuiteError.

    role: what it is there, as an error says it.
    """
    name, params = _named(document, place, entry)
    for key, value in params.items():
        if isinstance(value, list):
            raise document.error(
                (*place, name, key),
                f"{role} is one variant, found the list {show(value)}; write one value",
            )
    spec = _spec(document, place, name, params, params)
    if spec not in variants:
        texts = [str(variant) for variant in variants]
        raise document.error(
            place, f"is not among the variants, found {spec}; {suggest(str(spec), texts)}"
        )
    return spec


def _specs(document: Document, place: Place, entry: Any) -> Iterator[VariantSpec]:
    name, params = _named(document, place, entry)
    lists = [value if isinstance(value, list) else [value] for value in params.values()]
    for key, values in zip(params, lists, strict=True):
        if not values:
            raise document.error((*place, name, key), "an empty sweep, found []; write a value")
    total = math.prod(len(values) for values in lists)
    if total > MAX_CASES:
        raise document.error(
            place, f"at most {MAX_CASES:,} cases, found {total:,} variants; write shorter lists"
        )
    for chosen in itertools.product(*lists):
        yield _spec(document, place, name, dict(zip(params, chosen, strict=True)), params)


def _named(document: Document, place: Place, entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        name, params = entry, None
    elif isinstance(entry, dict) and len(entry) == 1:
        (name, params), place = next(iter(entry.items())), (*place, next(iter(entry)))
    else:
        raise document.error(place, f"must be one variant, found {show(entry)}; {_FORM}")
    if name not in registered():
        remedy = _FORM if "(" in name else suggest(name, registered())
        raise document.error(place, f"unknown variant, found {show(name)}; {remedy}")
    if params is not None and not isinstance(params, dict):
        raise document.error(
            place, f"must be a mapping of parameters, found {show(params)}; {_FORM}"
        )
    return name, params or {}


def _spec(
    document: Document,
    place: Place,
    name: str,
    params: dict[str, Any],
    written: dict[str, Any],
) -> VariantSpec:
    try:
        return create(name, params).spec
    except VariantError as error:
        text = str(error).removeprefix(f"{name}: ")
        key = mentioned(text, params)
        if key is None:
            raise document.error(place, str(error)) from error
        place = (*place, name, key)
        if isinstance(written[key], list) and key in parameters(get(name)):
            place = (*place, written[key].index(params[key]))
        raise document.error(place, text) from error


def _duplicate(document: Document, place: Place, spec: VariantSpec, first: Place) -> SuiteError:
    if place == first:
        return document.error(place, f"duplicate variant: its lists give {spec} twice; drop one")
    return document.error(
        place,
        f"duplicate variant: {spec} stands in {field_text(first)} "
        f"(line {document.line(first)}) too; drop one",
    )
