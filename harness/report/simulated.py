"""The figure of measured speed-ups against simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from matplotlib.axes import Axes

from harness.analysis.groups import Group, Row
from harness.report import axes as scales
from harness.report.beside import SIMULATED, with_simulated
from harness.report.charts import ROOM, Chart, Looks, hollow, marker
from harness.report.numbers import inverse
from harness.report.style import INK


@final
class Simulated(Chart):
    """Measured speed-up against the simulated one, with the line on which both agree."""

    kind = "simulated"
    title = "Measured speed-up against the simulated one"
    quantity = "measured speed-up"
    columns = ("cycles", "vectors", "ratio")
    compares = True
    joined = False

    def rows(self, group: Group) -> list[Row]:
        """Timed rows with cycles, other than the baseline, which is at 1 in both."""
        found = with_simulated(super().rows(group) if group.rows else ())
        return [row for row in found if not row.get("is_baseline")]

    def why_missing(self, groups: Sequence[Group]) -> str | None:
        """None where no variant has a schedule: then nobody would look for it."""
        return None

    def draw(self, axes: Axes, group: Group, looks: Looks) -> None:
        """A marker a case with its interval; hollow where no difference was shown."""
        for row in self.rows(group):
            look = looks[row["variant"]]
            turned = inverse(row["ratio"], row.get("ratio_low"), row.get("ratio_high"))
            assert turned is not None
            value, low, high = turned
            x = row[SIMULATED]
            if low is not None and high is not None:
                axes.vlines([x], [low], [high], color=look.colour, linewidth=1.5)
            shown = row.get("verdict") in ("faster", "slower")
            style = marker(look) if shown else hollow(look)
            axes.plot([x], [value], linestyle="none", **style)
            if len(group.lengths) > 1:
                text = f"{int(row[group.axis])}"
                axes.annotate(text, (x, value), (5, 3), textcoords="offset points", fontsize=7)

    def scale(self, axes: Axes, group: Group, everything: Sequence[Row]) -> None:
        """Factors by factors."""
        x = [row[SIMULATED] for row in everything]
        y = [1 / row["ratio"] for row in everything]
        scales.factor_axis(axes.xaxis, min(x) / ROOM, max(x) * ROOM)
        scales.factor_axis(axes.yaxis, min(y) / ROOM, max(y) * ROOM)
        axes.set_xlabel("simulated speed-up", color=INK)
        axes.axline((1, 1), (2, 2), color=INK, linewidth=1, zorder=1.5)
        axes.axhline(1.0, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1.5)
