"""The truth of a block for one definition, kept on disk for the probes of the block."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from harness.execute.setting import build, load_variants, start_device
from harness.execute.worker import Running
from harness.measure.truth import save, softmax_rows, truth_of
from harness.workload import Workload


def truth(payload: dict[str, Any], folder: Path) -> dict[str, float]:
    """Compute and save the truth of `{"variant", "workload", "path"}`; return its own error."""
    Running(folder)(0)
    load_variants(payload["files"])
    workload = Workload.model_validate(payload["workload"])
    start_device(workload)
    op = build(payload["variant"])
    kept = Path(payload["path"]).with_name(f"softmax-{'rows' if op.rowwise else 'all'}.pt")
    if not kept.exists():
        torch.save(softmax_rows(workload, op.rowwise), kept)
    softmax = torch.load(kept, weights_only=True)
    found = truth_of(op.definition, workload, softmax, rowwise=op.rowwise)
    save(found, Path(payload["path"]))
    return dataclasses.asdict(found.own)
