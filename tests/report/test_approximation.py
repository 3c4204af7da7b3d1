"""Approximations: the figure of deviation against latency, and the table of deviations."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from harness.analysis.groups import rows_of
from harness.report import figures
from harness.report.figures import Plot
from harness.report.quality import QualityCell, qualities
from harness.report.tradeoffs import STRIP

from .synthetic import BASELINE, FAST, frame_of, row
from .test_page import page_of, read

LOW_RANK = "low_rank(4, 2)"


def approximation(name: str, length: int = 1024, **given: Any) -> dict[str, Any]:
    return row(name, length, **{"approximates": "softmax", "family": name, **given})


def rows() -> list[dict[str, Any]]:
    """Two lengths, two kinds of inputs: exact kernels, two approximations, one of its own."""
    made = []
    for length in (512, 1024):
        for inputs in ("normal(2)", LOW_RANK):
            asked: dict[str, Any] = {"inputs": inputs}
            made += [
                row(BASELINE, length, latency_s=4e-3, **asked),
                row(FAST, length, latency_s=2e-3, **asked),
                approximation("linear", length, deviation=0.9, latency_s=1e-3, **asked),
                approximation("nystrom", length, deviation=0.2, latency_s=3e-3, **asked),
                row("polynomial", length, deviation=0.5, latency_s=1.5e-3, **asked),
            ]
    return made


def deviations(made: list[dict[str, Any]]) -> list[Plot]:
    return [plot for plot in figures.figures(frame_of(made))[0] if plot.kind == "deviation"]


def markers(axes: Axes) -> dict[float, tuple[float, Any]]:
    """Height and fill of each point, by its latency."""
    points = [line for line in axes.get_lines() if line.get_linestyle() == "None"]
    return {
        float(np.asarray(line.get_xdata())[0]): (
            float(np.asarray(line.get_ydata())[0]),
            line.get_markerfacecolor(),
        )
        for line in points
    }


def front(axes: Axes) -> list[tuple[float, float]]:
    (line,) = [line for line in axes.get_lines() if line.get_drawstyle() == "steps-post"]
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def test_each_length_and_each_kind_of_inputs_has_a_panel_lengths_first() -> None:
    (plot,) = deviations(rows())
    titles = [axes.get_title(loc="left") for axes in plot.figure.axes if axes.get_visible()]
    assert titles == [
        "inputs=normal(2), q_len 512",
        "inputs=low_rank(4, 2), q_len 512",
        "inputs=normal(2), q_len 1024",
        "inputs=low_rank(4, 2), q_len 1024",
    ]
    assert plot.name == "deviation-forward"
    assert len({axes.get_ylim() for axes in plot.figure.axes}) == 1


def test_the_exact_lie_in_the_strip_and_mechanisms_of_their_own_are_hollow() -> None:
    found = markers(deviations(rows())[0].figure.axes[0])
    assert {at: height for at, (height, _) in found.items()} == {
        4e-3: STRIP / 2,
        2e-3: STRIP / 2,
        1e-3: 0.9,
        3e-3: 0.2,
        1.5e-3: 0.5,
    }
    assert [at for at, (_, fill) in found.items() if fill == "white"] == [1.5e-3]


def test_every_deviation_lies_above_the_strip() -> None:
    axes = deviations(rows())[0].figure.axes[0]
    low, high = np.log(axes.get_ylim())
    assert (np.log(0.2) - low) / (high - low) > STRIP
    figures.render(axes.figure, "png")  # type: ignore[arg-type]
    ticks = [text.get_text() for text in axes.get_yticklabels()]
    assert {"0.3", "0.5"} & set(ticks)
    assert not any("e" in tick for tick in ticks)


def test_the_front_ends_at_the_fastest_exact_kernel() -> None:
    found = front(deviations(rows())[0].figure.axes[0])
    assert [(x, y) for x, y in found if y > 1e-9] == [(1e-3, 0.9), (1.5e-3, 0.5)]
    assert found[-1][0] == 2e-3


def test_what_is_not_right_is_not_drawn() -> None:
    made = [*rows(), approximation("performer", 512, status="incorrect", reason="x")]
    (plot,) = deviations(made)
    assert not any("performer" in text.get_text() for text in plot.figure.legends[0].get_texts())


def test_without_approximations_nobody_is_told_of_the_figure() -> None:
    plots, missing = figures.figures(frame_of([row(BASELINE), row("polynomial", deviation=0.4)]))
    assert "deviation" not in {plot.kind for plot in plots}
    assert not any("Deviation" in one.title for one in missing)


def test_approximations_that_all_failed_are_a_reason() -> None:
    made = [row(BASELINE), approximation("linear", status="oom", reason="no memory")]
    said = {one.title: one.reason for one in figures.figures(frame_of(made))[1]}
    assert said["Deviation from softmax attention against latency, forward"] == (
        "no approximation came out ok"
    )


def test_an_approximation_that_is_exact_here_draws_alone() -> None:
    (plot,) = deviations([approximation("window", deviation=1e-7, error_bound=1e-6)])
    assert figures.render(plot.figure, "svg")


def test_deviation_and_error_stand_beside_each_other() -> None:
    tables = qualities(rows_of(frame_of(rows())))
    assert [table.title for table in tables] == ["forward, q_len 512", "forward, q_len 1024"]
    assert tables[0].workloads == ("inputs=normal(2)", "inputs=low_rank(4, 2)")
    assert [line.variant for line in tables[0].lines] == ["linear", "nystrom"]
    assert tables[0].lines[0].cells[0] == QualityCell("0.9", "error 3.2e-07")


def test_an_approximation_that_failed_has_an_empty_cell() -> None:
    asked: dict[str, Any] = {"inputs": LOW_RANK, "status": "oom", "reason": "no memory"}
    made = [approximation("linear", deviation=0.9), approximation("linear", **asked)]
    (table,) = qualities(rows_of(frame_of(made)))
    assert [cell is None for cell in table.lines[0].cells] == [False, True]
    assert qualities(rows_of(frame_of(made[1:]))) == []


def test_the_page_says_what_a_deviation_is_not() -> None:
    text = page_of(frame_of(rows()))
    read(text)
    assert 'id="approximation"' in text
    assert 'href="#approximation"' in text
    assert "Deviation is no accuracy" in text
    assert "says nothing of how well a model learns" in text
    assert re.search(r"<td class=\"number\">0.9<br>", text)


@pytest.mark.parametrize("made", [[], [row(BASELINE)]])
def test_a_page_without_approximations_has_no_section_of_them(made: list[dict[str, Any]]) -> None:
    assert "approximation" not in page_of(frame_of(made))
