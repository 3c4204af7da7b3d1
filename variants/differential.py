"""Differential attention: one softmax map less a share of another (arXiv:2410.05258)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import pad

from harness import Attention, AttentionOp, Cost, Mask, Workload, register, softmax_attention
from variants.sdpa import Sdpa


@dataclass(frozen=True)
class DifferentialFamily(AttentionOp):
    """Every kernel of (softmax(scale q1 k1^T + bias) - lam softmax(scale q2 k2^T + bias)) v.

    Ye et al. 2024 (arXiv:2410.05258, eq. 1): q1, q2 and k1, k2 are the halves of head_dim, so
    that a head of D here is their head of d = D/2, and their scale d^-0.5 is 2^0.5 times the one
    a workload has by default. lam, which they learn a layer, is a constant; the first value of
    their layer l is 0.8 - 0.6 exp(-0.3 (l - 1)), near 0.8 in deep ones. Their normalisation of
    each head's output, and its factor 1 - lam, belong to the layer and are left out.
    """

    family: ClassVar[str] = "differential"
    biased: ClassVar[bool] = True
    lam: float = 0.8

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """(softmax(scale q1 k1^T + bias) - lam softmax(scale q2 k2^T + bias)) v."""
        (q1, q2), (k1, k2) = q.chunk(2, -1), k.chunk(2, -1)
        first = softmax_attention(q1, k1, v, mask=mask, scale=scale)
        return first - self.lam * softmax_attention(q2, k2, v, mask=mask, scale=scale)

    def unsupported(self, workload: Workload) -> str | None:
        """Two halves need an even head_dim."""
        if workload.head_dim % 2:
            return f"differential halves head_dim, which must be even: head_dim={workload.head_dim}"
        return None


@register("differential")
@dataclass(frozen=True)
class Differential(DifferentialFamily):
    """Two softmax maps, one less `lam` of the other (Ye et al. 2024, arXiv:2410.05258).

    naive: the maps are subtracted, then multiplied by v once. sdpa: torch's fused kernels twice,
    on queries and keys filled up with zeros to the width of values, which the fused kernels ask
    for; then the outputs are subtracted.
    """

    kernel: Literal["naive", "sdpa"] = "naive"

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The formula as it stands, both maps in memory at once."""
        (q1, q2), (k1, k2) = q.chunk(2, -1), k.chunk(2, -1)
        first, second = mask.softmax(q1 @ k1.mT * scale), mask.softmax(q2 @ k2.mT * scale)
        return (first - self.lam * second) @ v

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Bind mask and scale; `sdpa` builds the explicit mask, where one is needed."""
        if self.kernel == "naive":
            return super().prepare(workload, mask)
        half = _half(workload)
        attend, missing = Sdpa().prepare(half, mask), half.head_dim - workload.head_dim // 2

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            (q1, q2), (k1, k2) = (
                (pad(part, (0, missing)) for part in x.chunk(2, -1)) for x in (q, k)
            )
            return attend(q1, k1, v) - self.lam * attend(q2, k2, v)

        return call

    def cost(self, workload: Workload) -> Cost:
        """Every pair of both maps; v is multiplied once by `naive`, twice by `sdpa`."""
        if self.kernel == "naive":
            flops = workload.flops_of(workload.all_pairs, backward=2.0)
            return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)
        half = _half(workload)
        one = Sdpa().cost(half)
        flops = half.flops() if one.flops is None else one.flops
        return Cost(flops=2 * flops, time_growth=2.0)


def _half(workload: Workload) -> Workload:
    """Softmax attention on half of the features, as wide as values; keys come with all heads."""
    width = max(workload.head_dim // 2, workload.v_head_dim)
    own = {"head_dim": width, "kv_heads": workload.heads}
    return workload.model_copy(update=own)
