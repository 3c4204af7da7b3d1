"""A schedule as a picture: elements over cycles, operations by kind, hops as arrows."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.report.axes import tidy
from harness.report.figures import framed
from harness.report.style import INK
from harness.schedule.model import Item, Operation, Schedule

MOST_CYCLES = 128
"""Drawn of a longer schedule, its first: bars of less than a millimetre show nothing."""
MOST_LABELLED = 32
"""Cycles up to which an operation's operands fit into its bar."""
FILLS = {"score": "#56B4E9", "weigh": "#E69F00", "merge": "#CC79A7"}
NAMES = {"score": "S: score", "weigh": "W: weighted sum", "merge": "M: merge"}
HOPS = {"vector": "#222222", "score": "#0072B2", "partial": "#D55E00"}
HALF = 0.3
"""Half the height of a bar, of an element's row of 1."""
Hop = tuple[str, int, int]
"""What hops, in which cycle, from which element."""


def gantt(schedule: Schedule) -> Figure:
    """Bars of operations; an arrow for each hop, from the end of its cycle to the next element.

    The ring's last link leaves below the last element and enters above the first.
    """
    shown = min(schedule.cycles, MOST_CYCLES)
    width = min(16.0, max(6.8, 1.6 + 0.42 * shown))
    height = 1.5 + 0.85 * min(schedule.elements, 16)
    with framed(_title(schedule, shown), width, height) as figure:
        axes = figure.subplots()
        _draw_operations(axes, schedule, shown)
        _draw_hops(axes, schedule, shown)
        _scale(axes, schedule, shown)
        handles = _legend(schedule, shown)
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(len(handles), 6),
            frameon=False,
            fontsize=9,
        )
    return figure


def _title(schedule: Schedule, shown: int) -> str:
    extent = f"cycles 0 to {shown - 1} of " if shown < schedule.cycles else ""
    sizes = f"n={schedule.vectors}, m={schedule.elements}"
    return f"{schedule.name}: {schedule.scheme}, {sizes}; {extent}{schedule.cycles:,} cycles"


def _operations(schedule: Schedule, shown: int) -> Iterator[tuple[int, int, Operation]]:
    for cycle, row in enumerate(schedule.operations[:shown]):
        for element, operation in enumerate(row):
            if operation is not None:
                yield cycle, element, operation


def _draw_operations(axes: Axes, schedule: Schedule, shown: int) -> None:
    bars: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for cycle, element, operation in _operations(schedule, shown):
        bars.setdefault((operation.kind, element), []).append((cycle + 0.04, 0.92))
        if shown <= MOST_LABELLED:
            text = str(operation.i) if operation.kind == "merge" else f"{operation.i},{operation.j}"
            axes.text(
                cycle + 0.5, element, text, ha="center", va="center", fontsize=7, color="black"
            )
    for (kind, element), spans in bars.items():
        axes.broken_barh(spans, (element - HALF, 2 * HALF), facecolors=FILLS[kind], linewidth=0)


def _hops(schedule: Schedule, shown: int) -> list[Hop]:
    return [
        (_kind(item), cycle, element)
        for cycle, row in enumerate(schedule.sends[:shown])
        for element, items in enumerate(row)
        for item in items
    ]


def _kind(item: Item) -> str:
    return item.kind if item.kind in HOPS else "vector"


def _draw_hops(axes: Axes, schedule: Schedule, shown: int) -> None:
    """Short arrows in the gap between two rows, side by side by kind."""
    for at, (kind, colour) in enumerate(HOPS.items()):
        found = dict.fromkeys((c, e) for name, c, e in _hops(schedule, shown) if name == kind)
        if not found:
            continue
        starts = [(cycle + 0.3 + 0.2 * at, element + HALF) for cycle, element in found]
        wraps = [
            (cycle + 0.3 + 0.2 * at, -1 + HALF)
            for cycle, element in found
            if element == schedule.elements - 1
        ]
        x, y = zip(*starts, *wraps, strict=True)
        axes.quiver(
            x,
            y,
            [0.4] * len(x),
            [1 - 2 * HALF] * len(x),
            angles="xy",
            scale_units="xy",
            scale=1,
            units="inches",
            width=0.012,
            headwidth=5,
            headlength=6,
            headaxislength=5,
            color=colour,
        )


def _scale(axes: Axes, schedule: Schedule, shown: int) -> None:
    tidy(axes)
    axes.grid(False)
    axes.set_xlim(0, shown + 0.6)
    axes.set_ylim(schedule.elements - HALF, -1 + HALF)
    axes.set_yticks(range(schedule.elements), [f"{p}" for p in range(schedule.elements)])
    axes.set_ylabel("element", color=INK)
    axes.set_xlabel("cycle", color=INK)
    step = next(step for step in (1, 2, 5, 10, 20) if shown <= 20 * step)
    axes.set_xticks(
        [t + 0.5 for t in range(0, shown, step)], [str(t) for t in range(0, shown, step)]
    )


def _legend(schedule: Schedule, shown: int) -> list[Patch | Line2D]:
    kinds = {operation.kind for _, _, operation in _operations(schedule, shown)}
    moved = {kind for kind, _, _ in _hops(schedule, shown)}
    bars = [Patch(color=FILLS[kind], label=NAMES[kind]) for kind in FILLS if kind in kinds]
    names = {"vector": "vector sent on", "score": "score sent on", "partial": "partial sum sent on"}
    arrows = [
        Line2D([], [], color=HOPS[kind], marker=">", markersize=5, label=names[kind])
        for kind in HOPS
        if kind in moved
    ]
    return [*bars, *arrows]
