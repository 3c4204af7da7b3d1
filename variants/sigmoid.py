"""Sigmoid attention: each key is weighed by itself, with no sum over the row (arXiv:2409.04431)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness import AttentionOp, Cost, Mask, Workload, register


@register("sigmoid")
@dataclass(frozen=True)
class Sigmoid(AttentionOp):
    """sigmoid(scale q k^T + bias - log(n)) v (Ramapuram et al. 2024, arXiv:2409.04431).

    -log(n), n = Lkv, gives a row of even scores the sum that softmax gives it. n is the number
    of keys whatever the mask hides; a masked weight is 0.
    """

    family: ClassVar[str] = "sigmoid"
    biased: ClassVar[bool] = True

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The formula as it stands, all scores in memory at once, as `softmax` has them."""
        weights = torch.sigmoid(_biased(q @ k.mT * scale, mask) - math.log(k.shape[-2]))
        return mask.zero(weights) @ v

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """zero_masked(sigmoid(scale q k^T + bias - log(Lkv))) v."""
        weights = torch.sigmoid(_biased(q @ k.mT * scale, mask) - math.log(k.shape[-2]))
        return mask.zero(weights) @ v

    def cost(self, workload: Workload) -> Cost:
        """Every pair, masked or not; time and memory grow with the square of the length."""
        flops = workload.flops_of(workload.all_pairs, backward=2.0)
        return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)


def _biased(scores: Tensor, mask: Mask) -> Tensor:
    return scores if mask.bias is None else scores + mask.bias.to(scores.dtype)
