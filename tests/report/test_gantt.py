from __future__ import annotations

import pytest
from matplotlib.quiver import Quiver

from harness.report.figures import render
from harness.report.gantt import FILLS, MOST_CYCLES, gantt
from harness.schedule.generate import GENERATORS
from harness.schedule.model import Schedule


def bars(schedule: Schedule) -> int:
    (axes,) = gantt(schedule).axes
    drawn = axes.collections
    return sum(len(found.get_paths()) for found in drawn if not isinstance(found, Quiver))


def arrows(schedule: Schedule) -> int:
    (axes,) = gantt(schedule).axes
    return sum(found.N for found in axes.collections if isinstance(found, Quiver))


@pytest.mark.parametrize("name", GENERATORS)
def test_every_operation_has_its_bar_and_every_hop_its_arrow(name: str) -> None:
    schedule = GENERATORS[name](8, 2)
    done = [operation for row in schedule.operations for operation in row if operation]
    assert bars(schedule) == len(done)
    # Two alike in a cycle are one arrow; the last link is drawn at both of its ends.
    hops = {
        (item.kind if item.kind in ("score", "partial") else "vector", cycle, element)
        for cycle, row in enumerate(schedule.sends)
        for element, items in enumerate(row)
        for item in items
    }
    assert arrows(schedule) == len(hops) + sum(element == 1 for _, _, element in hops)


def test_the_legend_names_what_is_drawn() -> None:
    schedule = GENERATORS["half_fused"](8, 4)
    names = {text.get_text() for text in gantt(schedule).legends[0].get_texts()}
    assert {"S: score", "W: weighted sum", "M: merge", "partial sum sent on"} <= names
    names = {text.get_text() for text in gantt(GENERATORS["ring"](8, 4)).legends[0].get_texts()}
    assert names == {"S: score", "W: weighted sum", "vector sent on"}


def test_of_a_long_schedule_the_first_cycles_are_drawn_and_the_title_says_so() -> None:
    schedule = GENERATORS["ring"](32, 4)
    figure = gantt(schedule)
    assert figure.get_suptitle() == "ring: general, n=32, m=4; cycles 0 to 127 of 512 cycles"
    assert bars(schedule) == 4 * MOST_CYCLES


def test_the_same_schedule_gives_the_same_picture() -> None:
    schedule = GENERATORS["half_ring"](4, 2)
    assert render(gantt(schedule), "png") == render(gantt(schedule), "png")
    assert len(set(FILLS.values())) == len(FILLS)
