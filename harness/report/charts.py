"""Charts of a quantity against the length: what each draws into one panel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from matplotlib.axes import Axes

from harness.analysis.groups import Group, Row
from harness.report import axes as scales
from harness.report.style import INK, Look

Looks = Mapping[str, Look]
# Seven bands that overlap must still show the lines below them.
BAND = 0.12
# Between the outermost speed-up and the frame.
ROOM = 1.2
# Width, in powers of two of the length, over which variants stand side by side at a single one.
ABREAST = 0.4
# Pointed markers look smaller than others of their size.
_LARGER = {"*": 1.7, "P": 1.2, "X": 1.2}
# How far beyond the outermost point an interval may widen an axis.
MOST_BEYOND = 3.0


class Chart(ABC):
    """One kind of figure. `columns` must all be there, and above 0, for a row to be drawn."""

    kind: ClassVar[str]
    title: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    quantity: ClassVar[str]
    # True when what is shown rests on timed comparisons, some of which are wrong by chance.
    compares: ClassVar[bool] = False
    # Panels that show the same range are compared at a glance.
    shares_y: ClassVar[bool] = True
    # True when the points of a variant are joined by a line.
    joined: ClassVar[bool] = True

    def panels(self, groups: Sequence[Group]) -> list[Group]:
        """What is drawn, one panel each, with the rows that a panel may show."""
        return [group for group in groups if self.rows(group)]

    def why_missing(self, groups: Sequence[Group]) -> str | None:
        """Why there is no such figure; None where nobody would look for one."""
        if not any(row["status"] == "ok" for group in groups for row in group.rows):
            return "no case came out ok"
        if self.compares:
            return "nothing was compared with a baseline"
        return f"{self.quantity} was not measured"

    def rows(self, group: Group) -> list[Row]:
        """The rows of a group that can be drawn: ok, and measured."""
        return [
            row
            for row in group.rows
            if row["status"] == "ok" and all(row.get(name, 0) > 0 for name in self.columns)
        ]

    def panel_title(self, group: Group, varying: str) -> str:
        """What stands above a panel."""
        return varying

    @abstractmethod
    def draw(self, axes: Axes, group: Group, looks: Looks) -> None:
        """Draw the data of one group."""

    @abstractmethod
    def scale(self, axes: Axes, group: Group, everything: Sequence[Row]) -> None:
        """Scale the axes of one panel; `everything` are the rows of all panels of the figure."""


class AgainstLength(Chart):
    """A quantity against the length, a line a variant, a band for its interval."""

    value: ClassVar[str]
    interval: ClassVar[tuple[str, str] | None] = None

    def draw(self, axes: Axes, group: Group, looks: Looks) -> None:
        """A line, its markers and its band, for each variant."""
        rows, axis = self.rows(group), group.axis
        shown = [name for name in group.variants if any(row["variant"] == name for row in rows)]
        alone = len({row[axis] for row in rows}) == 1
        for at, variant in enumerate(shown):
            # At a single length, markers on one vertical would hide each other.
            aside = 2 ** (ABREAST * (at / (len(shown) - 1) - 0.5)) if alone and shown[1:] else 1
            mine = [{**row, axis: row[axis] * aside} for row in rows if row["variant"] == variant]
            mine.sort(key=lambda row: float(row[axis]))
            self.line(axes, mine, axis, looks[variant])

    def line(self, axes: Axes, rows: Sequence[Row], axis: str, look: Look) -> None:
        """The line of one variant."""
        lengths = [row[axis] for row in rows]
        axes.plot(lengths, [self.of(row) for row in rows], **stroke(look), **marker(look))
        bounds = [self.bounds(row) for row in rows]
        # A point without an interval breaks the band: drawn on, the band would pinch to nothing
        # there, as if the value were known exactly.
        known = [low < high for low, high in bounds]
        lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
        axes.fill_between(lengths, lows, highs, where=known, color=look.colour, alpha=BAND, lw=0)
        for at, (length, low, high) in enumerate(zip(lengths, lows, highs, strict=True)):
            if known[at] and not any(known[max(0, at - 1) : at] + known[at + 1 : at + 2]):
                axes.vlines([length], [low], [high], color=look.colour, linewidth=1.5)

    def of(self, row: Row) -> float:
        """The value drawn."""
        return float(row[self.value])

    def bounds(self, row: Row) -> tuple[float, float]:
        """The interval drawn; the value twice where there is none."""
        if self.interval is None:
            return self.of(row), self.of(row)
        low, high = (float(row.get(name) or row[self.value]) for name in self.interval)
        return low, high

    def span(self, rows: Sequence[Row]) -> tuple[float, float]:
        """From the lowest to the highest value drawn, with intervals as far as MOST_BEYOND."""
        points, bounds = [self.of(row) for row in rows], [self.bounds(row) for row in rows]
        # An interval that is not yet narrow would flatten every line.
        return (
            max(min(low for low, _ in bounds), min(points) / MOST_BEYOND),
            min(max(high for _, high in bounds), max(points) * MOST_BEYOND),
        )


@final
class Latency(AgainstLength):
    """Latency against length."""

    kind = "latency"
    title = "Latency against length"
    quantity = "latency"
    columns = ("latency_s",)
    value = "latency_s"
    interval = ("latency_low_s", "latency_high_s")

    def scale(self, axes: Axes, group: Group, everything: Sequence[Row]) -> None:
        """Tokens by seconds."""
        scales.length_axis(axes, group.lengths, group.axis)
        scales.seconds_axis(axes.yaxis, *self.span(everything))


@final
class Memory(AgainstLength):
    """Peak memory against length."""

    kind = "memory"
    title = "Peak memory against length"
    quantity = "peak memory"
    columns = ("peak_bytes",)
    value = "peak_bytes"

    def scale(self, axes: Axes, group: Group, everything: Sequence[Row]) -> None:
        """Tokens by bytes."""
        scales.length_axis(axes, group.lengths, group.axis)
        scales.bytes_axis(axes.yaxis, *self.span(everything))


@final
class Speedup(AgainstLength):
    """Speed-up to the baseline against length, with the line at 1."""

    kind = "speedup"
    title = "Speed-up to the baseline against length"
    quantity = "speed-up"
    columns = ("ratio",)
    value = "ratio"
    compares = True

    def rows(self, group: Group) -> list[Row]:
        """Timed rows other than the baseline, which is the line at 1."""
        return [row for row in super().rows(group) if not row.get("is_baseline")]

    def of(self, row: Row) -> float:
        """1 / ratio."""
        return 1 / float(row["ratio"])

    def bounds(self, row: Row) -> tuple[float, float]:
        """The interval of the ratio, turned over."""
        low, high = (float(row.get(f"ratio_{end}") or row["ratio"]) for end in ("low", "high"))
        return 1 / high, 1 / low

    def line(self, axes: Axes, rows: Sequence[Row], axis: str, look: Look) -> None:
        """The line; markers are hollow where no difference was shown."""
        super().line(axes, rows, axis, look)
        open_ = [row for row in rows if row.get("verdict") not in ("faster", "slower")]
        lengths = [row[axis] for row in open_]
        axes.plot(lengths, [self.of(row) for row in open_], linestyle="none", **hollow(look))

    def scale(self, axes: Axes, group: Group, everything: Sequence[Row]) -> None:
        """Tokens by factors."""
        axes.axhline(1.0, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1.5)
        scales.length_axis(axes, group.lengths, group.axis)
        # Bands are clipped: one that is not yet narrow would flatten every line.
        points = [self.of(row) for row in everything]
        scales.factor_axis(axes.yaxis, min(points) / ROOM, max(points) * ROOM)


@final
class Limit(AgainstLength):
    """Fraction of the attainable against length, with the line at 100%."""

    kind = "limit"
    title = "Fraction of the attainable against length"
    quantity = "fraction of the attainable"
    columns = ("attainable_fraction",)
    value = "attainable_fraction"

    def bounds(self, row: Row) -> tuple[float, float]:
        """The interval of the latency, turned over."""
        fraction, latency = float(row["attainable_fraction"]), float(row["latency_s"])
        low, high = (float(row.get(f"latency_{end}_s") or latency) for end in ("low", "high"))
        return fraction * latency / high, fraction * latency / low

    def scale(self, axes: Axes, group: Group, everything: Sequence[Row]) -> None:
        """Tokens by shares."""
        axes.axhline(1.0, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1.5)
        scales.length_axis(axes, group.lengths, group.axis)
        scales.share_axis(axes.yaxis, *self.span(everything))


def stroke(look: Look) -> dict[str, Any]:
    """How the line of a variant is drawn."""
    return {"color": look.colour, "linestyle": look.dash, "linewidth": 1.6}


def marker(look: Look, size: float = 6.0) -> dict[str, Any]:
    """How a point of a variant is drawn."""
    return {
        "marker": look.marker,
        "markersize": size * _LARGER.get(look.marker, 1.0),
        "markerfacecolor": look.colour,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }


def hollow(look: Look, size: float = 6.0) -> dict[str, Any]:
    """How a point is drawn that says less than the others."""
    empty = {"markerfacecolor": "white", "markeredgecolor": look.colour, "markeredgewidth": 1.2}
    return {**marker(look, size), **empty}
