"""Reports of schedules: simulated figures, and simulation beside measurement."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis.groups import rows_of
from harness.records import SCHEDULE_COLUMNS
from harness.report import page as pages
from harness.report.alarms import alarms
from harness.report.beside import besides, with_simulated
from harness.report.export import export
from harness.report.figures import figures
from harness.report.schedule_figures import KINDS, schedule_plots
from harness.report.schedules import grids, sentence
from harness.report.simulated import Simulated
from harness.schedule import GENERATORS, simulate

from .synthetic import control_frame, frame_of, manifest, row
from .test_page import read

BASE = "scheduled(schedule=contiguous)"
ZIGZAG = "scheduled(schedule=zigzag)"


def simulated_row(name: str, n: int, m: int, run: str = "a") -> dict[str, Any]:
    named = {"run": run, "suite": "rings", "schedule": name, "vectors": n, "elements": m}
    if name == "zigzag" and n % (2 * m):
        return {**named, "status": "unsupported", "reason": "2 m must divide n"}
    made = GENERATORS[name](n, m)
    found = simulate(made)
    return {
        **named,
        "status": "ok",
        "scheme": made.scheme,
        "cycles": found.cycles,
        "bound": found.cycles,
        "ring_cycles": 2 * n * n // m,
        "saving": 1 - found.cycles * m / (2 * n * n),
        "utilisation": found.utilisation,
        "registers": found.registers,
    }


def simulated_frame(
    *names: str, runs: tuple[str, ...] = ("a",), vectors: tuple[int, ...] = (4, 8, 16)
) -> pd.DataFrame:
    rows = [
        simulated_row(name, n, m, run)
        for run in runs
        for name in names or ("ring", "half_fused", "zigzag")
        for n in vectors
        for m in (2, 4)
    ]
    return pd.DataFrame(rows, columns=SCHEDULE_COLUMNS)


def timed(**given: Any) -> pd.DataFrame:
    """A zig-zag of 4 blocks beside contiguous blocks, 2 of them or as told."""
    base = {"is_baseline": True, "ratio": 1.0, "cycles": 4, "vectors": 2, "workers": 2, **given}
    rows = [row(BASE, length, **base) for length in (1024, 4096)]
    other = {"is_baseline": False, "cycles": 10, "vectors": 4, "workers": 2, "verdict": "faster"}
    ratios = {"ratio": 0.8, "ratio_low": 0.78, "ratio_high": 0.82}
    rows += [row(ZIGZAG, length, **other, **ratios) for length in (1024, 4096)]
    return frame_of([*rows, row("softmax", is_baseline=False)])


def test_tables_hold_cycles_and_savings_by_elements() -> None:
    two, four = grids(simulated_frame())
    assert (two.title, four.title) == ("schedules on 2 elements", "schedules on 4 elements")
    assert two.vectors == (4, 8, 16)
    ring, half, zigzag = two.lines
    assert [cell.cycles for cell in ring.cells if cell] == ["16", "64", "256"]
    assert [cell.saving for cell in ring.cells if cell] == ["0%"] * 3
    assert (half.scheme, zigzag.scheme) == ("symmetric", "causal")
    # scheduling.md's table: 43.8% and 15.6% of 64 cycles at n = 8, m = 2.
    assert [line.cells[1].saving for line in (zigzag, half) if line.cells[1]] == ["43.8%", "15.6%"]
    refused = four.lines[2].cells[0]
    assert refused is not None
    assert (refused.reason, refused.cycles) == ("2 m must divide n", "")


def test_runs_have_tables_of_their_own() -> None:
    found = grids(simulated_frame(runs=("a", "b")))
    assert [one.title for one in found][0::2] == [
        "schedules on 2 elements, run a",
        "schedules on 2 elements, run b",
    ]


def test_the_sentence_tells_what_the_largest_save() -> None:
    text = sentence(simulated_frame())
    assert "of 16 vectors on 4 elements, half_fused 20.3%, zigzag 46.9%" in text
    assert "none saves cycles" in sentence(simulated_frame("ring"))


def test_every_figure_is_drawn_once_and_every_schedule_pictured() -> None:
    plots = schedule_plots(simulated_frame(runs=("a", "b")))
    kinds = [plot.kind for plot in plots]
    assert sorted(set(kinds)) == sorted(KINDS)
    assert kinds.count("gantt") == 3
    # The largest that can be labelled: 32 cycles of ring are 8 vectors on 4 elements.
    names = [plot.name for plot in plots if plot.kind == "gantt"]
    assert names[0] == "schedule-ring-8-4"
    saving = next(plot for plot in plots if plot.kind == "schedule-saving")
    lines = saving.figure.axes[1].lines
    ring, half = (np.asarray(line.get_ydata()).tolist() for line in lines[:2])
    assert ring == [0, 0, 0]
    assert half == pytest.approx([-0.375, 0.125, 0.203125])
    assert schedule_plots(simulated_frame()[:0]) == []


def test_a_single_size_has_pictures_and_no_curves() -> None:
    frame = pd.DataFrame([simulated_row("ring", 8, 2)], columns=SCHEDULE_COLUMNS)
    assert [plot.kind for plot in schedule_plots(frame)] == ["gantt"]


def test_cycles_of_different_blocks_are_compared_by_work() -> None:
    """4 cycles of half the rows against 10 of a quarter: 4 / 4 over 10 / 16."""
    found = {r["variant"]: r["simulated_speedup"] for r in with_simulated(rows_of(timed()))}
    assert found == pytest.approx({BASE: 1.0, ZIGZAG: 1.6})


def test_simulated_stands_beside_measured() -> None:
    first, second = besides(timed())
    assert first.title.endswith("q_len 1024")
    assert second.title.endswith("q_len 4096")
    base, zigzag = first.lines
    assert (base.variant, base.simulated, base.measured) == (BASE, "1.00x", "baseline")
    assert (zigzag.simulated, zigzag.measured) == ("1.60x", "1.25x")
    assert (zigzag.interval, zigzag.mark) == ("1.22 to 1.28", "▲")
    assert zigzag.cycles == "10 of 4 blocks"
    assert besides(timed(cycles=None)) == besides(timed(vectors=None)) == []
    assert besides(timed()[:0]) == []


def test_the_figure_shows_each_case_at_both_speedups() -> None:
    plots, missing = figures(timed())
    (plot,) = (plot for plot in plots if plot.kind == Simulated.kind)
    markers = [line for line in plot.figure.axes[0].lines if line.get_linestyle() == "None"]
    points = {(np.asarray(m.get_xdata())[0], np.asarray(m.get_ydata())[0]) for m in markers}
    assert points == {(1.6, 1.25)}
    assert len(markers) == 2
    assert [text.get_text() for text in plot.figure.axes[0].texts] == ["1024", "4096"]
    assert not any("simulated" in one.title for one in missing)
    plots, missing = figures(frame_of([row("softmax"), row("sdpa(backend=flash)")]))
    assert not any(plot.kind == Simulated.kind for plot in plots)
    assert not any("simulated" in one.title for one in missing)


def test_workers_without_a_processor_alarm() -> None:
    told = {"quick-a": {"machine": {"usable_cpus": 2}}}
    assert alarms(timed(), told) == []
    (line,) = alarms(timed(workers=4), told)
    assert line.startswith(f"too few CPUs: {BASE}: 4 workers share 2 CPUs")
    both = pd.concat([timed(workers=4), timed(workers=8).assign(run="quick-b")])
    (line,) = alarms(both, {**told, "quick-b": {"machine": {"usable_cpus": 6}}})
    assert "8 workers share 6 CPUs" in line
    assert alarms(timed(workers=4), {"quick-a": {"machine": "as schema 1 wrote it"}}) == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = {"a": manifest(run="a", machine={"usable_cpus": 1})}
    rings = simulated_frame("ring", "zigzag", vectors=(4, 8))
    material = pages.Material(timed()[:0], control_frame(0, 0), told, rings)
    return pages.write_page(material, tmp_path_factory.mktemp("report"))


def test_the_page_of_schedules_alone_has_nothing_timed(written: Path) -> None:
    text = written.read_text()
    reader = read(text)
    ids = {str(attributes["id"]) for tag, attributes in reader.tags if tag == "section"}
    assert ids == {"schedules", "method", "again"}
    linked = {str(one["href"]) for one in reader.all("a")}
    assert {link[1:] for link in linked if link.startswith("#")} <= ids
    assert all((written.parent / link).exists() for link in linked if not link.startswith("#"))
    assert "43.8%" in text
    assert re.search(r'title="2 m must divide n">unsupported', text)


def test_the_page_of_both_has_both(tmp_path: Path) -> None:
    told = {"quick-a": manifest(machine={"usable_cpus": 1})}
    rings = simulated_frame("ring", vectors=(4,))
    material = pages.Material(timed(), control_frame(), told, rings)
    text = pages.write_page(material, tmp_path).read_text()
    ids = {str(attributes["id"]) for tag, attributes in read(text).tags if tag == "section"}
    assert {"fastest", "figures", "schedules", "beside", "trust"} <= ids
    assert "1.60x" in text
    assert "Too few CPUs" in text
    assert (tmp_path / "simulated-forward.svg").is_file()


def test_an_export_keeps_whole_numbers(written: Path) -> None:
    lines = (written.parent / "schedules.csv").read_text().splitlines()
    assert len(lines) == 1 + 8
    assert lines[0].split(",") == SCHEDULE_COLUMNS
    refused = next(line for line in lines if "unsupported" in line)
    assert "zigzag,,4,4," in refused
    assert ",64," in next(line for line in lines if line.startswith("a,rings,ring,general,8,2"))
    assert b"64.0" not in export(simulated_frame(), "json")
