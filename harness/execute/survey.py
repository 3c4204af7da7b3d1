"""The survey: which cases can run at all, asked of every variant before anything is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.device import device_named
from harness.execute.checker import LEAST_DRAWS
from harness.execute.cost import cost_of
from harness.execute.setting import build, load_variants
from harness.measure.faults import reason_of, status_of
from harness.variant import Variant, definition_key, family_of, hindrance, measured
from harness.workload import Workload, usable_cpus


def survey(payload: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """For each case `{"variant", "workload"}`: definition and cost; status, reason if it cannot.

    One process serves all cases, so that an optional package is imported once a run.
    """
    load_variants(payload["files"])
    return [_surveyed(case) for case in payload["cases"]]


def _surveyed(case: dict[str, Any]) -> dict[str, Any]:
    workload = Workload.model_validate(case["workload"])
    try:
        chosen = build(case["variant"])
        found: dict[str, Any] = {
            "family": family_of(chosen),
            "approximates": chosen.approximates,
        }
        status, reason = _hindrance(chosen, workload)
    except Exception as error:  # a variant's own code runs here
        status, reason = status_of(error), f"unsupported() raised {reason_of(error)}"
        found = {}
    if reason is not None:
        return {**found, "status": status, "reason": reason}
    op, shapes = measured(chosen, workload)
    found["definition"], found["own"] = definition_key(op)
    try:
        return {**found, "cost": cost_of(op, shapes)}
    except Exception as error:  # and here
        return {**found, "status": "error", "reason": f"cost() failed: {reason_of(error)}"}


def _hindrance(chosen: Variant, workload: Workload) -> tuple[str, str | None]:
    device = device_named(workload.device)
    reason = device.unavailable() or _too_many_threads(workload)
    reason = reason or hindrance(chosen, workload)
    if reason is not None:
        return "unsupported", reason
    # q, k, v once in the buffers, and of each draw.
    needed, free = (1 + LEAST_DRAWS) * workload.input_bytes(), device.available_bytes()
    if needed > free:
        return "oom", f"its inputs need {needed:,} bytes, {free:,} are available"
    return "ok", None


def _too_many_threads(workload: Workload) -> str | None:
    if workload.threads > usable_cpus():
        return f"asks for {workload.threads} threads, this machine lets {usable_cpus()} run"
    return None
