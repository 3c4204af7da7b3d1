"""Records and runs made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.records import SCHEMA, CaseRecord, ControlRecord, Store
from harness.records.schema import Launch, NumericsResult, ProbeResult, Variant
from harness.workload import Workload

Record = CaseRecord | ControlRecord
EIGHT = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7)
"""Times of one launch: their median is 1.345 in the logarithm, their range 1.0 to 1.7."""


def launch(*rounds: float, warmup: Sequence[float] = (9.0,)) -> Launch:
    return Launch(rounds_s=rounds, warmup_s=tuple(warmup))


def probe(**given: Any) -> ProbeResult:
    measured = {"prepare_s": 0.25, "first_call_s": 0.5, "peak_bytes": 1000, "output_bytes": 100}
    return ProbeResult.model_validate({**measured, **given})


def case(name: str, block: str = "b1", **given: Any) -> CaseRecord:
    """A case that came out ok, unless told otherwise."""
    numerics = NumericsResult(
        error=1e-7, error_bound=1e-6, deviation=0.5, rows=16, checked_against="definition"
    )
    fields: dict[str, Any] = {
        "block_id": block,
        "case_id": f"{block}-{name}",
        "variant": Variant(name=name, params={}, text=name, family="softmax"),
        "workload": Workload.model_validate({"q_len": 16, "threads": 2}).as_dict(),
        "status": "ok",
        "flops": 4000,
        "ended_utc": "2026-01-02T03:04:05+00:00",
        **given,
    }
    if fields["status"] == "ok":
        measured = {"probe": probe(), "numerics": numerics, "launches": (launch(*EIGHT),)}
        fields = {**measured, **fields}
    return CaseRecord.model_validate(fields)


def control(block: str = "b1", *launches: Launch) -> ControlRecord:
    return ControlRecord(block_id=block, launches=launches or (launch(*EIGHT),))


def manifest(**measure: Any) -> dict[str, Any]:
    rules = {"margin": 0.02, "alpha": 0.05, "launches": 1, "familywise": False, **measure}
    suite = {"name": "small", "measure": rules}
    return {"schema": SCHEMA, "run": "small-a", "machine_name": "m1", "suite": suite}


def write_run(folder: Path, records: Sequence[Record], **measure: Any) -> Path:
    """A run's folder that holds these records."""
    with Store(folder) as store:
        store.write_manifest(manifest(**measure))
        store.append(records)
    return folder


def lines_of(folder: Path, name: str = "records.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]
