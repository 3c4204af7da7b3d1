"""ReLU attention: a power of the positive scores over the number of keys (arXiv:2309.08586)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness import AttentionOp, Cost, Mask, Workload, register


@register("relu")
@dataclass(frozen=True)
class Relu(AttentionOp):
    """relu(scale q k^T + bias)^power / Lkv in place of softmax (Wortsman et al. 2023).

    arXiv:2309.08586 compares both powers at L^-1: 1 is their choice, 2 is the activation of
    Primer (arXiv:2109.08668, there in the feed-forward part) and of gated attention units
    (arXiv:2202.10447). L is the number of keys whatever the mask hides; a masked weight is 0.
    """

    family: ClassVar[str] = "relu"
    biased: ClassVar[bool] = True
    power: Literal[1, 2] = 2

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The formula as it stands, all scores in memory at once, as `softmax` has them."""
        weights = _biased(q @ k.mT * scale, mask).relu() ** self.power / k.shape[-2]
        return mask.zero(weights) @ v

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """zero_masked(relu(scale q k^T + bias)^power / Lkv) v."""
        weights = _biased(q @ k.mT * scale, mask).relu() ** self.power / k.shape[-2]
        return mask.zero(weights) @ v

    def cost(self, workload: Workload) -> Cost:
        """Every pair, masked or not; time and memory grow with the square of the length."""
        flops = workload.flops_of(workload.all_pairs, backward=2.0)
        return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)


def _biased(scores: Tensor, mask: Mask) -> Tensor:
    return scores if mask.bias is None else scores + mask.bias.to(scores.dtype)
