"""attnbench compare: what it prints, and what it leaves with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.records import CaseRecord
from harness.roofline import Ceilings
from tests.analysis.test_compare import block, numerics, times
from tests.cli.conftest import Call
from tests.records.made import probe, write_run

WRONG = {"status": "incorrect", "reason": "row 3 is off"}
A = block(sdpa=times(0.5), chunked=times(0.8))


def made(folder: Path, b: list[CaseRecord], **changed: Any) -> tuple[str, str]:
    """Folders of A and of a run B of these records, whose manifest was changed so."""
    write_run(folder / "a", A, launches=2)
    write_run(folder / "b", b, launches=2)
    path = folder / "b" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    return "a", "b"


def test_a_run_compared_with_itself_is_the_same(call: Call, folder: Path) -> None:
    write_run(folder / "a", A, launches=2)
    answer = call("compare", "a", "a")
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "0 slower, 0 faster, 3 same, 0 undecided"
    assert "same samples" in answer.out


def test_a_slowdown_is_named_first_and_leaves_with_1(call: Call, folder: Path) -> None:
    answer = call("compare", *made(folder, block(sdpa=times(0.56), chunked=times(0.72))))
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[-1] == "1 slower, 1 faster, 1 same, 0 undecided"
    rows = [line.split()[0] for line in lines if " 16 " in line]
    assert rows == ["sdpa", "chunked", "softmax"]
    assert "▼ slower" in next(line for line in lines if "sdpa" in line)
    assert "1.12" in next(line for line in lines if "sdpa" in line)
    assert "over the 3 of 3 cases that are decided" in answer.out


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"probe": probe(peak_bytes=2000)}, "larger"),
        ({"numerics": numerics(9e-7)}, "worse"),
        (WRONG, "failed"),
    ],
)
def test_fail_on_names_what_leaves_with_1(
    call: Call, folder: Path, changed: dict[str, Any], kind: str
) -> None:
    sdpa = changed if kind == "failed" else {**times(0.5), **changed}
    runs = made(folder, block(sdpa=sdpa, chunked=times(0.8)))
    assert call("compare", *runs, "--fail-on", kind).code == 1
    assert call("compare", *runs, "--fail-on", "slower").code == 0
    assert call("compare", *runs, "--fail-on", "slower", "--fail-on", kind).code == 1
    answer = call("compare", *runs)
    assert answer.code == (1 if kind == "failed" else 0)
    assert f"1 {kind}" in answer.out.splitlines()[-1]
    rows = [line.split()[0] for line in answer.out.splitlines() if " 16 " in line]
    assert rows[0] == "sdpa"


def test_unlike_runs_say_so_on_every_line(call: Call, folder: Path, refusal: Any) -> None:
    runs = made(folder, A, machine_name="m2", versions={"torch": "3"})
    assert "add --across-machines" in refusal("compare", *runs)
    assert "add --across-versions" not in refusal("compare", *runs)
    assert "add --across-versions" in refusal("compare", *runs, "--across-machines")
    answer = call("compare", *runs, "--across-machines", "--across-versions", "--json")
    document = json.loads(answer.out)
    assert {one["unlike"] for one in document["cases"]} == {"other machine, other versions"}
    assert document["unlike"][0] == "the machine: m1 -> m2"
    printed = call("compare", *runs, "--across-machines", "--across-versions").out
    assert printed.count("other machine") == len(A)
    assert "unlike: the machine: m1 -> m2" in printed


def test_what_only_one_run_has_is_listed(call: Call, folder: Path) -> None:
    b = [one for one in block(sdpa=times(0.5)) if one.variant.text != "softmax"]
    answer = call("compare", *made(folder, b))
    assert answer.code == 0
    assert call("compare", "a", "b", "--fail-on", "slower", "--fail-on", "missing").code == 1
    assert call("compare", "b", "a", "--fail-on", "missing").code == 0
    assert "only in A: softmax on forward B1 H1 L16 D64 none float32 cpu" in answer.out
    assert answer.out.splitlines()[-1].endswith("; 2 cases only in A")
    document = json.loads(call("compare", "a", "b", "--json").out)
    assert [one["variant"] for one in document["only_in_a"]] == ["softmax", "chunked"]
    assert document["regressions"]["missing"] == 2


def test_a_case_that_fails_shows_why(call: Call, folder: Path) -> None:
    answer = call("compare", *made(folder, block(sdpa=WRONG, chunked=times(0.8))))
    assert "✗ failed" in answer.out
    assert "incorrect:" in answer.out


def test_undecided_cases_are_told_what_would_decide_them(call: Call, folder: Path) -> None:
    slow = Ceilings(1e10 / 1.3, 1e9, 1e-6)
    answer = call("compare", *made(folder, block(sdpa=times(0.6, slow), chunked=times(0.8))))
    assert answer.code == 0
    assert "machine up to" in answer.out
    assert "1 undecided: the machine ran at another speed" in answer.out
    assert "run both again, one right after the other" in answer.out
    document = json.loads(call("compare", "a", "b", "--json").out)
    (sdpa,) = (one for one in document["cases"] if one["variant"] == "sdpa")
    assert sdpa["machine_slower"] == pytest.approx(1.3)
    assert sdpa["remedy"] == "run both again, one right after the other"
    assert sdpa["seconds"]["low"] > 1.02 > sdpa["seconds_less_drift"]["low"]


def test_the_margin_is_checked_and_used(call: Call, folder: Path, refusal: Any) -> None:
    runs = made(folder, block(sdpa=times(0.56), chunked=times(0.8)))
    assert "must lie between 0 and 100%, found '3'" in refusal("compare", *runs, "--margin", "3")
    answer = call("compare", *runs, "--margin", "20%")
    assert answer.code == 0
    assert "margin 20%" in answer.out
    assert answer.out.splitlines()[-1].startswith("0 slower, 0 faster, 3 same")


def test_a_folder_without_a_run_is_refused(folder: Path, refusal: Any) -> None:
    assert "nowhere: not a run" in refusal("compare", "nowhere", "nowhere")
