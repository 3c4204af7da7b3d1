"""Figures: every chart for every run and pass, as PNG, SVG and PDF, byte for byte repeatable."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.analysis.groups import Group, grouped, in_order, rows_of, varying
from harness.report import axes as scales
from harness.report.charts import Chart, Latency, Limit, Looks, Memory, Speedup, marker
from harness.report.ranking import Comparisons, compared
from harness.report.simulated import Simulated
from harness.report.style import INK, looks
from harness.report.tradeoffs import DeviationLatency, ErrorLatency

CHARTS: tuple[Chart, ...] = (
    Latency(),
    Speedup(),
    Memory(),
    Limit(),
    ErrorLatency(),
    DeviationLatency(),
    Simulated(),
)
FORMATS = ("png", "svg", "pdf")
# A figure with more panels than this is cut in two.
MOST_PANELS = 9
WIDTHS = (6.8, 9.6, 12.4)
"""In inches, of a figure of one column of panels, two and three."""
# Dates and versions would make two equal figures differ.
_NO_METADATA: Mapping[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# A variant's name is text, never TeX; the salt makes the ids of an SVG repeatable.
SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.hashsalt": "attnbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": "#888888",
}


@dataclass(frozen=True)
class Plot:
    """A figure, and what its caption needs; `comparisons` are those that were timed."""

    name: str
    kind: str
    title: str
    alt: str
    figure: Figure
    comparisons: tuple[Comparisons, ...]


@dataclass(frozen=True)
class Missing:
    """A figure that was left out, and why."""

    title: str
    reason: str


def figures(frame: pd.DataFrame) -> tuple[list[Plot], list[Missing]]:
    """All figures that the frame allows, and those that it does not, with the reason."""
    groups = grouped(rows_of(frame))
    styles = looks(in_order(name for group in groups for name in group.variants))
    plots: list[Plot] = []
    missing: list[Missing] = []
    runs = in_order(group["run"] for group in groups)
    for chart in CHARTS:
        for run, kind in in_order((group["run"], group["pass"]) for group in groups):
            members = [group for group in groups if (group["run"], group["pass"]) == (run, kind)]
            about = f"{kind}, run {run}" if len(runs) > 1 else str(kind)
            stem = f"{chart.kind}-{_slug(kind)}"
            stem += f"-run{runs.index(run) + 1}" if len(runs) > 1 else ""
            drawn = chart.panels(members)
            reason = None if drawn else chart.why_missing(members)
            if reason is not None:
                missing.append(Missing(f"{chart.title}, {about}", reason))
            plots += _pages(chart, about, stem, drawn, styles)
    if not groups:
        usual = [chart for chart in CHARTS if chart.why_missing([]) is not None]
        missing = [Missing(chart.title, "the run holds no case") for chart in usual]
    return plots, missing


def render(figure: Figure, kind: str) -> bytes:
    """The bytes of a figure as `png`, `svg` or `pdf`; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS):
        figure.savefig(buffer, format=kind, dpi=160, metadata=_NO_METADATA[kind])
    return buffer.getvalue()


def save(plots: Sequence[Plot], folder: Path) -> list[Path]:
    """Write each figure in every format into the folder; returns the paths."""
    paths = []
    for plot in plots:
        for kind in FORMATS:
            path = folder / f"{plot.name}.{kind}"
            path.write_bytes(render(plot.figure, kind))
            paths.append(path)
    return paths


@contextlib.contextmanager
def framed(title: str, width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches with its title; laid out once, and not again for each format."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        figure.suptitle(title, color=INK, fontsize=12, x=0.01, ha="left")
        yield figure
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def _pages(
    chart: Chart, about: str, stem: str, groups: Sequence[Group], styles: Looks
) -> list[Plot]:
    cuts = [groups[at : at + MOST_PANELS] for at in range(0, len(groups), MOST_PANELS)]
    made = []
    for number, cut in enumerate(cuts, start=1):
        title = f"{chart.title}, {about}" + (f" ({number} of {len(cuts)})" if cuts[1:] else "")
        name = stem + (f"-{number}" if cuts[1:] else "")
        shown = [row for group in cut for row in chart.rows(group)] if chart.compares else []
        figure, alt = _figure(chart, title, cut, styles), _alt(chart, cut)
        made.append(Plot(name, chart.kind, title, alt, figure, tuple(compared(shown))))
    return made


def _figure(chart: Chart, title: str, groups: Sequence[Group], styles: Looks) -> Figure:
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    names = in_order(row["variant"] for group in groups for row in chart.rows(group))
    width = WIDTHS[columns - 1]
    legend_columns = _legend_columns(names, width)
    height = 0.6 + 3.4 * lines + 0.24 * (len(names) // legend_columns + 1)
    with framed(title, width, height) as figure:
        panels = figure.subplots(lines, columns, squeeze=False, sharey=chart.shares_y).flat
        _draw_panels(chart, list(panels), columns, groups, styles)
        handles = [_handle(chart, name, styles) for name in names]
        labels = list(names)
        if chart.compares:
            handles.append(Line2D([], [], color=INK, linewidth=1.2, linestyle=(0, (4, 3))))
            labels.append(f"{', '.join(_baselines(groups)) or 'baseline'} (baseline, 1x)")
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=min(legend_columns, len(labels)),
            frameon=False,
            fontsize=9,
            handlelength=3,
        )
    return figure


def _draw_panels(
    chart: Chart, panels: Sequence[Axes], columns: int, groups: Sequence[Group], styles: Looks
) -> None:
    everything = [row for group in groups for row in chart.rows(group)]
    names = varying(group.key for group in groups)
    for at, (axes, group) in enumerate(zip(panels, groups, strict=False)):
        scales.tidy(axes)
        chart.draw(axes, group, styles)
        chart.scale(axes, group, everything)
        above = group.title_of(names)
        axes.set_title(chart.panel_title(group, above), color=INK, fontsize=10, loc="left")
        if at % columns == 0:
            axes.set_ylabel(chart.quantity, color=INK)
    for axes in panels[len(groups) :]:
        axes.set_visible(False)


def _handle(chart: Chart, name: str, styles: Looks) -> Line2D:
    look = styles[name]
    line: Any = look.dash if chart.joined else "none"
    return Line2D([], [], color=look.colour, linestyle=line, **marker(look))


def _legend_columns(names: Sequence[str], width: float) -> int:
    # 9 pt of DejaVu Sans take about 0.085 inches a letter, the handle half an inch.
    longest = max((len(name) for name in names), default=1)
    return max(1, min(4, int(width / (0.7 + 0.085 * longest))))


def _baselines(groups: Sequence[Group]) -> tuple[str, ...]:
    return in_order(group.baseline for group in groups if group.baseline)


def _alt(chart: Chart, groups: Sequence[Group]) -> str:
    names = in_order(row["variant"] for group in groups for row in chart.rows(group))
    lengths = sorted({length for group in groups for length in group.lengths})
    span = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else str(lengths[0])
    panels = f" in {len(groups)} panels" if len(groups) > 1 else ""
    return f"{chart.title}{panels}, lengths {span}, for {', '.join(names)}. The tables hold it all."


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
