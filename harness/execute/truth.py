"""The truth of a block for one definition, kept on disk for its probes; the gate, tested."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from harness.execute.setting import load_variants, measured, start_device
from harness.execute.worker import Running
from harness.measure.truth import ask, find_truth, save, softmax_of
from harness.measure.vacuity import gate_of
from harness.workload import Workload

SMALL = 1 << 20
"""Scores up to which one thread computes a truth: on a busy machine, waiting for a second one at
every operation takes far longer than what it does (seen: 0.7 s in place of 0.02 s)."""


def truth(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Compute and save the truth of `{"variant", "workload", "path"}`.

    Answers `{"own", "gate"}`: the definition's own error, and what the gate catches.
    """
    running = Running(folder)
    running(0)
    load_variants(payload["files"])
    asked_of = Workload.model_validate(payload["workload"])
    op, workload = measured(payload["variant"], asked_of), asked_of.carried
    start_device(workload)
    asked = ask(workload, rowwise=op.rowwise, sources=op.sources)
    if workload.device == "cpu" and asked.scores() <= SMALL:
        torch.set_num_threads(1)
    kept = Path(payload["path"]).with_name(f"softmax-{'rows' if op.rowwise else 'all'}.pt")
    if not kept.exists():
        # How far a layer lies from softmax attention between other projections says nothing.
        torch.save(torch.empty(0) if workload.level == "layer" else softmax_of(asked), kept)
    softmax = torch.load(kept, weights_only=True)
    found = find_truth(op.definition, asked, softmax)
    save(found, Path(payload["path"]))
    running(0)  # a heartbeat of its own, so that truth and mutants both have their time
    if workload.device == "cpu":
        torch.set_num_threads(1)  # a mutant is small: see SMALL
    gate = gate_of(op.definition, asked, found)
    return {"own": dataclasses.asdict(found.own), "gate": gate.model_dump()}
