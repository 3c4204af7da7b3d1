from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from harness.analysis.groups import grouped, rows_of, shared
from harness.report import tables, terminal
from harness.report.ranking import compared, matched, winners

from .synthetic import BASELINE, FAST, frame_of, row, run_frame


def test_tables_do_not_wait_for_matplotlib() -> None:
    code = "import sys, harness.report.tables, harness.report.terminal; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "harness.report.tables" in loaded
    assert "matplotlib" not in loaded


def test_a_table_has_variants_as_rows_and_lengths_as_columns() -> None:
    first = tables.matrix(run_frame())[0]
    assert (first.title, first.axis) == ("forward, mask none", "q_len")
    assert first.lengths == (256, 512, 1024, 2048, 4096)
    assert [line.variant for line in first.lines][:2] == [BASELINE, FAST]
    assert first.lines[0].cells[0] == tables.Cell("ok", "400 us", is_baseline=True)
    cell = first.lines[1].cells[0]
    assert cell is not None
    assert (cell.text, cell.interval, cell.fastest) == ("150 us  2.67x ▲", "2.61 to 2.71", True)


def test_titles_list_what_varies_and_nothing_else() -> None:
    frame = frame_of([row(BASELINE, heads=heads, kv_heads=heads) for heads in (2, 8)])
    assert [table.title for table in tables.matrix(frame)] == ["heads=2", "heads=8"]
    assert ("dtype", "float32") in shared(rows_of(frame))
    assert "heads" not in dict(shared(rows_of(frame)))


def test_a_single_table_is_titled_by_pass_and_mask() -> None:
    assert tables.matrix(frame_of([row(BASELINE)]))[0].title == "forward, mask none"


def test_decode_sweeps_the_keys() -> None:
    rows = [row(BASELINE, length, **{"pass": "decode"}) for length in (512, 256)]
    table = tables.matrix(frame_of([*rows, row(BASELINE, 128)]))[1]
    assert (table.title, table.axis, table.lengths) == ("decode", "kv_len", (256, 512))


def test_keys_that_do_not_follow_queries_make_a_table_of_their_own() -> None:
    square = [row(BASELINE, length) for length in (256, 512)]
    cross = [row(BASELINE, length, kv_len=4096) for length in (256, 512)]
    found = tables.matrix(frame_of([*square, *cross]))
    assert [table.title for table in found] == ["kv_len=q_len", "kv_len=4096"]
    assert {table.lengths for table in found} == {(256, 512)}


def test_a_whole_grid_of_queries_and_keys_is_one_table_for_each_number_of_keys() -> None:
    rows = [row(BASELINE, q, kv_len=kv) for kv in (256, 512) for q in (256, 512)]
    found = grouped(rows_of(frame_of(rows)))
    assert [(group.title, group.lengths) for group in found] == [
        ("kv_len=256", (256, 512)),
        ("kv_len=512", (256, 512)),
    ]


def test_what_was_not_measured_is_never_0_or_nan() -> None:
    bare = row(FAST, latency_s=None, ratio=float("nan"), verdict=None, reason=None)
    cell = tables.matrix(frame_of([row(BASELINE), bare]))[0].lines[1].cells[0]
    assert cell == tables.Cell("ok", "–")  # noqa: RUF001 - the dash of an empty cell


def test_a_case_that_the_suite_does_not_hold_is_an_empty_cell() -> None:
    frame = frame_of([row(BASELINE, 256), row(BASELINE, 512), row(FAST, 512)])
    assert tables.matrix(frame)[0].lines[1].cells[0] is None


def test_outcomes_are_counted_by_status() -> None:
    expected = {"ok": 114, "incorrect": 2, "unsupported": 8, "oom": 2}
    assert tables.outcomes(run_frame()) == expected


def test_a_failure_stands_once_with_the_workloads_it_covers() -> None:
    found = {failure.variant: failure for failure in tables.failures(run_frame())}
    assert list(found) == ["sdpa(backend=math)", "chunked", "flex"]
    assert found["flex"].count == 8
    assert found["flex"].workloads[0] == "forward+backward, mask none: q_len 256, 512, 1024, 2048"
    assert found["chunked"].status == "incorrect"
    everywhere = frame_of([row("flex", q, status="error", reason="no") for q in (256, 512)])
    assert tables.failures(everywhere)[0].workloads == ("all 2 workloads",)


def test_an_incorrect_variant_never_wins_however_fast() -> None:
    wrong = row(FAST, status="incorrect", reason="error 1 > bound 1e-6", latency_s=1e-9, ratio=1e-6)
    assert [one.variant for one in winners(frame_of([row(BASELINE), wrong]))] == [BASELINE]


def test_winners_are_found_within_a_block_of_one_run_only() -> None:
    slow, fast = row(BASELINE, run="a", latency_s=2.0), row(BASELINE, run="b", latency_s=1.0)
    assert len(winners(frame_of([slow, fast]))) == 2


def test_a_winner_names_those_it_cannot_be_told_from() -> None:
    near = row("chunked", ratio=0.33, ratio_low=0.32, ratio_high=0.34)
    best = row(FAST, ratio=0.325, ratio_low=0.315, ratio_high=0.335)
    found = winners(frame_of([row(BASELINE), near, best]))[0]
    assert (found.variant, found.ties, found.rivals) == (FAST, ("chunked",), 2)


def test_latencies_tell_apart_where_a_ratio_has_no_interval_yet() -> None:
    no_ends = {"ratio": 1.0, "ratio_low": None, "ratio_high": None}
    far = row("sdpa(backend=math)", latency_s=4e-4, latency_low_s=3.5e-4, latency_high_s=5e-4)
    near = {**far, "latency_s": 2e-4, "latency_low_s": 1e-4, "latency_high_s": 3e-4}
    times: dict[str, Any] = {"latency_s": 1e-4, "latency_low_s": 0.9e-4, "latency_high_s": 1.1e-4}
    best = row(FAST, ratio=0.3, ratio_low=0.25, ratio_high=0.35, **times)
    slow = row(BASELINE, latency_s=4e-4, latency_low_s=3e-4, latency_high_s=5e-4)
    for other, ties in ((far, ()), (near, ("sdpa(backend=math)",))):
        assert winners(frame_of([slow, {**other, **no_ends}, best]))[0].ties == ties


def test_within_the_margin_of_the_baseline_nothing_is_the_fastest() -> None:
    ends: dict[str, Any] = {"ratio": 0.99, "ratio_low": 0.985, "ratio_high": 0.995}
    for verdict, ties in (("same", (BASELINE,)), ("undecided", (BASELINE,)), ("faster", ())):
        (found,) = winners(frame_of([row(BASELINE), row(FAST, **ends, verdict=verdict)]))
        assert (found.variant, found.ties) == (FAST, ties)
    ends = {"ratio": 1.01, "ratio_low": 1.005, "ratio_high": 1.015}
    for verdict, ties in (("same", (FAST,)), ("slower", ())):
        (found,) = winners(frame_of([row(BASELINE), row(FAST, **ends, verdict=verdict)]))
        assert (found.variant, found.ties) == (BASELINE, ties)


def test_images_of_another_shape_stand_apart() -> None:
    shapes: list[dict[str, int]] = [{"height": 32, "width": 32}, {"height": 16, "width": 64}, {}]
    rows = [{**row(BASELINE, 1024, block_id=str(n)), **one} for n, one in enumerate(shapes)]
    found = tables.matrix(frame_of(rows))
    assert [table.title for table in found] == ["aspect=1", "aspect=0.25", "aspect=None"]


def test_only_a_variant_told_apart_from_all_is_marked_as_the_fastest() -> None:
    best = row(FAST, ratio=0.325, ratio_low=0.315, ratio_high=0.335)
    near = row("chunked", ratio=0.33, ratio_low=0.32, ratio_high=0.34)
    far = row("chunked", ratio=0.5, ratio_low=0.49, ratio_high=0.51)
    for other, marked in ((near, []), (far, [FAST])):
        table = tables.matrix(frame_of([row(BASELINE), other, best]))[0]
        found = [line.variant for line in table.lines if line.cells[0] and line.cells[0].fastest]
        assert found == marked
        console = Console(width=200, record=True, force_terminal=True, file=io.StringIO())
        console.print(terminal.draw(table))
        styled = console.export_text(styles=True).splitlines()
        bold = [line for line in styled if "\x1b[1;32m" in line]
        assert len(bold) == len(marked)


def test_without_an_interval_a_cell_is_rough() -> None:
    bare: dict[str, Any] = {"latency_s": 0.03912, "latency_low_s": None, "latency_high_s": None}
    bare |= {"ratio": 0.10234, "ratio_low": None, "ratio_high": None, "verdict": "undecided"}
    cell = tables.matrix(frame_of([row(BASELINE), row(FAST, **bare)]))[0].lines[1].cells[0]
    assert cell is not None
    assert (cell.text, cell.interval) == ("~39 ms  ~9.8x ?", "")


def test_without_a_baseline_latencies_decide() -> None:
    failed = row(BASELINE, status="oom", reason="no memory")
    alone = row(FAST, ratio=None, ratio_low=None, ratio_high=None, verdict=None)
    slower = row("flex", ratio=None, ratio_low=None, ratio_high=None, verdict=None)
    found = winners(frame_of([failed, slower, alone]))[0]
    assert (found.variant, found.ties, found.ratio) == (FAST, (), None)


def test_means_are_taken_over_matched_blocks_only() -> None:
    """The variant that is missing at 512, where all are slow, gains nothing by its absence."""
    rows = [row(BASELINE, length) for length in (256, 512)]
    rows += [row(FAST, 256, ratio=0.5), row(FAST, 512, ratio=2.0), row("flex", 256, ratio=0.8)]
    rows += [row("flex", 512, status="oom", reason="no memory")]
    rows += [row("chunked", length, status="error", reason="x") for length in (256, 512)]
    found = matched(frame_of(rows))[0]
    assert (found.blocks, found.of_blocks, found.left_out) == (1, 2, ("chunked",))
    means = {mean.variant: mean.speedup for mean in found.means}
    assert means == pytest.approx({FAST: 2.0, "flex": 1.25, BASELINE: 1.0})


def test_means_leave_out_blocks_in_which_a_ratio_has_no_interval() -> None:
    rows = [row(BASELINE, length) for length in (256, 512)]
    rows += [row(FAST, 256, ratio=0.5), row(FAST, 512, ratio=0.1)]
    rows += [row("flex", 256, ratio=0.8), row("flex", 512, ratio=0.2, ratio_high=None)]
    found = matched(frame_of(rows))[0]
    assert (found.blocks, found.of_blocks) == (1, 2)
    means = {mean.variant: mean.speedup for mean in found.means}
    assert means == pytest.approx({FAST: 2.0, "flex": 1.25, BASELINE: 1.0})
    rows[-2]["ratio_low"] = None
    assert matched(frame_of(rows))[0].means == ()


def test_comparisons_leave_out_baselines_and_failures() -> None:
    judged = frame_of([row(BASELINE, verdict="same"), row(FAST)])
    assert [one.verdicts for one in compared(rows_of(judged))] == [1]
    found = compared(rows_of(run_frame()))
    assert [(one.run, one.verdicts, one.blocks) for one in found] == [("quick-a", 96, 18)]


def test_the_terminal_shows_markup_in_a_reason_as_it_is() -> None:
    frame = frame_of([row("flex", status="error", reason="[bold]index[/bold] [0]")])
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal.draw_failures(tables.failures(frame)))
    assert "[bold]index[/bold] [0]" in console.export_text()


def test_the_terminal_shows_latency_and_speed_up(capsys: pytest.CaptureFixture[str]) -> None:
    for table in tables.matrix(run_frame()):
        Console(width=120).print(terminal.draw(table, intervals=True))
    Console().print(terminal.draw_outcomes(tables.outcomes(run_frame())))
    text = capsys.readouterr().out
    assert "2.67x ▲" in text
    assert "2.61 to 2.71" in text
    assert "114 ok, 2 incorrect, 8 unsupported, 2 oom" in text


def test_an_empty_frame_gives_no_table() -> None:
    empty = frame_of([])
    assert isinstance(empty, pd.DataFrame)
    assert (tables.matrix(empty), tables.failures(empty), tables.outcomes(empty)) == ([], [], {})
