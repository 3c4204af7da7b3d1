"""Records: their schema, the append-only store, and the frame that everything is read through."""

from harness.records.frame import COLUMNS, block_rows, controls, load, named_runs, samples
from harness.records.schema import SCHEMA, CaseRecord, ControlRecord
from harness.records.store import Store, holds_run, read_manifest, read_records, runs_below

__all__ = [
    "COLUMNS",
    "SCHEMA",
    "CaseRecord",
    "ControlRecord",
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
]
