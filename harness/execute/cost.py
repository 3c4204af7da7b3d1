"""What a case costs, as its variant claims or else its workload says, and whether that can be."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from harness import roofline
from harness.errors import VariantError
from harness.records.schema import CostResult, Launch
from harness.roofline import Ceilings
from harness.variant import AttentionOp, Carrier, Cost, TeamOp
from harness.workload import Workload

_AMOUNTS = ("flops", "bytes", "state_bytes", "projection_flops", "parameters", "cycles", "vectors")
_GROWTHS = ("time_growth", "memory_growth")


def cost_of(op: AttentionOp, workload: Workload) -> dict[str, Any]:
    """The fields of a CostResult; raises VariantError where `cost` returns what is no cost."""
    claimed = op.cost(workload)
    _check(claimed)
    executed, compulsory = claimed.flops, claimed.bytes
    if isinstance(op, Carrier):
        # A layer that counts nothing is taken to compute nothing: no machine is too slow for it.
        known_flops, known_bytes = 0, _bytes_of_layer(claimed, workload)
    elif workload.pass_ == "decode" and op.recurrence(workload, workload.build_mask("cpu")):
        # It reads its state in place of the keys: at least the new pair, the row and the state.
        one = workload.model_copy(update={"kv_len": 1, "mask": "none"})
        known_flops = one.flops()
        known_bytes = one.compulsory_bytes() + (claimed.state_bytes or 0)
    else:
        known_flops, known_bytes = workload.flops(), workload.compulsory_bytes()
    return {
        "executed_flops": known_flops if executed is None else executed,
        "compulsory_bytes": known_bytes if compulsory is None else compulsory,
        "state_bytes": claimed.state_bytes,
        "projection_flops": claimed.projection_flops,
        "parameters": claimed.parameters,
        "cycles": claimed.cycles,
        "vectors": claimed.vectors,
        "workers": op.workers if isinstance(op, TeamOp) else None,
        "time_growth": claimed.time_growth,
        "memory_growth": claimed.memory_growth,
    }


def _bytes_of_layer(claimed: Cost, workload: Workload) -> int:
    """x is read and y written, and so are its parameters read."""
    moved = 2 * workload.batch * workload.q_len * workload.v_head_dim
    return (moved + (claimed.parameters or 0)) * workload.torch_dtype.itemsize


def beyond_limits(
    launches: Sequence[Launch], cost: CostResult | None, again: Ceilings | None = None
) -> str | None:
    """Why the median latency of these launches cannot be true; None when it can, or none tells.

    Judged by the best ceilings of all launches and of those measured once more (`again`): what a
    machine reached once, it can.
    """
    ceilings = roofline.best((*(launch.ceilings for launch in launches), again))
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
