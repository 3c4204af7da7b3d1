"""Softmax attention, as it is written in the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness import AttentionOp, Cost, Mask, Workload, register, softmax_attention


class SoftmaxFamily(AttentionOp):
    """Every exact kernel of softmax(scale q k^T + bias) v (Vaswani et al. 2017, eq. 1)."""

    family: ClassVar[str] = "softmax"
    biased: ClassVar[bool] = True

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(scale q k^T + bias) v over the attended keys."""
        return softmax_attention(q, k, v, mask=mask, scale=scale)


@register("softmax")
@dataclass(frozen=True)
class Softmax(SoftmaxFamily):
    """The plain definition: scores, softmax, weighted sum, each written out (arXiv:1706.03762)."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(scale q k^T + bias) v, all scores in memory at once."""
        return mask.softmax(q @ k.mT * scale) @ v

    def cost(self, workload: Workload) -> Cost:
        """Every pair, masked or not; time and memory grow with the square of the length."""
        flops = workload.flops_of(workload.all_pairs, backward=2.0)
        return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)
