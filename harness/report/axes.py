"""Axes of figures: log scales with plain ticks and units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.report.numbers import exact_seconds, size
from harness.report.style import GRID, INK

# More ticks than this run into each other at the size of a panel.
MOST_TICKS = 6
_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))


def tidy(axes: Axes) -> None:
    """A light grid and no box: what is drawn are the data."""
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def length_axis(axes: Axes, lengths: Sequence[int], label: str) -> None:
    """A log axis of lengths whose ticks are powers of two, written plainly."""
    alone = min(lengths) == max(lengths)
    count_axis(axes, lengths, f"{label} (tokens){', variants side by side' if alone else ''}")


def count_axis(axes: Axes, counts: Sequence[int], label: str) -> None:
    """A log axis of whole numbers whose ticks are powers of two, written plainly."""
    axes.set_xscale("log", base=2)
    low, high = min(counts), max(counts)
    axes.set_xlim(low / 2**0.3, high * 2**0.3)
    ticks = powers_of_two(low, high) or sorted(set(counts))
    _set_ticks(axes.xaxis, ticks, lambda value: f"{value:g}")
    axes.set_xlabel(label, color=INK)


def seconds_axis(axis: Axis, low: float, high: float) -> None:
    """A log axis of times with SI prefixes."""
    _decimal_axis(axis, low, high, _plain_seconds)


def bytes_axis(axis: Axis, low: float, high: float) -> None:
    """A log axis of bytes with ticks at powers of two."""
    low, high = _widened(low, high, 4.0)
    _scale(axis, 2, low / 1.3, high * 1.3)
    _set_ticks(axis, powers_of_two(low, high), size)


def factor_axis(axis: Axis, low: float, high: float) -> None:
    """A log axis of factors, 1 always within it: `0.5x`, `1x`, `2x`."""
    low, high = _widened(min(low, 1.0), max(high, 1.0), 4.0)
    _scale(axis, 2, low / 1.1, high * 1.1)
    ticks = powers_of_two(low, high)
    if len(ticks) < MOST_TICKS / 2 + 1:
        ticks = sorted([*ticks, *(1.5 * tick for tick in [ticks[0] / 2, *ticks])])
    _set_ticks(axis, ticks, lambda value: f"{value:g}x")


def share_axis(axis: Axis, low: float, high: float) -> None:
    """A log axis of shares, 100% always within it: `1%`, `10%`, `100%`."""
    _decimal_axis(axis, low, max(high, 1.0), lambda value: f"{100 * value:g}%")


def error_axis(axis: Axis, low: float, high: float, zero: float | None) -> None:
    """A log axis of errors; `zero` is where an error of exactly 0 is drawn, and is labelled so."""
    low, high = _widened(low, high, 10.0)
    _scale(axis, 10, (zero or low) / 2, high * 2)
    ticks = [10.0**power for power in _stepped(math.log10(low), math.log10(high))]
    if len(ticks) < MOST_TICKS / 2:
        ticks = _decimal_ticks(low, high, (1.0, 2.0, 5.0))
    _set_ticks(
        axis,
        [zero, *ticks] if zero else ticks,
        lambda value: "0" if zero and math.isclose(value, zero) else f"{value:.0e}",
    )


def deviation_axis(axes: Axes, low: float, high: float, strip: float) -> None:
    """A vertical log axis of deviations; this share of its height is left free below them."""
    _decimal_axis(axes.yaxis, low, high, lambda value: f"{value:g}")
    low, high = axes.get_ylim()
    axes.set_ylim(low / (high / low) ** (strip / (1 - strip)), high)


def powers_of_two(low: float, high: float) -> list[float]:
    """At most MOST_TICKS powers of two from low to high."""
    return [2.0**power for power in _stepped(math.log2(low), math.log2(high))]


def _plain_seconds(value: float) -> str:
    number, unit = exact_seconds(value).split(" ")
    return f"{float(number):g} {unit}"


def _decimal_axis(axis: Axis, low: float, high: float, text: Callable[[float], str]) -> None:
    low, high = _widened(low, high, 3.0)
    _scale(axis, 10, low / 1.15, high * 1.15)
    choices = [_decimal_ticks(low, high, steps) for steps in _STEPS]
    fits = [ticks for ticks in choices if 3 <= len(ticks) <= MOST_TICKS]
    powers = [10.0**power for power in _stepped(math.log10(low), math.log10(high))]
    _set_ticks(axis, fits[0] if fits else powers, text)


def _decimal_ticks(low: float, high: float, steps: Sequence[float]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # Through text: 5 * 10**-3 is not the float nearest to 0.005.
    made = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in made if low / 1.1 <= tick <= high * 1.1]


def _stepped(low: float, high: float) -> list[int]:
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    step = max(1, math.ceil((last - first + 1) / MOST_TICKS))
    # From 0 on, so that a factor of 1 and a size of 1 MiB keep their tick.
    return [power for power in range(first, last + 1) if power % step == 0 or step == 1]


def _widened(low: float, high: float, least: float) -> tuple[float, float]:
    """The same middle, but high / low at least this much."""
    if high / low >= least:
        return low, high
    middle = math.sqrt(low * high)
    return middle / math.sqrt(least), middle * math.sqrt(least)


def _scale(axis: Axis, base: int, low: float, high: float) -> None:
    axes = axis.axes
    if axis is axes.xaxis:
        axes.set_xscale("log", base=base)
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log", base=base)
        axes.set_ylim(low, high)


def _set_ticks(axis: Axis, ticks: Sequence[float], text: Callable[[float], str]) -> None:
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
