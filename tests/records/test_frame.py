from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.records import COLUMNS, SCHEMA, controls, load, samples
from harness.records.schema import Variant
from tests.records.made import EIGHT, Record, case, control, launch, probe, write_run

OLD = Path(__file__).parents[1] / "data" / "records-v1"
PROMISED = """
    run machine suite case_id variant family level pass batch heads kv_heads q_len kv_len
    head_dim mask dtype device threads status reason latency_s latency_low_s latency_high_s
    ratio ratio_low ratio_high verdict rounds launches peak_bytes output_bytes rss_peak_bytes
    error gradient_error deviation first_call_s prepare_s compile flops flops_per_s kernels
""".split()
MEASURED = """
    latency_s latency_low_s latency_high_s ratio ratio_low ratio_high verdict rounds launches
    peak_bytes output_bytes rss_peak_bytes memory_ratio memory_verdict error gradient_error
    deviation first_call_s prepare_s flops_per_s kernels
""".split()
MIDDLE = math.sqrt(1.3 * 1.4)


def _times(factor: float) -> list[float]:
    return [factor * seconds for seconds in EIGHT]


def _rows(folder: Path, records: list[Record], **measure: Any) -> pd.DataFrame:
    return load(write_run(folder, records, **measure)).set_index("variant")


def _missing(rows: pd.DataFrame, variant: str, column: str) -> bool:
    return bool(rows[column].isna()[variant])


def _ends(low: float, high: float) -> tuple[float, float]:
    """The interval of launches whose times are `low` and `high` times EIGHT: 3 times as wide."""
    return low * MIDDLE * (1.0 / MIDDLE) ** 3, high * MIDDLE * (1.7 / MIDDLE) ** 3


def _pair(factor: float, **given: Any) -> list[Record]:
    """A baseline and a variant whose every round takes `factor` times as long."""
    other = case("fast", launches=(launch(*_times(factor)),), **given)
    return [case("softmax", is_baseline=True), other, control()]


def test_the_frame_has_its_columns_whatever_the_run_holds(tmp_path: Path) -> None:
    assert set(PROMISED) <= set(COLUMNS)
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert list(load(write_run(tmp_path, _pair(0.5))).columns) == COLUMNS
    assert list(load([]).columns) == COLUMNS


def test_what_a_variant_approximates_is_a_column_and_absent_for_one_of_its_own(
    tmp_path: Path,
) -> None:
    stands_in = Variant(name="fast", text="fast", family="fast", approximates="softmax")
    rows = _rows(tmp_path, _pair(0.5, variant=stands_in))
    assert rows["approximates"]["fast"] == "softmax"
    assert _missing(rows, "softmax", "approximates")


def test_latency_and_its_interval(tmp_path: Path) -> None:
    row = _rows(tmp_path, _pair(0.5)).loc["fast"]
    assert row["latency_s"] == pytest.approx(0.5 * MIDDLE)
    assert (row["latency_low_s"], row["latency_high_s"]) == pytest.approx(_ends(0.5, 0.5))
    assert (row["rounds"], row["launches"]) == (8, 1)
    assert row["flops_per_s"] == pytest.approx(4000 / (0.5 * MIDDLE))


def test_the_ratio_pairs_the_rounds(tmp_path: Path) -> None:
    rows = _rows(tmp_path, _pair(0.5))
    fast = rows.loc["fast"]
    # Each round's ratio is 0.5 exactly, although the times of a launch range over 1.7.
    assert (fast["ratio"], fast["ratio_low"], fast["ratio_high"]) == pytest.approx((0.5,) * 3)
    assert fast["verdict"] == "faster"
    assert rows.loc["softmax", "ratio"] == 1.0
    assert _missing(rows, "softmax", "verdict")


def test_slower_and_undecided(tmp_path: Path) -> None:
    assert _rows(tmp_path / "slower", _pair(3.0)).loc["fast", "verdict"] == "slower"
    # Near 1 a value takes four rounds or more: eight are too few for an interval.
    near = _rows(tmp_path / "near", _pair(1.01))
    assert near.loc["fast", "ratio"] == pytest.approx(1.01)
    assert near.loc["fast", "verdict"] == "undecided"
    assert _missing(near, "fast", "ratio_low")
    assert _missing(near, "fast", "ratio_high")


def test_the_interval_is_the_hull_of_the_launches(tmp_path: Path) -> None:
    halves = (launch(*_times(0.5)), launch(*_times(0.6)))
    base = (launch(*EIGHT), launch(*_times(2.0)))
    records: list[Record] = [
        case("softmax", is_baseline=True, launches=base),
        case("fast", launches=halves),
    ]
    rows = _rows(tmp_path, records)
    assert rows.loc["softmax", "rounds"] == 16
    row = rows.loc["fast"]
    assert (row["latency_low_s"], row["latency_high_s"]) == pytest.approx(_ends(0.5, 0.6))
    assert row["ratio_low"] == pytest.approx(0.3)
    assert row["ratio_high"] == pytest.approx(0.5)
    assert row["ratio"] == pytest.approx(math.sqrt(0.5 * 0.3))
    assert (row["rounds"], row["launches"]) == (16, 2)
    assert row["latency_s"] == pytest.approx(0.55 * MIDDLE)


def test_launches_that_lie_apart_are_not_decided_by_more_rounds(tmp_path: Path) -> None:
    draws = np.random.default_rng(0).lognormal(0.0, 0.1, size=(2, 256))
    for name, factors, decidable in (("meet", (1.0, 1.0), True), ("apart", (0.7, 1.5), False)):
        times = [factor * draw for factor, draw in zip(factors, draws, strict=True)]
        records: list[Record] = [
            case("softmax", is_baseline=True, launches=(launch(*[1.0] * 256),) * 2),
            case("fast", launches=tuple(launch(*map(float, one)) for one in times)),
        ]
        rows = _rows(tmp_path / name, records)
        assert rows.loc["fast", "verdict"] == "undecided"
        assert _missing(rows, "fast", "rounds_needed") != decidable


def test_a_launch_without_an_interval_leaves_the_ratio_without_one(tmp_path: Path) -> None:
    short = (launch(*EIGHT), launch(1.0, 1.1))
    half = (launch(*_times(0.5)), launch(0.5, 0.55))
    records: list[Record] = [
        case("softmax", is_baseline=True, launches=short),
        case("fast", launches=half),
    ]
    rows = _rows(tmp_path, records)
    assert rows.loc["fast", "verdict"] == "undecided"
    for column in ("ratio_low", "ratio_high", "latency_low_s", "latency_high_s"):
        assert _missing(rows, "fast", column), column


def test_the_level_is_shared_by_launches_and_by_comparisons(tmp_path: Path) -> None:
    # Eight values carry a first look down to a level of 2 / 2**8, about 0.0078 * 2 at alpha.
    for name, rules, decided in (
        ("alone", {}, True),
        ("launches", {"launches": 4}, False),
        ("familywise", {"familywise": True}, False),
    ):
        others: list[Record] = [case(f"other{n}") for n in range(3)]
        row = _rows(tmp_path / name, [*_pair(0.5), *others], **rules).loc["fast"]
        assert (row["verdict"] == "faster") == decided


@pytest.mark.parametrize(
    ("peak", "verdict"),
    [(500, "smaller"), (979, "smaller"), (990, "same"), (1010, "same"), (1021, "larger")],
)
def test_memory_against_the_baseline(tmp_path: Path, peak: int, verdict: str) -> None:
    row = _rows(tmp_path, _pair(0.5, probe=probe(peak_bytes=peak))).loc["fast"]
    assert row["memory_ratio"] == pytest.approx(peak / 1000)
    assert row["memory_verdict"] == verdict


def test_without_a_baseline_there_are_no_ratios(tmp_path: Path) -> None:
    failed = case("softmax", is_baseline=True, status="oom", reason="too large")
    rows = _rows(tmp_path, [failed, case("fast")])
    assert rows.loc["fast", "latency_s"] == pytest.approx(MIDDLE)
    for name in ("ratio", "ratio_low", "ratio_high", "verdict", "memory_ratio", "memory_verdict"):
        assert rows[name].isna().all(), name


def test_ratios_stay_within_a_block(tmp_path: Path) -> None:
    records: list[Record] = [*_pair(0.5), case("softmax", "b2"), case("fast", "b2")]
    rows = load(write_run(tmp_path, records)).set_index("case_id")
    assert _missing(rows, "b2-fast", "ratio")


def test_what_was_not_measured_is_missing_and_never_zero(tmp_path: Path) -> None:
    failed = case("slow", status="timeout", reason="60 s passed")
    rows = _rows(tmp_path, [*_pair(0.5), failed])
    for name in MEASURED:
        assert _missing(rows, "slow", name), name
    assert _missing(rows, "fast", "rss_peak_bytes")
    assert _missing(rows, "fast", "gradient_error")
    assert rows.loc["slow", "status"] == "timeout"
    assert rows.loc["slow", "reason"] == "60 s passed"
    assert rows.loc["slow", "flops"] == 4000
    assert _missing(rows, "fast", "reason")


def test_controls_are_a_table_of_their_own(tmp_path: Path) -> None:
    records: list[Record] = [
        *_pair(0.5),
        case("softmax", "b2", is_baseline=True),
        control("b2", launch(*_times(1.5))),
        control("b3"),
    ]
    found = controls(write_run(tmp_path, records)).set_index("block_id")
    assert list(found.index) == ["b1", "b2"]
    assert found.loc["b1", "verdict"] == "undecided"
    assert found.loc["b1", "ratio"] == pytest.approx(1.0)
    assert found.loc["b2", "verdict"] == "slower"
    assert found.loc["b2", "run"] == "small-a"
    assert len(load(tmp_path)) == 3


def test_every_sample_is_a_row(tmp_path: Path) -> None:
    records: list[Record] = [
        case("softmax", is_baseline=True, launches=(launch(1.0, 2.0), launch(3.0, warmup=()))),
        case("slow", status="timeout", reason="60 s passed"),
        control("b1", launch(4.0, warmup=())),
    ]
    found = samples(write_run(tmp_path, records))
    told = found[["variant", "launch", "phase", "index", "seconds"]].to_numpy().tolist()
    assert told == [
        ["softmax", 0, "warmup", 0, 9.0],
        ["softmax", 0, "round", 0, 1.0],
        ["softmax", 0, "round", 1, 2.0],
        ["softmax", 1, "round", 0, 3.0],
        ["control", 0, "round", 0, 4.0],
    ]
    assert list(found["case_id"][:4]) == ["b1-softmax"] * 4
    assert list(found["case_id"].isna()) == [False] * 4 + [True]


def test_several_runs_make_one_frame(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, _pair(0.5)) for name in ("a", "b")]
    assert len(load(folders)) == 4
    assert len(load([str(folder) for folder in folders])) == 4


def test_a_run_of_the_first_schema_still_loads() -> None:
    assert SCHEMA >= 1
    rows = load(OLD).set_index("variant")
    assert list(rows["status"]) == ["ok", "ok", "unsupported", "crashed"]
    assert rows.loc["sdpa(backend=flash)", "ratio"] == pytest.approx(0.5)
    assert rows.loc["sdpa(backend=flash)", "verdict"] == "faster"
    assert rows.loc["sdpa(backend=flash)", "memory_ratio"] == 0.25
    assert rows.loc["softmax", "latency_s"] == pytest.approx(math.sqrt(0.0043 * 0.0044))
    assert list(controls(OLD)["verdict"]) == ["undecided"]
    assert len(samples(OLD)) == 30


def test_runs_of_one_name_are_told_apart_and_a_run_named_twice_is_read_once(
    tmp_path: Path,
) -> None:
    for machine in ("here", "there"):
        write_run(tmp_path / machine / "quick", [case("a", is_baseline=True), control()])
    folders = [tmp_path / "here" / "quick", tmp_path / "there" / "quick"]
    name = load(folders[0])["run"][0]
    for read in (load, controls, samples):
        assert list(dict.fromkeys(read(folders)["run"])) == [name, f"{name}-2"]
    assert len(load([folders[0], folders[0]])) == 1
