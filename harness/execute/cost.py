"""What a case costs, as its variant claims or else its workload says, and whether that can be."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from harness import roofline
from harness.errors import VariantError
from harness.measure.calls import recurrence_of
from harness.records.schema import CostResult, Launch
from harness.variant import AttentionOp, Carrier, Cost
from harness.workload import Workload

_AMOUNTS = ("flops", "bytes", "state_bytes", "projection_flops", "parameters")
_GROWTHS = ("time_growth", "memory_growth")


def cost_of(op: AttentionOp, workload: Workload) -> dict[str, Any]:
    """The fields of a CostResult; raises VariantError where `cost` returns what is no cost."""
    claimed = op.cost(workload)
    _check(claimed)
    executed, compulsory = claimed.flops, claimed.bytes
    if isinstance(op, Carrier):
        return _of_layer(claimed, workload)
    if recurrence_of(op, workload, workload.build_mask("cpu")) is not None:
        # It reads its state in place of the keys: at least the new pair, the row and the state.
        one = workload.model_copy(update={"kv_len": 1, "mask": "none"})
        executed = one.flops() if executed is None else executed
        known = one.compulsory_bytes() + (claimed.state_bytes or 0)
        compulsory = known if compulsory is None else compulsory
    return {
        "executed_flops": workload.flops() if executed is None else executed,
        "compulsory_bytes": workload.compulsory_bytes() if compulsory is None else compulsory,
        "state_bytes": claimed.state_bytes,
        "time_growth": claimed.time_growth,
        "memory_growth": claimed.memory_growth,
    }


def _of_layer(claimed: Cost, workload: Workload) -> dict[str, Any]:
    """Of a layer: what it says; x is read and y written, and its parameters are read."""
    learnt = (claimed.parameters or 0) * workload.torch_dtype.itemsize
    moved = (
        2 * workload.batch * workload.q_len * workload.v_head_dim * workload.torch_dtype.itemsize
    )
    return {
        # A layer that counts nothing is taken to compute nothing: no machine is too slow for it.
        "executed_flops": claimed.flops or 0,
        "compulsory_bytes": moved + learnt if claimed.bytes is None else claimed.bytes,
        "state_bytes": claimed.state_bytes,
        "projection_flops": claimed.projection_flops,
        "parameters": claimed.parameters,
        "time_growth": claimed.time_growth,
        "memory_growth": claimed.memory_growth,
    }


def beyond_limits(launches: Sequence[Launch], cost: CostResult | None) -> str | None:
    """Why the median latency of these launches cannot be true; None when it can, or none tells.

    Judged by the best ceilings of all launches: what a machine reached once, it can.
    """
    ceilings = roofline.best(launch.ceilings for launch in launches)
    medians = [statistics.median(launch.rounds_s) for launch in launches if launch.rounds_s]
    if ceilings is None or cost is None or not medians:
        return None
    latency_s = statistics.median(medians)
    return roofline.impossible(latency_s, cost.executed_flops, cost.compulsory_bytes, ceilings)


def _check(claimed: Any) -> None:
    if not isinstance(claimed, Cost):
        raise VariantError(f"cost() returned {claimed!r}; return a Cost, Cost() to claim nothing")
    for name, value in dataclasses.asdict(claimed).items():
        if value is None:
            continue
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in _AMOUNTS and not whole:
            raise VariantError(
                f"cost(): {name} must be a whole number, 0 or more: {name}={value!r}; "
                "round it, or leave it out"
            )
        if name in _GROWTHS and not (real and math.isfinite(value)):
            raise VariantError(
                f"cost(): {name} must be an exponent of the length: {name}={value!r}; "
                "write 1.0 or 2.0, or leave it out"
            )
