"""Charts of a quantity against latency: what is given up for speed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, final

from matplotlib.axes import Axes

from harness.analysis.groups import Group, Row, in_order
from harness.report import axes as scales
from harness.report.charts import Chart, Looks, hollow, marker
from harness.report.style import INK

Point = tuple[float, float]
SIZE = 8.0
_FRONTS = ("-", (0, (5, 2)), (0, (1, 1.5)))
# The strip at the foot of a panel of deviations, as a share of its height: what is exact.
STRIP = 0.12


@final
class ErrorLatency(Chart):
    """Error against latency at one length, with a Pareto front for each family.

    Errors are against each family's own definition: across families no front means anything.
    """

    kind = "error"
    title = "Error against latency"
    quantity = "error"
    columns = ("latency_s",)
    shares_y = False
    joined = False

    def rows(self, group: Group) -> list[Row]:
        """The rows of the longest of those lengths that most variants completed."""
        usable = [row for row in super().rows(group) if row.get("error") is not None]
        counts = {row[group.axis]: 0 for row in usable}
        for row in usable:
            counts[row[group.axis]] += 1
        chosen = max(counts, key=lambda length: (counts[length], length), default=None)
        return [row for row in usable if row[group.axis] == chosen]

    def panel_title(self, group: Group, varying: str) -> str:
        """The group and the length shown."""
        rows = self.rows(group)
        return _with_length(varying, group, rows)

    def draw(self, axes: Axes, group: Group, looks: Looks) -> None:
        """A marker a variant, and by family the front of those that none beats in both."""
        rows = self.rows(group)
        floor = zero_place(rows)
        points = {row["variant"]: (row["latency_s"], row["error"] or floor) for row in rows}
        for at, family in enumerate(in_order(row.get("family") for row in rows)):
            mine = [points[row["variant"]] for row in rows if row.get("family") == family]
            style: dict[str, Any] = {
                "linestyle": _FRONTS[at % len(_FRONTS)],
                "drawstyle": "steps-post",
            }
            axes.plot(*zip(*pareto_front(mine), strict=True), color=INK, linewidth=1, **style)
        for row in rows:
            look = looks[row["variant"]]
            latency, error = points[row["variant"]]
            axes.hlines(error, *_ends(row), color=look.colour, linewidth=1.5)
            axes.plot([latency], [error], linestyle="none", **marker(look, SIZE))

    def scale(self, axes: Axes, group: Group, everything: Sequence[Row]) -> None:
        """Seconds by errors, each panel by its own."""
        rows = self.rows(group)
        latencies = [row["latency_s"] for row in rows]
        above = [row["error"] for row in rows if row["error"] > 0] or [1e-16]
        zero = zero_place(rows) if any(row["error"] == 0 for row in rows) else None
        scales.seconds_axis(axes.xaxis, min(latencies), max(latencies))
        scales.error_axis(axes.yaxis, min(above), max(above), zero)
        axes.set_xlabel("latency", color=INK)


@final
class DeviationLatency(Chart):
    """Deviation from softmax attention against latency, a panel for each workload.

    Drawn where some variant says that it approximates another. Filled: approximations, and what
    is softmax attention to rounding; hollow: mechanisms of their own.
    """

    kind = "deviation"
    title = "Deviation from softmax attention against latency"
    quantity = "deviation"
    columns = ("latency_s",)
    joined = False

    def rows(self, group: Group) -> list[Row]:
        """The rows that have a deviation."""
        return [row for row in super().rows(group) if row.get("deviation") is not None]

    def panels(self, groups: Sequence[Group]) -> list[Group]:
        """A panel for each length of each group with an approximation, by length."""
        lengths = sorted({length for group in groups for length in group.lengths})
        parts = [_at_length(group, length) for length in lengths for group in groups]
        return [part for part in parts if any(row.get("approximates") for row in self.rows(part))]

    def why_missing(self, groups: Sequence[Group]) -> str | None:
        """None where no variant approximates another: then nobody would look for it."""
        if not any(row.get("approximates") for group in groups for row in group.rows):
            return None
        return "no approximation came out ok"

    def panel_title(self, group: Group, varying: str) -> str:
        """The group and the length shown."""
        return _with_length(varying, group, self.rows(group))

    def draw(self, axes: Axes, group: Group, looks: Looks) -> None:
        """A marker a variant, what is exact in the strip below, and the front of all."""
        rows = self.rows(group)
        points = [(row["latency_s"], 0.0 if is_exact(row) else row["deviation"]) for row in rows]
        # A deviation of 0 has no place on a log axis: the front leaves through the strip.
        front = [(latency, deviation or 1e-30) for latency, deviation in pareto_front(points)]
        axes.plot(*zip(*front, strict=True), color=INK, linewidth=1, drawstyle="steps-post")
        for row in rows:
            look = looks[row["variant"]]
            own = not row.get("approximates") and not is_exact(row)
            style = hollow(look, SIZE) if own else marker(look, SIZE)
            place: dict[str, Any] = (
                {"transform": axes.get_xaxis_transform()} if is_exact(row) else {}
            )
            height = STRIP / 2 if is_exact(row) else row["deviation"]
            axes.hlines(height, *_ends(row), color=look.colour, linewidth=1.5, **place)
            axes.plot([row["latency_s"]], [height], linestyle="none", **style, **place)

    def scale(self, axes: Axes, group: Group, everything: Sequence[Row]) -> None:
        """Seconds, each panel by its own, by deviations."""
        latencies = [row["latency_s"] for row in self.rows(group)]
        found = [row["deviation"] for row in everything if not is_exact(row)] or [1.0]
        scales.seconds_axis(axes.xaxis, min(latencies), max(latencies))
        scales.deviation_axis(axes, min(found), max(found), STRIP)
        axes.plot([0, 1], [STRIP] * 2, color=INK, linewidth=0.6, transform=axes.transAxes)
        axes.text(0.01, STRIP / 2, "exact", transform=axes.transAxes, va="center", fontsize=8)
        axes.set_xlabel("latency", color=INK)


def is_exact(row: Row) -> bool:
    """True where a case lies no further from softmax attention than rounding puts it."""
    return bool(row["deviation"] <= row["error_bound"])


def _at_length(group: Group, length: int) -> Group:
    return dataclasses.replace(
        group, rows=tuple(row for row in group.rows if row[group.axis] == length)
    )


def _with_length(varying: str, group: Group, rows: Sequence[Row]) -> str:
    at = f"{group.axis} {rows[0][group.axis]}" if rows else ""
    return ", ".join(filter(None, (varying, at)))


def _ends(row: Row) -> tuple[float, float]:
    """The interval of a latency; the latency twice where there is none."""
    latency = float(row["latency_s"])
    low, high = (float(row.get(f"latency_{end}_s") or latency) for end in ("low", "high"))
    return low, high


def zero_place(rows: Sequence[Row]) -> float:
    """Where an error of exactly 0 is drawn on a log axis: a decade below the smallest other."""
    return min((row["error"] for row in rows if row["error"] > 0), default=1e-15) / 10


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in one coordinate and equals in the other, by the first.

    Smaller is better in both.
    """
    front: list[Point] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front
