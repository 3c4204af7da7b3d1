"""Records: their schema, the append-only store, and the frame that everything is read through."""

from harness.records.frame import COLUMNS, block_rows, controls, load, named_runs, samples
from harness.records.schema import SCHEMA, CaseRecord, ControlRecord
from harness.records.store import Store, read_manifest, read_records

__all__ = [
    "COLUMNS",
    "SCHEMA",
    "CaseRecord",
    "ControlRecord",
    "Store",
    "block_rows",
    "controls",
    "load",
    "named_runs",
    "read_manifest",
    "read_records",
    "samples",
]
