"""Claims as a reader meets them: on the page, in the terminal, in exports."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from harness.analysis.claims import OUTCOMES
from harness.report.claims import MARKS, Line, sheets, table
from harness.report.export import export
from harness.report.terminal import draw_claims

from .synthetic import BASELINE, FAST, frame_of, manifest, row
from .test_page import page_of, read, section

Rows = list[dict[str, Any]]
RATIO: dict[str, Any] = {
    "claim": "flash needs 4 times less",
    "source": "Table 1",
    "quantity": "memory_ratio",
    "of": BASELINE,
    "over": FAST,
    "where": "q_len==1024",
    "expected": 4.0,
    "tolerance": 0.1,
    "trend": [1.0, None],
}
GROWTH: dict[str, Any] = {
    "claim": "its memory grows linearly",
    "source": "Theorem 1",
    "quantity": "memory_growth",
    "of": FAST,
    "along": "q_len",
    "expected": 1.0,
    "tolerance": 0.1,
}
LOST: dict[str, Any] = {"claim": "it learns", "source": "Table 3", "not_testable": "needs training"}


def told(*claims: dict[str, Any], run: str = "quick-a") -> dict[str, Any]:
    """A manifest whose suite makes these claims."""
    made = manifest(run=run)
    return {**made, "suite": {**made["suite"], "claims": list(claims)}}


def rows(bytes_of_flash: int = 1 << 20, run: str = "quick-a") -> Rows:
    made = [row(BASELINE, n, run=run, peak_bytes=(4 << 20) * (n // 512) ** 2 // 4)
            for n in (512, 1024, 2048)]  # fmt: skip
    flash = [row(FAST, n, run=run, peak_bytes=bytes_of_flash * n // 1024)
             for n in (512, 1024, 2048)]  # fmt: skip
    return made + flash


def line(given: dict[str, Any], made: Rows) -> Line:
    (sheet,) = sheets(frame_of(made), {"quick-a": told(given)})
    return sheet.lines[0]


def test_a_line_says_what_was_expected_measured_and_found() -> None:
    found = line(RATIO, rows())
    assert (found.claim, found.source, found.where) == (
        "flash needs 4 times less", "Table 1", "q_len==1024",
    )  # fmt: skip
    assert found.quantity == f"memory of {BASELINE} over {FAST}"
    assert (found.expected, found.trend) == ("4x \u00b1 0.1", "at least 1x")
    assert (found.measured, found.said, found.mark) == ("4.00x", "reproduced", "✓")
    found = line(RATIO, rows(2 << 20))
    assert (found.measured, found.said, found.mark) == ("2.00x", "trend only: not as expected", "~")


def test_a_growth_names_its_axis_and_has_its_interval() -> None:
    found = line(GROWTH, rows())
    assert found.quantity == f"memory of {FAST} along q_len"
    assert (found.expected, found.trend) == ("q_len^1 \u00b1 0.1", "")
    assert found.measured == "q_len^1.00 [1.00, 1.00]"


def test_a_claim_that_nothing_can_tell_shows_no_figure() -> None:
    found = line(LOST, rows())
    assert {found.quantity, found.expected, found.measured, found.mark} == {"\u2013"}
    assert found.said == "not testable here: needs training"


@pytest.mark.parametrize(
    ("quantity", "given", "measured", "expected"),
    [
        ("time", {"latency_s": 1e-3, "latency_low_s": 9e-4, "latency_high_s": 1.1e-3}, "1.0 ms",
         "0.0005 to 0.002"),
        ("memory", {"peak_bytes": 3 << 20}, "3 MiB", "0.0005 to 0.002"),
        ("error", {"error": 1.25e-7}, "1.25e-07", "0.0005 to 0.002"),
    ],
)  # fmt: skip
def test_a_value_has_the_unit_of_its_measure(
    quantity: str, given: dict[str, Any], measured: str, expected: str
) -> None:
    held = {"claim": "c", "source": "s", "quantity": quantity, "of": BASELINE}
    found = line({**held, "expected": [5e-4, 2e-3]}, [row(BASELINE, **given)])
    assert (found.measured, found.expected) == (measured, expected)


def test_a_ratio_of_times_has_as_many_digits_as_are_known() -> None:
    held = {**RATIO, "quantity": "time_ratio", "of": FAST, "over": BASELINE}
    made = [row(BASELINE), row(FAST, ratio=0.5123, ratio_low=0.4912, ratio_high=0.5311)]
    assert line(held, made).measured == "0.512x [0.491, 0.531]"
    absent: dict[str, Any] = {"ratio_low": None, "ratio_high": None, "latency_low_s": None}
    found = line(held, [row(BASELINE), row(FAST, ratio=0.5123, **absent)])
    assert found.measured.startswith("~")


def test_every_outcome_has_a_sign_of_its_own() -> None:
    assert set(MARKS) == set(OUTCOMES)
    assert len(set(MARKS.values())) == len(OUTCOMES)


def test_a_sheet_counts_outcomes_in_their_order() -> None:
    made = {"quick-a": told(LOST, GROWTH, RATIO)}
    (sheet,) = sheets(frame_of(rows(2 << 20)), made)
    assert sheet.summary == "1 reproduced, 1 trend only, 1 not testable here"
    assert list(sheet.counts) == ["reproduced", "trend only", "not testable here"]


def test_each_run_is_held_against_its_own_cases() -> None:
    both = frame_of([*rows(), *rows(2 << 20, run="quick-b")])
    found = sheets(both, {"quick-a": told(RATIO), "quick-b": told(RATIO, run="quick-b")})
    assert [(sheet.run, sheet.lines[0].outcome) for sheet in found] == [
        ("quick-a", "reproduced"), ("quick-b", "trend only"),
    ]  # fmt: skip
    assert sheets(both, {"quick-a": told(RATIO), "quick-b": manifest()})[0].run == "quick-a"


def test_the_page_has_the_claims_and_what_became_of_them() -> None:
    text = page_of(frame_of(rows()), suite=told(RATIO, GROWTH, LOST)["suite"])
    said = section(text, "claims")
    assert "2 reproduced, 1 not testable here." in said
    assert f"flash needs 4 times less Table 1 memory of {BASELINE} over {FAST} q_len==1024" in said
    assert "4x \u00b1 0.1 trend: at least 1x 4.00x ✓ reproduced" in said
    assert "not testable here : needs training" in said
    assert '<a href="#claims">Claims</a>' in text
    read(text)


def test_a_page_without_claims_has_no_such_section() -> None:
    text = page_of(frame_of(rows()))
    assert 'id="claims"' not in text
    assert "#claims" not in text


def test_what_a_suite_says_of_a_paper_is_text() -> None:
    evil = "<script>x</script>"
    text = page_of(frame_of(rows()), suite=told({**LOST, "claim": evil, "note": evil})["suite"])
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_terminal_shows_each_claim_with_its_outcome() -> None:
    (sheet,) = sheets(frame_of(rows()), {"quick-a": told(RATIO, LOST)})
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(draw_claims(sheet))
    text = console.export_text()
    assert "claims: 1 reproduced, 1 not testable here" in text
    for part in ("flash needs 4 times less", "(Table 1)", "4x ± 0.1", "trend at least 1x", "4.00x",
                 "✓ reproduced", "not testable here: needs training"):  # fmt: skip
        assert part in text


def exported(*claims: dict[str, Any]) -> pd.DataFrame:
    return table(frame_of(rows()), {"quick-a": told(*claims)})


def test_an_export_has_numbers_as_numbers_and_open_ends_empty() -> None:
    ratio, lost = json.loads(export(exported(RATIO, LOST), "json"))
    assert (ratio["run"], ratio["claim"], ratio["outcome"]) == (
        "quick-a", RATIO["claim"], "reproduced",
    )  # fmt: skip
    assert (ratio["measured"], ratio["expected_low"], ratio["expected_high"]) == (4.0, 3.9, 4.1)
    assert (ratio["trend_low"], ratio["trend_high"], ratio["reason"]) == (1.0, None, None)
    assert (lost["measured"], lost["expected_low"], lost["quantity"]) == (None, None, None)
    assert lost["reason"] == "needs training"


@pytest.mark.parametrize("form", ["csv", "parquet", "markdown", "latex", "json"])
def test_claims_export_in_every_format(form: Any) -> None:
    content = export(exported(LOST, RATIO), form)
    if form == "parquet":
        assert pd.read_parquet(io.BytesIO(content))["reason"].iloc[0] == "needs training"
    else:
        assert "needs training" in content.decode()


def test_a_run_without_claims_exports_a_header_alone() -> None:
    assert export(exported(), "csv").decode().startswith("run,claim,source,outcome")
    assert len(exported()) == 0


def test_claims_in_markdown_are_one_row_each() -> None:
    lines = export(exported(RATIO, LOST), "markdown").decode().splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| quick-a | flash needs 4 times less | Table 1 | reproduced |")
