"""Records: their schema, the append-only store, and the frame that everything is read through."""

from harness.records.frame import (
    COLUMNS,
    SCHEDULE_COLUMNS,
    block_rows,
    controls,
    load,
    named_runs,
    samples,
    schedules,
)
from harness.records.schema import SCHEMA, CaseRecord, ControlRecord, ScheduleRecord
from harness.records.store import Store, holds_run, read_manifest, read_records, runs_below

__all__ = [
    "COLUMNS",
    "SCHEDULE_COLUMNS",
    "SCHEMA",
    "CaseRecord",
    "ControlRecord",
    "ScheduleRecord",
    "Store",
    "block_rows",
    "controls",
    "holds_run",
    "load",
    "named_runs",
    "read_manifest",
    "read_records",
    "runs_below",
    "samples",
    "schedules",
]
