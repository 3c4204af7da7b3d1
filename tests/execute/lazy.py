"""A user's file of variants that do less than attention, right by their own definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from harness import AttentionOp, Cost, Mask, Workload, register


class MeanFamily(AttentionOp):
    """Every query gets the mean of v: q and k are not read."""

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return v.mean(-2, keepdim=True).expand(*q.shape[:-1], v.shape[-1])

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return v.mean(-2, keepdim=True).expand(*q.shape[:-1], v.shape[-1]).clone()


@register("mean_silent")
@dataclass(frozen=True)
class Silent(MeanFamily):
    """Says nothing of its cost: it is taken for attention."""


@register("mean_boasting")
@dataclass(frozen=True)
class Boasting(MeanFamily):
    """Claims the work of attention."""

    def cost(self, workload: Workload) -> Cost:
        return Cost(flops=workload.flops())


@register("mean_honest")
@dataclass(frozen=True)
class Honest(MeanFamily):
    """Says what it does: one sum over v, and the output written."""

    def cost(self, workload: Workload) -> Cost:
        values = workload.batch * workload.heads * workload.kv_len * workload.v_head_dim
        return Cost(flops=values, bytes=2 * values * workload.torch_dtype.itemsize)


COSTS: dict[str, Any] = {
    "raise": None,
    "nothing": "two",
    "fraction": Cost(flops=1.5),  # type: ignore[arg-type]
    "negative": Cost(bytes=-1),
    "endless": Cost(time_growth=float("inf")),
}


@register("mean_lying")
@dataclass(frozen=True)
class Lying(MeanFamily):
    """Its cost is no cost."""

    tells: str = "raise"

    def cost(self, workload: Workload) -> Cost:
        if self.tells == "raise":
            raise KeyError("on purpose")
        cost: Cost = COSTS[self.tells]
        return cost
