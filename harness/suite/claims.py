"""The claims of a suite's file: read, each with the variants and workloads that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import OptionError, SuiteError, suggest
from harness.suite.claim import (
    AXES,
    LEAST_POINTS,
    QUANTITIES,
    Claim,
    Range,
    anywhere,
    differing,
    position,
    within,
)
from harness.suite.document import Document, show
from harness.suite.fields import fields_of
from harness.suite.lineup import read_one
from harness.suite.plain import Place
from harness.suite.where import Filter, parse_where
from harness.workload import VariantSpec, Workload

TEXTS = ("claim", "source", "quantity", "where", "along", "note", "not_testable")
MEASURED = ("quantity", "of", "over", "where", "along", "expected", "tolerance", "trend")
_FORM = 'write - {claim: "...", source: "...", quantity: memory_ratio, ...}'


def read_claims(
    document: Document,
    entries: Any,
    variants: Sequence[VariantSpec],
    workloads: Sequence[Workload],
) -> tuple[Claim, ...]:
    """The entries under `claims`; raises SuiteError for what names nothing that the suite runs."""
    if not isinstance(entries, list):
        raise document.error(
            ("claims",), f"must be a list of mappings, found {show(entries)}; {_FORM}"
        )
    return tuple(
        _Reader(document, ("claims", at), entry, variants, workloads).read()
        for at, entry in enumerate(entries)
    )


class _Reader:
    """Reads one entry."""

    def __init__(
        self,
        document: Document,
        place: Place,
        entry: Any,
        variants: Sequence[VariantSpec],
        workloads: Sequence[Workload],
    ) -> None:
        self._document, self._place, self._entry = document, place, entry
        self._variants, self._workloads = variants, workloads

    def read(self) -> Claim:
        self._check_keys()
        if "not_testable" in self._entry:
            for name in MEASURED:
                if name in self._entry:
                    raise self._error(name, "stands beside not_testable; drop one of them")
            return Claim(**self._entry)
        form = self._check_quantity()
        found = {name: self._entry[name] for name in TEXTS if name in self._entry}
        found["of"] = self._variant("of")
        if form.form == "ratio":
            found["over"] = self._variant("over")
            if found["over"] == found["of"]:
                raise self._error("over", f"is of itself, found {found['of']} twice; name another")
        claim = Claim(**found, **self._range())
        condition = self._condition()
        if form.form == "growth":
            claim = claim.model_copy(update={"along": self._along(condition)})
        else:
            self._one(condition)
        return claim

    def _check_keys(self) -> None:
        entry, known = self._entry, tuple(Claim.model_fields)
        if not isinstance(entry, dict):
            raise self._error(None, f"must be a mapping, found {show(entry)}; {_FORM}")
        for name in entry:
            if name not in known:
                raise self._error(name, f"unknown key; {suggest(name, known)}")
        for name in ("claim", "source"):
            if name not in entry:
                raise self._error(None, f"{name} is missing; write {name}: ...")
        for name in TEXTS:
            value = entry.get(name, "x")
            if not isinstance(value, str) or not value.strip():
                raise self._error(name, f"must be text, found {show(value)}; write it in quotes")

    def _check_quantity(self) -> Claim:
        """The claim as far as its quantity says what else it needs."""
        entry = self._entry
        if "quantity" not in entry:
            raise self._error(
                None,
                "quantity is missing; write quantity: memory_ratio, for example, or "
                "not_testable: and the reason",
            )
        if entry["quantity"] not in QUANTITIES:
            raise self._error(
                "quantity",
                f"unknown quantity, found {show(entry['quantity'])}; "
                f"{suggest(entry['quantity'], QUANTITIES)}",
            )
        claim = Claim(claim="", source="", quantity=entry["quantity"])
        needed = ["of", "expected", *(["over"] if claim.form == "ratio" else [])]
        for name in needed:
            if name not in entry:
                raise self._error(None, f"{name} is missing, found a {claim.form}; write {name}:")
        for name, form in (("over", "ratio"), ("along", "growth")):
            if name in entry and claim.form != form:
                raise self._error(name, f"is of a {form}, found {entry['quantity']}; drop {name}")
        return claim

    def _variant(self, name: str) -> str:
        place, role = (*self._place, name), "each side of a claim"
        return str(read_one(self._document, place, self._entry[name], self._variants, role))

    def _range(self) -> dict[str, Any]:
        """`expected`, `tolerance` and `trend`."""
        entry, expected = self._entry, self._entry["expected"]
        if isinstance(expected, list):
            if "tolerance" in entry:
                raise self._error("tolerance", "a range has its tolerance in it; drop tolerance")
            found: dict[str, Any] = {"expected": self._ends("expected")}
        else:
            for name in ("expected", "tolerance"):
                value = entry.get(name)
                if not _is_number(value) or (name == "tolerance" and value <= 0):
                    above = " above 0" if name == "tolerance" else ""
                    what = "nothing" if value is None else show(value)
                    raise self._error(
                        name,
                        f"must be a number{above}, found {what}; write expected: 2 with "
                        "tolerance: 0.1, or expected: [1.9, 2.1]",
                    )
            found = {"expected": float(expected), "tolerance": float(entry["tolerance"])}
        if "trend" in entry:
            found["trend"] = self._trend(Claim(claim="", source="", **found).allowed)
        return found

    def _ends(self, name: str) -> Range:
        value = self._entry[name]
        ends = value if isinstance(value, list) and len(value) == 2 else [""]
        known = [end for end in ends if end is not None]
        if not known or not all(map(_is_number, known)) or known[0] > known[-1]:
            raise self._error(
                name,
                f"must be two numbers, the lower one first, null for an open end, found "
                f"{show(value)}; write {name}: [59, null], for example",
            )
        low, high = (None if end is None else float(end) for end in ends)
        return low, high

    def _trend(self, allowed: Range) -> Range:
        trend = self._ends("trend")
        low, high = (
            end if end is not None else sign for end, sign in zip(allowed, _INF, strict=True)
        )
        if not within(low, high, trend):
            raise self._error(
                "trend",
                f"must hold the expected range, found {show(self._entry['trend'])}; widen it",
            )
        return trend

    def _condition(self) -> Filter:
        try:
            condition = parse_where([self._entry["where"]] if "where" in self._entry else [])
        except OptionError as error:
            raise self._error("where", str(error).removeprefix("--where ")) from error
        for clause in condition.clauses:
            if clause.field not in fields_of(Workload):
                remedy = "name it under of or over" if clause.field == "variant" else "drop it"
                raise self._error("where", f"is of workloads, found {clause.field}; {remedy}")
        return condition

    def _kept(self, condition: Filter) -> list[Workload]:
        """The workloads named; a device is no part of that where the suite's is another."""
        kept = [one for one in self._workloads if condition.keeps(one)]
        elsewhere = anywhere(condition)
        return kept or [one for one in self._workloads if elsewhere.keeps(one)]

    def _one(self, condition: Filter) -> None:
        kept = self._kept(condition)
        if len(kept) != 1:
            shown = f": {'; '.join(map(str, kept[:3]))}" if kept else ""
            raise self._error(
                "where",
                f"must leave one workload of the suite, leaves {len(kept)}{shown}; "
                "write where: q_len==1024 and mask==none, for example",
            )

    def _along(self, condition: Filter) -> str:
        kept = self._kept(condition)
        decodes = bool(kept) and all(one.pass_ == "decode" for one in kept)
        axis = self._entry.get("along", "kv_len" if decodes else "q_len")
        if axis not in AXES:
            raise self._error("along", f"unknown axis, found {show(axis)}; {suggest(axis, AXES)}")
        others = differing(kept, axis)
        if others:
            raise self._error(
                "where",
                f"must leave workloads that differ in {axis} alone, they differ in "
                f"{', '.join(others)}; add a condition on {others[0]}",
            )
        places = {position(one, axis) for one in kept} - {None}
        if len(places) < LEAST_POINTS:
            raise self._error(
                "where",
                f"must leave {LEAST_POINTS} workloads along {axis} at least, leaves {len(places)}; "
                "widen it, or add workloads to the suite",
            )
        return str(axis)

    def _error(self, name: str | None, text: str) -> SuiteError:
        place = self._place if name is None else (*self._place, name)
        return self._document.error(place, text)


_INF = (float("-inf"), float("inf"))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
