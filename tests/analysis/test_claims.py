"""Claims held against frames whose truth is known: each outcome, and each reason for none."""

from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.claims import Audit, Figure, audits, judged
from harness.suite import Claim
from harness.suite.claim import position
from harness.workload import Workload
from tests.report.synthetic import BASELINE, FAST, frame_of, row

LENGTHS = (512, 1024, 2048, 4096)


def claim(quantity: str = "time_ratio", expected: Any = (1.9, 2.1), **given: Any) -> Claim:
    """A claim of the slower variant over the quicker one, at one length unless told otherwise."""
    said: dict[str, Any] = {"claim": "c", "source": "Table 1", "quantity": quantity, "of": BASELINE}
    if quantity.endswith("_ratio"):
        said["over"] = FAST
    said["where"] = "q_len==1024"
    if quantity.endswith("_growth"):
        said |= {"along": "q_len", "where": ""}
    return Claim(**{**said, "expected": expected, **given})


def pair(ratio: float = 0.5, reach: float = 1.02, **given: Any) -> list[dict[str, Any]]:
    """Two variants at one length; the quicker needs `ratio` of the slower one's time."""
    known = {"ratio": ratio, "ratio_low": ratio / reach, "ratio_high": ratio * reach}
    return [
        row(BASELINE, peak_bytes=8 << 20, output_bytes=1 << 20, error=3e-7),
        row(FAST, peak_bytes=3 << 20, output_bytes=1 << 20, error=1e-7, **{**known, **given}),
    ]


def one(rows: list[dict[str, Any]], held: Claim) -> Audit:
    (found,) = audits(frame_of(rows), [held])
    return found


def powers(power: float, reach: float = 1.01, **given: Any) -> list[dict[str, Any]]:
    """The slower variant at each length, its time a power of the length known within `reach`."""
    return [
        row(
            BASELINE,
            length,
            latency_s=1e-9 * length**power,
            latency_low_s=1e-9 * length**power / reach,
            latency_high_s=1e-9 * length**power * reach,
            peak_bytes=round(length**power),
            output_bytes=256 * length,
            **given,
        )
        for length in LENGTHS
    ]


@pytest.mark.parametrize(
    ("ratio", "reach", "trend", "outcome", "reason"),
    [
        (2.0, 1.02, None, "reproduced", ""),
        (2.0, 1.02, (1, None), "reproduced", ""),
        (3.0, 1.02, (1, None), "trend only", "not as expected"),
        (2.0, 1.2, (1, None), "trend only", "not decided whether it is as expected"),
        (0.5, 1.02, (1, None), "not reproduced", ""),
        (3.0, 1.02, None, "not reproduced", ""),
        (2.0, 1.2, None, "not testable here", "not decided: the interval reaches beyond"),
        (1.0, 1.2, (1, None), "not testable here", "not decided: the interval reaches beyond"),
    ],
)
def test_the_interval_of_a_ratio_decides(
    ratio: float, reach: float, trend: Any, outcome: str, reason: str
) -> None:
    found = one(pair(1 / ratio, reach), claim(trend=trend))
    assert found.outcome == outcome
    assert found.reason.startswith(reason)
    assert bool(found.reason) == bool(reason)
    assert found.figure is not None
    assert (found.figure.value, found.figure.low, found.figure.high) == pytest.approx(
        (ratio, ratio / reach, ratio * reach)
    )


def test_what_a_longer_race_or_more_lengths_would_tell_is_said() -> None:
    assert "a larger measure.budget_s would narrow it" in one(pair(0.5, 1.2), claim()).reason
    bent = [row(BASELINE, n, peak_bytes=2**20 + n**2) for n in LENGTHS]
    growth = claim("memory_growth", (1.9, 2.1), trend=(0.0, 3.0))
    assert "longer or more lengths would tell" in one(bent, growth).reason


def test_a_ratio_is_of_the_first_over_the_second_whichever_is_the_baseline() -> None:
    turned = claim(of=FAST, over=BASELINE, expected=(0.49, 0.52))
    assert one(pair(0.5, 1.01), turned).outcome == "reproduced"
    third = [*pair(0.5, 1.01), row("flex", ratio=0.25, ratio_low=0.24, ratio_high=0.26)]
    found = one(third, claim(of=FAST, over="flex"))
    assert found.figure is not None
    assert (found.figure.value, found.figure.low, found.figure.high) == pytest.approx(
        (2.0, 0.5 / 1.01 / 0.26, 0.5 * 1.01 / 0.24)
    )


def test_without_an_interval_nothing_is_reproduced() -> None:
    none: dict[str, Any] = {"ratio_low": None, "ratio_high": None}
    none |= {"latency_low_s": None, "latency_high_s": None}
    found = one(pair(0.5, **none), claim(trend=(0, None)))
    assert found.outcome == "not testable here"
    assert found.reason.startswith("too few rounds for an interval")


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("memory_ratio", 8 / 3),
        ("overhead_ratio", 7 / 2),
        # q, k and v of four heads, 1,024 tokens and 64 dimensions are 3 MiB.
        ("footprint_ratio", 11 / 6),
        ("error_ratio", 3.0),
    ],
)
def test_what_is_counted_is_exact(quantity: str, value: float) -> None:
    near = claim(quantity, expected=value, tolerance=1e-6)
    assert one(pair(), near).outcome == "reproduced"
    far = claim(quantity, expected=value + 2e-6, tolerance=1e-6)
    assert one(pair(), far).outcome == "not reproduced"


@pytest.mark.parametrize(
    ("quantity", "value"),
    [("memory", 8 << 20), ("overhead", 7 << 20), ("error", 3e-7), ("output_rms", 0.25)],
)
def test_a_value_is_held_as_it_is(quantity: str, value: float) -> None:
    rows = pair()
    rows[0]["output_rms"] = 0.25
    assert one(rows, claim(quantity, (value, value))).outcome == "reproduced"
    assert one(rows, claim(quantity, (None, 0.99 * value))).outcome == "not reproduced"


def test_simulated_cycles_are_of_our_model() -> None:
    rows = pair()
    rows[0]["cycles"], rows[1]["cycles"] = 1560, 2048
    found = one(rows, claim("cycles_ratio", 0.75, tolerance=0.02))
    assert found.outcome == "reproduced in our model"
    assert found.figure is not None
    assert found.figure.value == 1560 / 2048
    assert one(rows, claim("cycles_ratio", 0.5, tolerance=0.02)).outcome == "not reproduced"


def test_a_time_has_the_interval_of_its_latency() -> None:
    rows = [row(BASELINE, latency_s=1.0, latency_low_s=0.9, latency_high_s=1.2)]
    assert one(rows, claim("time", (0.9, 1.2))).figure == Figure(1.0, 0.9, 1.2)
    assert one(rows, claim("time", (0.9, 1.2))).outcome == "reproduced"
    assert one(rows, claim("time", (0.95, 1.2))).outcome == "not testable here"


@pytest.mark.parametrize(
    ("power", "reach", "outcome"),
    [
        (2.0, 1.01, "reproduced"),
        (2.3, 1.01, "trend only"),
        (1.0, 1.01, "not reproduced"),
        (2.0, 1.1, "trend only"),
        (2.0, 1.5, "not testable here"),
    ],
)
def test_a_growth_is_an_exponent_with_its_interval(
    power: float, reach: float, outcome: str
) -> None:
    held = claim("time_growth", 2.0, tolerance=0.1, trend=(1.5, 2.5))
    assert one(powers(power, reach), held).outcome == outcome


def test_a_growth_of_bytes_less_the_output() -> None:
    rows = [row(BASELINE, n, peak_bytes=n**2 + 256 * n, output_bytes=256 * n) for n in LENGTHS]
    exact = {"expected": 2.0, "tolerance": 1e-6}
    assert one(rows, claim("overhead_growth", **exact)).outcome == "reproduced"
    assert one(rows, claim("memory_growth", **exact)).outcome != "reproduced"


def test_a_growth_may_be_along_other_fields_than_the_length() -> None:
    shapes: list[tuple[str, list[dict[str, Any]]]] = [
        ("head_dim", [{"head_dim": n, "v_head_dim": n, "scale": n**-0.5} for n in (32, 64, 128)]),
        ("heads", [{"heads": n, "kv_heads": n} for n in (2, 4, 8)]),
        ("window", [{"mask": f"causal+window({n})"} for n in (16, 32, 64)]),
    ]
    for axis, fields in shapes:
        places = [position(Workload.model_validate({"q_len": 1, **one}), axis) for one in fields]
        rows = [
            row(BASELINE, peak_bytes=(n or 0) ** 3, **given)
            for n, given in zip(places, fields, strict=True)
        ]
        held = claim("memory_growth", 3.0, tolerance=1e-3, along=axis)
        assert one(rows, held).outcome == "reproduced", axis


def test_errors_of_one_draw_scatter_and_their_growth_is_not_taken_for_exact() -> None:
    scattered = [1.0, 1.3, 0.9, 1.1]
    rows = [row(BASELINE, n, output_rms=rms) for n, rms in zip(LENGTHS, scattered, strict=True)]
    found = one(rows, claim("output_rms_growth", 0.0, tolerance=0.1)).figure
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.4 < 0.4 < found.high


def not_testable(rows: list[dict[str, Any]], held: Claim) -> str:
    found = one(rows, held)
    assert (found.outcome, found.figure) == ("not testable here", None)
    return found.reason


def test_a_claim_that_nothing_can_tell_has_its_reason() -> None:
    lost = Claim(claim="it learns", source="Table 3", not_testable="needs training")
    assert not_testable(pair(), lost) == "needs training"


def test_a_case_that_did_not_come_out_ok_is_no_figure() -> None:
    rows = [row(BASELINE), row(FAST, status="unsupported", reason="needs a GPU")]
    assert not_testable(rows, claim()) == f"{FAST} was unsupported: needs a GPU"
    rows = [row(BASELINE), row(FAST, status="incorrect", reason="off by 3", peak_bytes=1 << 20)]
    assert not_testable(rows, claim("memory_ratio")) == f"{FAST} was incorrect: off by 3"


def test_a_device_that_is_not_there_is_the_reason() -> None:
    text = not_testable(pair(), claim(where="device==cuda and q_len==1024"))
    assert text == "asks for device==cuda and q_len==1024; the run was on cpu"


def test_workloads_and_variants_that_a_run_leaves_out_are_the_reason() -> None:
    text = not_testable(pair(), claim(where="q_len==2048"))
    assert text == "asks for q_len==2048; the run has no such workload"
    assert not_testable(pair()[:1], claim()) == f"the run has no case of {FAST}"
    heads = [row(BASELINE, heads=n, kv_heads=n) for n in (2, 8)]
    assert not_testable(heads, claim("memory")) == "the run has 2 workloads where q_len==1024"


def test_what_was_not_measured_is_the_reason() -> None:
    rows = [row(BASELINE, output_rms=None)]
    text = not_testable(rows, claim("output_rms"))
    assert text == f"the run did not measure the output_rms of {BASELINE}"


def test_a_growth_names_the_lengths_that_it_is_without() -> None:
    rows = powers(2.0)
    rows[3] = row(BASELINE, 4096, status="oom", reason="full")
    held = claim("time_growth", 2.0, tolerance=0.1)
    assert (one(rows, held).outcome, one(rows, held).reason) == (
        "reproduced", "without q_len 4096 (oom)",
    )  # fmt: skip
    rows[2] = row(BASELINE, 2048, status="timeout", reason="slow")
    text = not_testable(rows, held)
    assert text == (
        "2 of 3 points that an exponent needs, without q_len 2048 (timeout), 4096 (oom)"
    )


def test_a_growth_over_several_sweeps_at_once_is_none() -> None:
    rows = [*powers(2.0), *powers(2.0, mask="causal")]
    text = not_testable(rows, claim("time_growth", 2.0, tolerance=0.1))
    assert text == "the run has several such sweeps, which differ in mask"


def test_every_claim_is_answered_in_its_order() -> None:
    held = [claim(), claim("memory_ratio"), claim(expected=(5, None))]
    assert [one.claim for one in audits(frame_of(pair()), held)] == held
    assert audits(frame_of([]), []) == []


def test_open_ends_are_open() -> None:
    assert judged(Figure(9, 9, 9), claim(expected=(5, None))).outcome == "reproduced"
    assert judged(Figure(9, 9, 9), claim(expected=(None, 5))).outcome == "not reproduced"
