"""A suite of schedules through the command line: run, shown, exported, compared."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd

from .conftest import Call

RINGS = """\
name: rings
description: How long is a ring?
schedules: [{schedule: [ring, zigzag], vectors: [4, 8], elements: [2, 4]}]
"""


def test_a_suite_of_schedules_is_run_shown_and_exported(call: Call, folder: Path) -> None:
    (folder / "rings.yaml").write_text(RINGS)
    asked = json.loads(call("run", "rings.yaml", "--dry-run", "--json").out)
    assert {key: asked[key] for key in ("blocks", "cases", "schedules")} == {
        "blocks": 0,
        "cases": 0,
        "schedules": 8,
    }
    shown = call("show", "rings.yaml").out
    assert "8 schedules, about 0 s" in shown
    assert "zigzag n=8 m=4" in shown
    assert "baseline" not in shown

    answer = call("run", "rings.yaml", "--out", "run", "--no-report")
    assert answer.code == 0, answer.err
    assert answer.err.splitlines()[0] == "rings: 8 schedules, about 0 s"
    assert "8 schedules simulated" in answer.err
    for text in (answer.out, call("show", "run").out):
        assert "schedules on 4 elements: cycles, saved against ring" in " ".join(text.split())
        assert "zigzag n=4: 2 m must divide n" in " ".join(text.split())
        assert "43.8%" in text

    frame = pd.read_csv(io.StringIO(call("export", "run", "--schedules").out))
    assert len(frame) == 8
    assert list(frame[frame["status"] == "ok"]["cycles"]) == [16, 8, 64, 32, 10, 36, 18]
    answer = call("export", "run", "--schedules", "--claims")
    assert (answer.code, "exclude each other; leave one out" in answer.err) == (2, True)

    told = json.loads(
        call("run", "rings.yaml", "--out", "run", "--resume", "--no-report", "--json").out
    )
    assert told["schedules"] == {"ok": 7, "unsupported": 1}
    (row,) = json.loads(call("list", "runs", "--in", ".", "--json").out)
    assert (row["outcomes"], row["schedules"]) == ({}, {"ok": 7, "unsupported": 1})


def test_two_runs_of_schedules_have_nothing_to_compare(call: Call, folder: Path) -> None:
    (folder / "rings.yaml").write_text(RINGS)
    for name in ("a", "b"):
        assert call("run", "rings.yaml", "--out", name, "--no-report").code == 0
    answer = call("compare", "a", "b")
    assert (answer.code, "no timed case in common" in answer.err) == (2, True), answer
