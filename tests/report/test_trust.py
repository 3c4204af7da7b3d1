from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.groups import rows_of
from harness.report import sheets, trust
from harness.report.numbers import joules, percent, rate

from .synthetic import BASELINE, FAST, MUTANTS, frame_of, row

OLD: dict[str, Any] = dict.fromkeys(
    (
        "executed_flops compulsory_bytes bytes_per_s bound_by attainable_s attainable_fraction "
        "claimed_time_growth claimed_memory_growth mutants_killed vacuous semantics_held "
        "semantics_not_probed throttled_rounds"
    ).split()
)
"""What records of the first schema lack."""


def rows(*made: dict[str, Any]) -> list[dict[str, Any]]:
    return rows_of(frame_of(list(made)))


def test_killed_and_applicable_mutants_are_counted_over_the_cases() -> None:
    lives = {"mutants_killed": "zeros", "mutants_survived": "scale_off", "vacuous": True}
    # A gate is tested once for all cases of a block that share a definition.
    mine = [row(BASELINE, 256), row("sdpa(backend=math)", 256), row(FAST, 256, **lives)]
    found = trust.gate(rows(*mine, row("flex", 256, **OLD)))
    assert (found.cases, found.untested) == (3, 1)
    assert (found.killed, found.applicable) == (len(MUTANTS) + 1, len(MUTANTS) + 2)


def test_gates_of_two_definitions_are_two_however_alike() -> None:
    one: dict[str, Any] = {"family": "polynomial", "gate_definition": "p1"}
    two = {**one, "gate_definition": "p3"}
    alike = [row("polynomial(degree=1)", **one), row("polynomial", **two), row("naive", **two)]
    assert trust.gate(rows(*alike)).killed == 2 * len(MUTANTS)
    # What was not applicable to one of them may live in the other.
    lives: dict[str, Any] = {"mutants_survived": "scale_off", "vacuous": True}
    found = trust.gate(rows(row(BASELINE), row(FAST, **lives)))
    assert (found.killed, found.applicable) == (2 * len(MUTANTS), 2 * len(MUTANTS) + 1)


def test_survivors_stand_once_for_the_variants_and_workloads_they_share() -> None:
    lives = {"mutants_survived": "scale_off", "vacuous": True}
    made = [row(name, n, **lives) for n in (256, 512) for name in (BASELINE, FAST)]
    made += [row(BASELINE, 1024, **lives), row(FAST, 1024)]
    assert trust.gate(rows(*made)).survivors == (
        trust.Survivor(
            "scale_off",
            (BASELINE, FAST),
            ("forward, mask none, q_len 256", "forward, mask none, q_len 512"),
        ),
        trust.Survivor("scale_off", (BASELINE,), ("forward, mask none, q_len 1024",)),
    )


def test_a_case_that_came_out_wrong_still_shows_its_gate() -> None:
    lives = {"mutants_survived": "zeros", "vacuous": True}
    wrong = row(FAST, 256, status="incorrect", reason="x", mutants_killed="nan_row", **lives)
    found = trust.gate(rows(row(BASELINE, 256), wrong))
    assert [one.mutant for one in found.survivors] == ["zeros"]
    assert found.cases == 2


def test_properties_are_counted_where_they_held_and_where_not_probed() -> None:
    made = rows(row(BASELINE), row(FAST, semantics_held="scale", semantics_not_probed=None))
    found = {one.name: (one.held, one.not_probed) for one in trust.probed(made)}
    assert found == {
        "causality": (1, 0),
        "determinism": (1, 0),
        "scale": (2, 0),
        "grouped_heads": (0, 1),
    }


def test_throttled_rounds_are_named_by_run() -> None:
    made = rows(
        row(BASELINE, run="a"),
        row(FAST, run="a", throttled_rounds=3),
        row(BASELINE, run="b"),
    )
    assert trust.throttled(made) == [trust.Throttled("a", 3, 128, (FAST,))]


def test_old_records_have_no_gate_no_semantics_and_no_limits() -> None:
    made = rows(*(row(name, n, **OLD) for name in (BASELINE, FAST) for n in (256, 512, 1024)))
    found = trust.gate(made)
    assert (found.cases, found.untested, found.survivors) == (0, 6, ())
    assert trust.probed(made) == []
    assert trust.throttled(made) == []
    assert sheets.limits(made) == sheets.energy(made) == []


def test_a_list_of_names_is_cut() -> None:
    assert trust.listed("abcd") == "a, b, c, d"
    assert trust.listed("abcdef") == "a, b, c, d and 2 more"


def test_a_cell_has_the_fraction_its_bound_and_the_rates() -> None:
    given = {"flops": 4e8, "flops_per_s": 4e10, "latency_s": 1e-2, "bytes_per_s": 2.5e8}
    given |= {"attainable_fraction": 0.4}
    made = rows(
        row(BASELINE, 256, executed_flops=4e8, bound_by="compute", **given),
        row(FAST, 256, executed_flops=8e8, bound_by="memory", **given),
        row("flex", 256, status="impossible", reason="too fast", **given),
    )
    (found,) = sheets.limits(made)
    assert (found.axis, found.lengths) == ("q_len", (256,))
    assert {line.variant: line.cells[0] for line in found.lines} == {
        BASELINE: ("40%, compute", "40 GFLOP/s, 250 MB/s"),
        FAST: ("40%, memory", "40 GFLOP/s, 250 MB/s", "executes 80 GFLOP/s"),
        "flex": (),
    }


def test_energy_has_a_sheet_where_a_counter_was_read() -> None:
    made = rows(row(BASELINE), row(FAST, energy_joules=1.234, energy_resolution_joules=0.02))
    (found,) = sheets.energy(made)
    assert [line.cells for line in found.lines] == [((),), (("1.23 \u00b1 0.02 J",),)]


@pytest.mark.parametrize(
    ("value", "resolution", "text"),
    [
        (1.234, 0.02, "1.23 \u00b1 0.02 J"),
        (12.34, 1.0, "12 \u00b1 1 J"),
        (0.01234, 0.0005, "12.3 \u00b1 0.5 mJ"),
        (0.01, 0.02, "below 20 mJ"),
        (1e-5, 0.02, "below 20 mJ"),
        (-0.01, 0.02, "below 20 mJ"),
        (0.02, 0.02, "below 20 mJ"),
        (25e-6, 3e-6, "25 \u00b1 3 uJ"),
    ],
)
def test_energy_has_the_digits_of_its_counter(value: float, resolution: float, text: str) -> None:
    assert joules(value, resolution) == text


def test_rates_and_shares_have_two_digits() -> None:
    assert rate(4.512e10, "FLOP/s") == "45 GFLOP/s"
    assert rate(999.6e6, "B/s") == "1.0 GB/s"
    assert rate(12.0, "B/s") == "12 B/s"
    assert [percent(share) for share in (1.12, 0.624, 0.00812)] == ["110%", "62%", "0.81%"]
