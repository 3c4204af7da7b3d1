from __future__ import annotations

from typing import Any

from harness.analysis.crossover import crossovers
from harness.analysis.growth import growths
from harness.report import scaling
from harness.report.alarms import alarms

from .synthetic import BASELINE, FAST, frame_of, row, run_frame

LENGTHS = (256, 512, 1024, 2048)


def lines(rows: list[dict[str, Any]]) -> dict[str, scaling.GrowthLine]:
    (table,) = scaling.exponents(growths(frame_of(rows)))
    return {line.variant: line for line in table.lines}


def test_a_line_has_time_memory_error_claims_and_lengths() -> None:
    found = lines([row(name, n) for name in (BASELINE, FAST) for n in LENGTHS])[FAST]
    time, memory, error = found.cells
    assert time == scaling.GrowthCell("L^1.90 [1.71, 2.09]", "claims L^2", "")
    assert memory == scaling.GrowthCell("L^1.00 [1.00, 1.00]", "claims L^1", "")
    assert error == scaling.GrowthCell("L^0.10 [0.10, 0.10]", "", "")
    assert found.lengths == "256, 512, 1024, 2048"


def test_a_claim_that_does_not_hold_is_flagged_in_words() -> None:
    def flag(claim: float) -> str:
        rows = [row(FAST, n, claimed_memory_growth=claim) for n in LENGTHS]
        cell = lines(rows)[FAST].cells[1]
        assert cell is not None
        return cell.flag

    assert flag(0.5) == "grows faster than claimed"
    assert flag(2.0) == "grows slower than claimed"
    assert flag(1.0) == ""
    rising = [row(FAST, n, peak_bytes=2**20 + 2**9 * n) for n in LENGTHS]
    cell = lines(rising)[FAST].cells[1]
    assert cell is not None
    assert cell.flag == "not reached: still rising"


def test_an_interval_that_holds_any_claim_says_so() -> None:
    wide = {"latency_low_s": 1e-4, "latency_high_s": 1e-3, "latency_s": 3e-4}
    cell = lines([row(FAST, n, **wide) for n in LENGTHS])[FAST].cells[0]
    assert cell == scaling.GrowthCell("L^0.0 [-3.3, 3.3]", "claims L^2; too wide to tell", "")


def test_lengths_that_failed_are_named_for_the_quantity_they_are_missing_in() -> None:
    rows = [row(FAST, n) for n in LENGTHS[:3]] + [row(FAST, 2048, status="oom", reason="full")]
    assert lines(rows)[FAST].lengths == "256, 512, 1024 (without 2048 oom)"
    rows = [row(FAST, n, latency_s=None if n == 256 else 1e-3) for n in LENGTHS]
    assert lines(rows)[FAST].lengths.startswith(
        "time: 512, 1024, 2048 (without 256 not measured); memory: 256, 512, 1024, 2048; error:"
    )


def test_each_group_of_workloads_has_its_table() -> None:
    titles = [one.title for one in scaling.exponents(growths(run_frame()))]
    assert titles == [
        f"{kind}, mask {mask}"
        for kind in ("forward", "forward+backward")
        for mask in ("none", "causal")
    ]


def test_crossings_are_rows_and_the_other_pairs_are_counted() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    for name, ratios in ((FAST, (0.5, 0.5, 2.0, 2.0)), ("flex", (3.0, 3.0, 3.0, 3.0))):
        rows += [
            row(name, n, ratio=x, ratio_low=x / 1.01, ratio_high=x * 1.01)
            for n, x in zip(LENGTHS, ratios, strict=True)
        ]
    rows += [row("chunked", n, ratio=1.0, ratio_low=0.99, ratio_high=1.01) for n in LENGTHS]
    found = scaling.crossovers(crossovers(frame_of(rows)))
    # chunked, as quick as the baseline, crosses FAST as well.
    assert [(one.below, one.above, one.between) for one in found.turns] == [
        (FAST, BASELINE, "512 and 1024"),
        (FAST, "chunked", "512 and 1024"),
    ]
    assert found.turns[0].at.startswith("q_len 724 [")
    assert (found.pairs, found.cross, found.none, found.not_known) == (6, 2, 3, 1)


def test_nothing_wrong_raises_no_alarm() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    assert alarms(frame_of(rows), {}) == []
    bare = {"vacuous": None, "mutants_killed": None}
    assert alarms(frame_of([row(BASELINE, n, **bare) for n in LENGTHS]), {}) == []


def test_an_alarm_names_the_first_claim_and_counts_the_rest() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    rows += [row(FAST, n, claimed_memory_growth=0.5, claimed_time_growth=1.0) for n in LENGTHS]
    assert alarms(frame_of(rows), {}) == [
        f"growth: {FAST}, forward, mask none: time grows faster than claimed: claims L^1, "
        "measured L^1.90 [1.71, 2.09] from 256 to 2048; 1 more on the page"
    ]


def test_what_is_still_rising_raises_no_alarm() -> None:
    rising = [row(FAST, n, peak_bytes=2**20 + 2**9 * n) for n in LENGTHS]
    assert growths(frame_of(rising))[1].flagged
    assert alarms(frame_of(rising), {}) == []


def test_an_alarm_says_where_a_wrong_answer_passes() -> None:
    passes = {"vacuous": True, "mutants_survived": "scale_off; zeros"}
    rows = [row(name, n, **passes) for name in (BASELINE, FAST) for n in LENGTHS[:2]]
    assert alarms(frame_of(rows), {}) == [
        "vacuous gate: on 2 workloads a wrong answer (scale_off, zeros) would have passed as ok"
    ]
