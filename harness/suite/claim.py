"""A claim: a figure that a paper states, and which figure of a run is held against it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from harness.mask import MaskSpec
from harness.suite.where import Filter, parse_where
from harness.workload import Workload

Form = Literal["value", "ratio", "growth"]
Range = tuple[float | None, float | None]
"""From, to; None where that side is open."""

MEASURES = {
    "time": "median latency of a call",
    "memory": "peak of allocated bytes in a call, the output counted, the inputs not",
    "overhead": "memory less the output",
    "footprint": "memory and the inputs q, k and v",
    "error": "error of the output against the variant's own definition in float64",
    "deviation": "distance of the output from softmax attention",
    "cycles": "cycles of its schedule in simulation, a block of rows for a vector",
    "output_rms": "root mean square of the output's elements: values are drawn with variance 1, "
    "so that times sqrt(N) it is the Frobenius norm of the matrix of weights, in expectation",
}
QUANTITIES = tuple(name + form for name in MEASURES for form in ("", "_ratio", "_growth"))
AXES = ("q_len", "kv_len", "head_dim", "heads", "batch", "window")
"""What a growth may be along; window is the w of the mask."""
LEAST_POINTS = 3
"""Workloads that a growth needs: as many as there must be lengths for an exponent."""

_SUFFIX = re.compile(r"_(ratio|growth)$")
_DERIVED = {"q_len": "kv_len", "heads": "kv_heads", "head_dim": "v_head_dim"}


class Claim(BaseModel):
    """What a paper claims, with its source, and what of a run would bear it out.

    quantity: a measure of `of`, its ratio to that of `over`, or its growth: the exponent along
    an axis. where: the workloads, in the words of `--where`. expected: a number with its
    `tolerance`, or a range. trend: a wider range that still shows the direction. note: in what
    the paper's setting differs. not_testable: why nothing here can tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str
    source: str
    quantity: str = ""
    of: str = ""
    over: str = ""
    where: str = ""
    along: str = ""
    expected: float | Range | None = None
    tolerance: float | None = None
    trend: Range | None = None
    note: str = ""
    not_testable: str = ""

    @property
    def measure(self) -> str:
        """What is measured: one of MEASURES."""
        return _SUFFIX.sub("", self.quantity)

    @property
    def form(self) -> Form:
        """Whether it is a value, a ratio or a growth."""
        match = _SUFFIX.search(self.quantity)
        return "value" if match is None else "ratio" if match[1] == "ratio" else "growth"

    @property
    def allowed(self) -> Range:
        """The range in which the claim is reproduced."""
        if isinstance(self.expected, tuple):
            return self.expected
        middle, reach = self.expected or 0.0, self.tolerance or 0.0
        return middle - reach, middle + reach

    @property
    def condition(self) -> Filter:
        """`where`, read."""
        return parse_where([self.where] if self.where else [])

    def as_dict(self) -> dict[str, Any]:
        """The fields that are said, as the manifest keeps them."""
        return self.model_dump(mode="json", exclude_defaults=True)


def anywhere(condition: Filter) -> Filter:
    """The condition less what it says of the device."""
    return Filter(tuple(clause for clause in condition.clauses if clause.field != "device"))


def within(low: float, high: float, allowed: Range) -> bool:
    """True when all of low..high lies in the range."""
    start, end = allowed
    return (start is None or start <= low) and (end is None or high <= end)


def apart(low: float, high: float, allowed: Range) -> bool:
    """True when nothing of low..high lies in the range."""
    start, end = allowed
    return (start is not None and high < start) or (end is not None and end < low)


def position(workload: Workload, axis: str) -> int | None:
    """Where a workload lies on an axis; None where its mask has no window."""
    if axis == "window":
        return workload.mask_spec.window
    found: int = getattr(workload, axis)
    return found


def but_for(workload: Workload, axis: str) -> Mapping[str, Any]:
    """The fields of a workload that the axis does not decide: equal along one growth."""
    fields = workload.as_dict()
    if axis == "window":
        spec = MaskSpec.parse(fields["mask"])
        return {**fields, "mask": str(MaskSpec(spec.causal, None, spec.padding, spec.packed))}
    other = _DERIVED.get(axis)
    if other is not None and fields[other] == fields[axis]:
        del fields[other]
    if axis == "head_dim" and fields["scale"] == fields["head_dim"] ** -0.5:
        del fields["scale"]
    if axis == "q_len":
        # Of an image the number of pixels follows from these.
        fields = {name: value for name, value in fields.items() if name not in ("height", "width")}
    del fields[axis]
    return fields


def differing(workloads: Iterable[Workload], axis: str) -> list[str]:
    """The fields besides the axis in which workloads differ."""
    found = [but_for(workload, axis) for workload in workloads]
    names = dict.fromkeys(name for fields in found for name in fields)
    return [name for name in names if len({str(fields.get(name)) for fields in found}) > 1]
