"""Polynomial attention: a power of the scores in place of softmax (arXiv:2410.18613)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness import AttentionOp, Cost, Mask, Workload, register


@dataclass(frozen=True)
class PolynomialFamily(AttentionOp):
    """Every kernel of zero_masked((scale q k^T)^degree / sqrt(Lkv)) v, element-wise.

    Saratchandran et al. 2024 (arXiv:2410.18613): x^p / sqrt(N) replaces softmax, so weights may
    be negative and rows are not normalised. N is the number of keys, Lkv, whatever the mask;
    the paper leaves masks open, and here a masked weight is 0 after the power.
    """

    family: ClassVar[str] = "polynomial"
    degree: int = 3

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise ValueError(
                f"degree must be at least 1: degree={self.degree}; write 1, 2, 3 or more"
            )

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """zero_masked((scale q k^T)^degree / sqrt(Lkv)) v."""
        weights = (q @ k.mT * scale) ** self.degree * k.shape[-2] ** -0.5
        return mask.zero(weights) @ v


@register("polynomial")
@dataclass(frozen=True)
class Polynomial(PolynomialFamily):
    """x^degree / sqrt(Lkv) in place of softmax (Saratchandran et al. 2024, arXiv:2410.18613)."""

    kernel: Literal["naive"] = "naive"

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The formula as it stands, all scores in memory at once."""
        weights = (q @ k.mT * scale) ** self.degree * k.shape[-2] ** -0.5
        return mask.zero(weights) @ v

    def cost(self, workload: Workload) -> Cost:
        """Every pair, masked or not; time and memory grow with the square of the length."""
        flops = workload.flops_of(workload.all_pairs, backward=2.0)
        return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)
