"""Figures of simulated schedules: cycles, savings, utilisation, and what happens by cycle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from harness.analysis.groups import Row, in_order, rows_of
from harness.report import axes as scales
from harness.report.charts import Looks, marker, stroke
from harness.report.figures import WIDTHS, Plot, framed
from harness.report.gantt import MOST_CYCLES, MOST_LABELLED, gantt
from harness.report.style import INK, looks
from harness.schedule import GENERATORS


@dataclass(frozen=True)
class Sweep:
    """A figure of a column against another, a line a schedule, a panel a value of `panels`."""

    kind: str
    title: str
    column: str
    label: str
    along: str = "vectors"
    panels: str = "elements"


SWEEPS = (
    Sweep("schedule-cycles", "Cycles against vectors", "cycles", "cycles"),
    Sweep("schedule-saving", "Cycles saved against vectors", "saving", "saved against ring"),
    Sweep(
        "schedule-saving-elements",
        "Cycles saved against elements",
        "saving",
        "saved against ring",
        along="elements",
        panels="vectors",
    ),
    Sweep("schedule-utilisation", "Utilisation against vectors", "utilisation", "utilisation"),
)
KINDS = (*(sweep.kind for sweep in SWEEPS), "gantt")
MOST_PANELS = 3
"""The largest values of what panels differ in: savings of the others lie between."""
_NAMES = {"vectors": "vectors n", "elements": "elements m"}


def schedule_plots(frame: pd.DataFrame) -> list[Plot]:
    """All figures of the schedules; of several runs what is in any of them, once."""
    rows = [row for row in rows_of(frame) if row["status"] == "ok"]
    rows = list({(row["schedule"], row["vectors"], row["elements"]): row for row in rows}.values())
    if not rows:
        return []
    styles = looks(in_order(row["schedule"] for row in rows))
    drawn = [_plot(sweep, rows, styles) for sweep in SWEEPS if _spans(sweep, rows)]
    return [*drawn, *_pictures(rows)]


def _spans(sweep: Sweep, rows: Sequence[Row]) -> bool:
    return len({row[sweep.along] for row in rows}) > 1


def _plot(sweep: Sweep, rows: Sequence[Row], styles: Looks) -> Plot:
    values = sorted({row[sweep.panels] for row in rows})[-MOST_PANELS:]
    names = in_order(row["schedule"] for row in rows)
    panels = [[row for row in rows if row[sweep.panels] == value] for value in values]
    title = f"{sweep.title}, simulated"
    with framed(title, WIDTHS[len(values) - 1], 4.4) as figure:
        drawn = figure.subplots(1, len(values), squeeze=False, sharey=True)[0]
        for axes, value, mine in zip(drawn, values, panels, strict=True):
            _draw(axes, sweep, mine, styles)
            axes.set_title(f"{_NAMES[sweep.panels]} = {value}", color=INK, fontsize=10, loc="left")
        _scale(drawn[0], sweep, [row for panel in panels for row in panel])
        drawn[0].set_ylabel(sweep.label, color=INK)
        handles = [Line2D([], [], **_line(styles, name), label=name) for name in names]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9
        )
    alt = f"{title}, for {', '.join(names)}. The table holds it all."
    return Plot(sweep.kind, sweep.kind, title, alt, figure, ())


def _draw(axes: Axes, sweep: Sweep, rows: Sequence[Row], styles: Looks) -> None:
    scales.tidy(axes)
    for name in in_order(row["schedule"] for row in rows):
        mine = sorted((row for row in rows if row["schedule"] == name), key=_along(sweep))
        points = [row[sweep.along] for row in mine], [row[sweep.column] for row in mine]
        axes.plot(*points, **_line(styles, name))
    scales.count_axis(axes, [row[sweep.along] for row in rows], _NAMES[sweep.along])


def _along(sweep: Sweep) -> Callable[[Row], int]:
    return lambda row: int(row[sweep.along])


def _scale(axes: Axes, sweep: Sweep, rows: Sequence[Row]) -> None:
    if sweep.column == "cycles":
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        return
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    low = min(0.0, *(row[sweep.column] for row in rows))
    axes.set_ylim(low - 0.02, 1.02 if sweep.column == "utilisation" else None)


def _line(styles: Looks, name: str) -> dict[str, Any]:
    return {**stroke(styles[name]), **marker(styles[name])}


def _pictures(rows: Sequence[Row]) -> list[Plot]:
    """Of each schedule the largest whose operations can still be labelled, else the smallest."""
    made = []
    for name in in_order(row["schedule"] for row in rows):
        mine = sorted((row for row in rows if row["schedule"] == name), key=lambda r: r["cycles"])
        small = [row for row in mine if row["cycles"] <= MOST_LABELLED] or mine[:1]
        best = max(small, key=lambda row: (row["cycles"], row["elements"]))
        if best["cycles"] <= MOST_CYCLES:
            made.append(_picture(name, int(best["vectors"]), int(best["elements"])))
    return made


def _picture(name: str, n: int, m: int) -> Plot:
    figure = gantt(GENERATORS[name](n, m))
    title = f"{name} of {n} vectors on {m} elements"
    alt = f"What each of {m} elements computes and sends in each cycle of {name}."
    return Plot(f"schedule-{name.replace('_', '-')}-{n}-{m}", "gantt", title, alt, figure, ())
