"""The truth of a block for one definition, kept on disk for its probes; the gate, tested."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from harness.execute.setting import build, load_variants, start_device
from harness.execute.worker import Running
from harness.measure.truth import ask, find_truth, save, softmax_rows
from harness.measure.vacuity import gate_of
from harness.workload import Workload


def truth(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Compute and save the truth of `{"variant", "workload", "path"}`.

    Answers `{"own", "gate"}`: the definition's own error, and what the gate catches.
    """
    running = Running(folder)
    running(0)
    load_variants(payload["files"])
    workload = Workload.model_validate(payload["workload"])
    start_device(workload)
    op = build(payload["variant"])
    kept = Path(payload["path"]).with_name(f"softmax-{'rows' if op.rowwise else 'all'}.pt")
    if not kept.exists():
        torch.save(softmax_rows(workload, op.rowwise), kept)
    softmax = torch.load(kept, weights_only=True)
    asked = ask(workload, rowwise=op.rowwise)
    found = find_truth(op.definition, asked, softmax)
    save(found, Path(payload["path"]))
    running(0)  # a heartbeat of its own, so that truth and mutants both have their time
    gate = gate_of(op.definition, asked, found)
    return {"own": dataclasses.asdict(found.own), "gate": dataclasses.asdict(gate)}
