"""The roofline: how long a case must take at least, what bounds it, and what is impossible.

Williams, Waterman, Patterson 2009 (doi:10.1145/1498765.1498785), with the cost of a call as a
third bound: attainable_s = max(flops / ceiling, bytes / ceiling, call_s). Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

TOLERANCE = 1.5
"""How far above a measured ceiling a figure may lie: ceilings are noisy as well, by less than this
where they are measured beside the race; what skips its work is beyond it by far more."""


@dataclass(frozen=True)
class Ceilings:
    """The best rates that the machine reached beside a race, in the same process.

    matmul_flops_per_s: matrix product in the workload's dtype, or in one that its kernels may
    compute in (float32 for 16 bits, TF32 for float32 on CUDA) where that is faster.
    copy_bytes_per_s: bytes read and written by a copy of the workload's size, or only read where
    that is faster. call_s: seconds of the smallest operator.
    """

    matmul_flops_per_s: float
    copy_bytes_per_s: float
    call_s: float


@dataclass(frozen=True)
class Roofline:
    """Seconds that a case takes at least by each bound."""

    compute_s: float
    memory_s: float
    overhead_s: float

    @property
    def attainable_s(self) -> float:
        """Seconds that no bound forbids."""
        return max(self.compute_s, self.memory_s, self.overhead_s)

    @property
    def bound_by(self) -> str:
        """`compute`, `memory` or `overhead`: the bound that holds."""
        bounds = {
            "compute": self.compute_s,
            "memory": self.memory_s,
            "overhead": self.overhead_s,
        }
        return max(bounds, key=lambda name: bounds[name])


def best(found: Iterable[Ceilings | None]) -> Ceilings | None:
    """The highest rates and the shortest call of several measurements; None of none."""
    known = [ceilings for ceilings in found if ceilings is not None]
    if not known:
        return None
    return Ceilings(
        max(one.matmul_flops_per_s for one in known),
        max(one.copy_bytes_per_s for one in known),
        min(one.call_s for one in known),
    )


def roofline(executed_flops: int, compulsory_bytes: int, ceilings: Ceilings) -> Roofline:
    """The bounds of a case that executes these FLOPs and moves at least these bytes."""
    return Roofline(
        executed_flops / ceilings.matmul_flops_per_s,
        compulsory_bytes / ceilings.copy_bytes_per_s,
        ceilings.call_s,
    )


def impossible(
    latency_s: float, executed_flops: int, compulsory_bytes: int, ceilings: Ceilings
) -> str | None:
    """Why a latency cannot be true, None when it can.

    A call that computes faster than the machine's best matrix product, or moves its inputs and
    results faster than its best copy, has left work out or was not timed whole.
    """
    figures = (
        ("FLOP/s", executed_flops, ceilings.matmul_flops_per_s, "matrix product", "flops"),
        ("bytes/s", compulsory_bytes, ceilings.copy_bytes_per_s, "copy", "bytes"),
    )
    for unit, amount, ceiling, what, field in figures:
        if amount > TOLERANCE * ceiling * latency_s:
            rate = amount / latency_s if latency_s > 0 else math.inf
            return (
                f"{rate:.3g} {unit}, where this machine's best {what} reaches {ceiling:.3g}: it "
                f"does less work than that, or was not timed whole; if it does less, return "
                f"Cost({field}=...) from cost()"
            )
    return None
