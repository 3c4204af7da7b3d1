"""About how long a run takes, before it is begun."""

from __future__ import annotations

from harness.measure.budget import OVERDRAFT
from harness.statistics import FIRST_LOOK
from harness.suite import Suite
from harness.workload import Workload

# Measured on two cores: `quick` and `growth`, whose runs these give to within a factor of 1.5.
_LAUNCH_S, _CASE_S = 0.2, 0.15
_PAIR_S = 1e-8
"""Seconds that a core takes for a (query, key) pair, as variants go."""
_GPU_CORES = 2000
_BACKWARD = 3.5
_CHECKS = 20
"""Calls that checking a case costs: its definition in float64, the mutants of that, its probe."""
_WARM_UP = 3
_OPERATION_S = 1e-5
"""Of a schedule that is made and simulated."""


def estimate_s(suite: Suite, budget_s: float | None = None) -> float:
    """About how long a run takes on a quiet machine, when every block spends its budget.

    budget_s: what the run should take; checks and a few calls of each case it takes nevertheless.
    """
    measure = suite.measure
    least = whole = _OPERATION_S * sum(case.most_operations for case in suite.schedules)
    for block in suite.blocks():
        cases, call_s = len(block.cases), _call_s(block.workload)
        checks = measure.launches * _LAUNCH_S + cases * (_CASE_S + _CHECKS * call_s)
        calls_s = measure.launches * cases * call_s
        look = min(OVERDRAFT * measure.budget_s, (_WARM_UP + FIRST_LOOK) * calls_s)
        least += checks + (_WARM_UP + 1) * calls_s
        whole += checks + max(measure.budget_s, look)
    return whole if budget_s is None else min(whole, max(least, budget_s))


def _call_s(workload: Workload) -> float:
    cores = workload.threads if workload.device == "cpu" else _GPU_CORES
    return _PAIR_S / cores * workload.all_pairs * (_BACKWARD if workload.has_gradients else 1.0)
