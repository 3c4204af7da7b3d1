"""Schedules in a run: simulated, recorded, resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.execute import local
from harness.execute.local import Listeners, Request
from harness.records import ScheduleRecord, controls, load, read_records, samples, schedules
from harness.records.schema import ScheduleFigures
from harness.schedule import GENERATORS, simulate
from harness.suite import Suite, load_suite

TEXT = """\
name: rings
schedules: [{schedule: [ring, half_fused, zigzag, causal_half], vectors: [4, 8], elements: [2, 4]}]
"""


@pytest.fixture
def suite(tmp_path: Path, installed: None) -> Suite:
    (tmp_path / "rings.yaml").write_text(TEXT)
    return load_suite(str(tmp_path / "rings.yaml"))


def run(suite: Suite, folder: Path, *, resume: bool = False) -> list[int]:
    told: list[int] = []
    silent = Listeners(lambda *_: None, lambda *_: None, lambda count, _: told.append(count))
    local.run_suite(Request(suite, folder, resume=resume), silent)
    return told


def test_every_schedule_is_recorded_as_it_simulates(suite: Suite, tmp_path: Path) -> None:
    assert run(suite, tmp_path / "run") == [16]
    frame = schedules(tmp_path / "run")
    assert len(frame) == 16
    assert len(load(tmp_path / "run")) == len(samples(tmp_path / "run")) == 0
    assert controls(tmp_path / "run").empty
    for row in frame[frame["status"] == "ok"].to_dict("records"):
        found = simulate(GENERATORS[row["schedule"]](row["vectors"], row["elements"]))
        assert (row["cycles"], row["registers"]) == (found.cycles, found.registers)
        assert row["utilisation"] == pytest.approx(found.utilisation)
        ring = 2 * row["vectors"] ** 2 / row["elements"]
        assert row["saving"] == pytest.approx(1 - found.cycles / ring)
        assert row["cycles"] >= row["bound"]


def test_what_a_schedule_is_not_made_for_is_unsupported(suite: Suite, tmp_path: Path) -> None:
    run(suite, tmp_path / "run")
    frame = schedules(tmp_path / "run")
    (refused,) = frame[frame["status"] == "unsupported"].to_dict("records")
    assert (refused["schedule"], refused["vectors"], refused["elements"]) == ("zigzag", 4, 4)
    assert "2 m must divide n: n=4, m=4" in refused["reason"]


def test_a_run_goes_on_where_it_stopped(suite: Suite, tmp_path: Path) -> None:
    run(suite, tmp_path / "run")
    path = tmp_path / "run" / "records.jsonl"
    whole = [r.case_id for r in read_records(tmp_path / "run") if isinstance(r, ScheduleRecord)]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]) + b'{"torn')
    assert run(suite, tmp_path / "run", resume=True) == [11]
    again = [r.case_id for r in read_records(tmp_path / "run") if isinstance(r, ScheduleRecord)]
    assert again == whole
    assert run(suite, tmp_path / "run", resume=True) == []


def test_a_record_is_either_whole_or_has_a_reason() -> None:
    named = {"block_id": "b", "case_id": "b", "schedule": "ring", "vectors": 4, "elements": 2}
    named["ended_utc"] = "2026-01-01T00:00:00Z"
    names = [name for name in ScheduleFigures.model_fields if name != "scheme"]
    figures = {"scheme": "general", **dict.fromkeys(names, 1)}
    ScheduleRecord.model_validate({**named, "status": "ok", "figures": figures})
    ScheduleRecord.model_validate({**named, "status": "unsupported", "reason": "m"})
    for wrong in (
        {"status": "ok"},
        {"status": "ok", "figures": figures, "reason": "slow"},
        {"status": "unsupported"},
        {"status": "unsupported", "reason": "m", "figures": figures},
    ):
        with pytest.raises(ValueError, match=r"ok needs figures|unsupported needs a reason"):
            ScheduleRecord.model_validate({**named, **wrong})
