from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection

from harness.report import figures
from harness.report.axes import powers_of_two
from harness.report.charts import BAND
from harness.report.figures import Missing, Plot
from harness.report.style import looks
from harness.report.tradeoffs import pareto_front

from .synthetic import BASELINE, FAST, frame_of, row, run_frame


def drawn(rows: list[dict[str, object]]) -> dict[str, Plot]:
    return {plot.name: plot for plot in figures.figures(frame_of(rows))[0]}


@pytest.fixture(scope="module")
def whole() -> tuple[list[Plot], list[Missing]]:
    return figures.figures(run_frame())


def labels(plot: Plot) -> list[str]:
    return [text.get_text() for text in plot.figure.legends[0].get_texts()]


def test_each_quantity_has_a_figure_for_each_pass(
    whole: tuple[list[Plot], list[Missing]],
) -> None:
    plots, missing = whole
    names = [f"{kind}-forward{more}" for kind in ("latency", "speedup", "memory", "limit", "error")
             for more in ("", "-backward")]  # fmt: skip
    assert sorted(plot.name for plot in plots) == sorted(names)
    assert missing == []


def test_every_figure_is_written_in_three_formats_byte_for_byte_the_same(tmp_path: Path) -> None:
    first, second = (drawn([row(BASELINE), row(FAST)])["latency-forward"] for _ in range(2))
    paths = figures.save([first], tmp_path)
    assert [path.name for path in paths] == [f"latency-forward.{k}" for k in ("png", "svg", "pdf")]
    for path in paths:
        assert path.read_bytes() == figures.render(second.figure, path.suffix[1:])
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[2].read_bytes().startswith(b"%PDF")
    assert not re.search(rb"<dc:date>|CreationDate", b"".join(p.read_bytes() for p in paths[1:]))


def test_only_correct_cases_are_drawn() -> None:
    wrong = row(FAST, status="incorrect", reason="x", latency_s=1e-9, ratio=1e-6, peak_bytes=1)
    for plot in drawn([row(BASELINE), wrong]).values():
        assert not any(FAST in label for label in labels(plot))


def test_with_nothing_correct_every_figure_is_left_out_with_the_reason() -> None:
    plots, missing = figures.figures(frame_of([row(BASELINE, status="oom", reason="no memory")]))
    assert plots == []
    assert {one.reason for one in missing} == {"no case came out ok"}
    assert len(missing) == 5


def test_without_comparisons_the_speed_up_is_left_out() -> None:
    plots, missing = figures.figures(frame_of([row(BASELINE)]))
    assert [one.reason for one in missing] == ["nothing was compared with a baseline"]
    assert len(plots) == 4


def test_an_empty_frame_says_why() -> None:
    assert figures.figures(frame_of([]))[1][0].reason == "the run holds no case"


def test_twelve_variants_and_one_length_are_told_apart() -> None:
    names = [BASELINE, *(f"polynomial(degree={n}, kernel=blocked)" for n in range(11))]
    plot = drawn([row(name) for name in names])["latency-forward"]
    assert labels(plot) == names
    handles = plot.figure.legends[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in handles}) == 12
    assert len({line.get_marker() for line in handles}) == 12


def test_the_legend_shows_markers_as_they_are_drawn() -> None:
    names = [BASELINE, *(f"v{n}" for n in range(12))]
    plot = drawn([row(name) for name in names])["latency-forward"]
    points = [line for line in plot.figure.axes[0].get_lines() if line.get_marker() != "None"]
    said = plot.figure.legends[0].get_lines()

    def look(line: Any) -> tuple[Any, ...]:
        edge = line.get_markeredgecolor(), line.get_markeredgewidth()
        return line.get_marker(), line.get_markersize(), line.get_markerfacecolor(), *edge

    assert [look(line) for line in said] == [look(line) for line in points]
    sizes = {line.get_marker(): line.get_markersize() for line in said}
    assert sizes["*"] > 1.5 * sizes["o"]


def test_variants_at_a_single_length_stand_side_by_side() -> None:
    names = [BASELINE, FAST, "flex", "chunked"]
    one = drawn([row(name, 1000) for name in names])["latency-forward"].figure.axes[0]
    places = [float(np.asarray(line.get_xdata())[0]) for line in one.get_lines()]
    assert places == sorted(set(places))
    assert (places[0] * places[-1]) ** 0.5 == pytest.approx(1000)
    assert one.get_xlim()[0] < places[0] < 1000 < places[-1] < one.get_xlim()[1]
    assert "side by side" in one.get_xlabel()
    two = drawn([row(name, n) for name in names for n in (256, 512)])["latency-forward"]
    drawn_at = [np.asarray(line.get_xdata()) for line in two.figure.axes[0].get_lines()]
    assert {tuple(places) for places in drawn_at} == {(256, 512)}


def test_nothing_overlaps_the_legend(whole: tuple[list[Plot], list[Missing]]) -> None:
    for plot in whole[0]:
        plot.figure.draw_without_rendering()
        legend = plot.figure.legends[0].get_window_extent()
        for axes in plot.figure.axes:
            box = axes.get_tightbbox()
            assert box is not None
            assert not legend.overlaps(box)
        assert legend.x0 >= 0
        assert legend.x1 <= plot.figure.bbox.x1


def test_a_variant_looks_the_same_in_every_figure(
    whole: tuple[list[Plot], list[Missing]],
) -> None:
    """The speed-up has no line for the baseline; the others must not move up a colour."""
    colours: dict[str, set[object]] = {}
    for plot in whole[0]:
        handles = plot.figure.legends[0].get_lines()
        for name, line in zip(labels(plot), handles, strict=True):
            colours.setdefault(name, set()).add((line.get_color(), line.get_marker()))
    assert all(len(found) == 1 for found in colours.values())


def test_looks_differ_below_91_variants() -> None:
    made = looks(f"v{n}" for n in range(90))
    assert len({(look.colour, look.marker) for look in made.values()}) == 90


def test_lengths_are_written_as_plain_powers_of_two() -> None:
    plot = drawn([row(BASELINE, length) for length in (256, 1024, 4096)])["latency-forward"]
    figures.render(plot.figure, "png")
    ticks = [text.get_text() for text in plot.figure.axes[0].get_xticklabels()]
    assert ticks == ["256", "512", "1024", "2048", "4096"]
    assert plot.figure.axes[0].get_xlabel() == "q_len (tokens)"
    assert powers_of_two(100, 100) == []
    assert len(powers_of_two(1, 2**30)) <= 6


def test_a_length_that_is_no_power_of_two_is_its_own_tick() -> None:
    plot = drawn([row(BASELINE, 1000)])["latency-forward"]
    figures.render(plot.figure, "png")
    assert [t.get_text() for t in plot.figure.axes[0].get_xticklabels()] == ["1000"]


@pytest.mark.parametrize("name", ["a$b_{c}$", "$\\frac{1}$", "<b>&amp;", "日本", "x" * 120])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_name_is_text_and_never_markup(name: str) -> None:
    plot = drawn([row(BASELINE), row(name)])["latency-forward"]
    assert name in labels(plot)
    assert figures.render(plot.figure, "svg")


def test_comparisons_are_counted_where_they_are_shown() -> None:
    plots = drawn([row(BASELINE), row(FAST), row("flex")])
    assert [one.verdicts for one in plots["speedup-forward"].comparisons] == [2]
    assert plots["latency-forward"].comparisons == ()


def test_the_pareto_front_is_what_nothing_beats_in_both() -> None:
    points = [(1.0, 5.0), (2.0, 2.0), (3.0, 3.0), (2.0, 4.0), (4.0, 1.0), (3.5, 2.0)]
    assert pareto_front(points) == [(1.0, 5.0), (2.0, 2.0), (4.0, 1.0)]


def test_an_error_of_0_is_drawn_and_called_0() -> None:
    plot = drawn([row(BASELINE), row("flex", error=0.0)])["error-forward"]
    figures.render(plot.figure, "png")
    assert "0" in [text.get_text() for text in plot.figure.axes[0].get_yticklabels()]


def test_many_panels_are_cut_into_several_figures() -> None:
    rows = [row(BASELINE, heads=heads, kv_heads=heads) for heads in range(1, 12)]
    assert {"latency-forward-1", "latency-forward-2"} <= set(drawn(rows))


def test_two_runs_never_share_a_figure() -> None:
    rows = [row(BASELINE, run=run, machine=run) for run in ("a", "b")]
    assert {"latency-forward-run1", "latency-forward-run2"} <= set(drawn(rows))


def test_the_range_of_speed_ups_follows_the_points_and_not_the_bands() -> None:
    wide: dict[str, Any] = {"ratio": 0.5, "ratio_low": 1e-3, "ratio_high": 1e3}
    plot = drawn([row(BASELINE), row(FAST, **wide)])["speedup-forward"]
    low, high = plot.figure.axes[0].get_ylim()
    assert 0.3 < low < 1
    assert 2.2 < high < 4


def test_the_fraction_of_the_attainable_has_its_line_at_100_percent() -> None:
    known = {"latency_s": 1e-3, "latency_low_s": 0.8e-3, "latency_high_s": 2e-3}
    rows = [row(BASELINE, n, attainable_fraction=0.02, **known) for n in (256, 512)]
    axes = drawn(rows)["limit-forward"].figure.axes[0]
    figures.render(axes.figure, "png")  # type: ignore[arg-type]
    assert 1.0 in [line.get_ydata()[0] for line in axes.get_lines()]  # type: ignore[index]
    ticks = [text.get_text() for text in axes.get_yticklabels()]
    assert {"1%", "100%"} <= set(ticks)
    (band,) = [one for one in axes.collections if isinstance(one, PolyCollection)]
    reached = band.get_paths()[0].get_extents()
    assert (reached.y0, reached.y1) == pytest.approx((0.01, 0.025))


def test_without_ceilings_the_limit_is_left_out() -> None:
    missing = figures.figures(frame_of([row(BASELINE, attainable_fraction=None)]))[1]
    said = {one.title: one.reason for one in missing}
    assert said["Fraction of the attainable against length, forward"] == (
        "fraction of the attainable was not measured"
    )


def test_an_interval_that_is_not_yet_narrow_flattens_no_line() -> None:
    wide: dict[str, Any] = {"latency_s": 1e-3, "latency_low_s": 1e-7, "latency_high_s": 200.0}
    plots = drawn([row(BASELINE, n, attainable_fraction=0.1, **wide) for n in (256, 512)])
    low, high = plots["latency-forward"].figure.axes[0].get_ylim()
    assert 1e-4 < low < 0.34e-3
    assert 3e-3 <= high < 1e-2
    low, high = plots["limit-forward"].figure.axes[0].get_ylim()
    assert 0.01 < low < 0.034
    assert 1 < high < 2


def test_factors_are_written_in_one_style() -> None:
    rows = [row(BASELINE), row(FAST, ratio=0.25), row("flex", ratio=64.0)]
    plot = drawn(rows)["speedup-forward"]
    figures.render(plot.figure, "png")
    ticks = [text.get_text() for text in plot.figure.axes[0].get_yticklabels()]
    assert {"1x", "0.0625x"} <= set(ticks)
    assert all(re.fullmatch(r"[0-9.]+x", tick) for tick in ticks)


def test_a_band_is_light_and_breaks_where_there_is_no_interval() -> None:
    bare = {"latency_low_s": None, "latency_high_s": None}
    lengths = (256, 512, 1024, 2048)
    rows = [row(BASELINE, q, **(bare if q == 1024 else {})) for q in lengths]
    collections = drawn(rows)["latency-forward"].figure.axes[0].collections
    bands = [one for one in collections if isinstance(one, PolyCollection)]
    bars = [one for one in collections if isinstance(one, LineCollection)]
    assert [one.get_alpha() for one in bands] == [BAND]
    assert BAND <= 0.12
    reached = [path.get_extents() for path in bands[0].get_paths()]
    assert [(box.x0, box.x1) for box in reached if box.width] == [(256, 512)]
    assert [path.get_extents().x0 for bar in bars for path in bar.get_paths()] == [2048]


def test_each_family_has_a_pareto_front_of_its_own() -> None:
    rows = [row(BASELINE, error=3e-7, latency_s=3e-3), row(FAST, error=2e-7, latency_s=2e-3)]
    other = row("polynomial", family="polynomial", error=1e-9, latency_s=1e-3)
    lines = drawn([*rows, other])["error-forward"].figure.axes[0].get_lines()
    fronts = [line for line in lines if line.get_drawstyle() == "steps-post"]
    ends = [np.asarray(line.get_xdata()).tolist() for line in fronts]
    assert ends == [[2e-3], [1e-3]]
    assert fronts[0].get_linestyle() != fronts[1].get_linestyle()
