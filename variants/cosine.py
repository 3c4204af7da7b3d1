"""Cosine attention, or QK-norm: softmax over the cosines of queries and keys (arXiv:2010.04245)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import normalize

from harness import Attention, AttentionOp, Cost, Mask, Workload, register, softmax_attention
from variants.sdpa import Sdpa


@dataclass(frozen=True)
class CosineFamily(AttentionOp):
    """Every kernel of softmax(cos(q, k) / temperature + bias) v.

    Henry et al. 2020 (arXiv:2010.04245) and Swin v2 (Liu et al. 2021, arXiv:2111.09883, eq. 2):
    q and k are divided by their norms over D. The temperature, which both learn, is a constant
    here; Swin v2 starts at 0.1. The workload's scale cancels, so that it is not read.
    """

    family: ClassVar[str] = "cosine"
    biased: ClassVar[bool] = True
    scaled: ClassVar[bool] = False
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(
                f"temperature must be above 0: temperature={self.temperature}; write 0.1, or "
                "less for sharper weights"
            )

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(cos(q, k) / temperature + bias) v over the attended keys."""
        q, k = normalize(q, dim=-1), normalize(k, dim=-1)
        return softmax_attention(q, k, v, mask=mask, scale=1 / self.temperature)

    def unsupported(self, workload: Workload) -> str | None:
        """Gradients where all vectors lie on one line: 0, and in practice what rounding leaves."""
        if workload.has_gradients and workload.logit_rank == 1:
            return (
                "in one dimension a cosine is a sign, and its gradients are rounding: "
                f"head_dim={workload.head_dim}, inputs={workload.inputs}; use 2 dimensions or more"
            )
        return None


@register("cosine")
@dataclass(frozen=True)
class Cosine(CosineFamily):
    """softmax(cos(q, k) / temperature) v: `naive` written out, `sdpa` by torch's fused kernels."""

    kernel: Literal["naive", "sdpa"] = "naive"

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The formula as it stands, all scores in memory at once."""
        cosines = normalize(q, dim=-1) @ normalize(k, dim=-1).mT
        return mask.softmax(cosines * (1 / self.temperature)) @ v

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Bind the mask; normalising q and k is part of what is timed."""
        if self.kernel == "naive":
            return super().prepare(workload, mask)
        # Keys come with all heads: the variant does not claim to take them grouped.
        own = {"scale": 1 / self.temperature, "kv_heads": workload.heads}
        attend = Sdpa().prepare(workload.model_copy(update=own), mask)

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(normalize(q, dim=-1), normalize(k, dim=-1), v)

        return call

    def cost(self, workload: Workload) -> Cost:
        """As the kernel of softmax attention that it is; norms are no products."""
        if self.kernel == "sdpa":
            return Sdpa().cost(workload)
        flops = workload.flops_of(workload.all_pairs, backward=2.0)
        return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)
