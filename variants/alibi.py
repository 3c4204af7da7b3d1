"""ALiBi: softmax attention with a penalty that is linear in the distance (arXiv:2108.12409)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness import Attention, AttentionOp, Cost, Mask, Workload, register


@register("alibi")
@dataclass(frozen=True)
class Alibi(AttentionOp):
    """softmax(scale q k^T + bias - m_h |i + Lkv - Lq - j|) v (Press et al. 2022).

    The slopes m_h are the paper's: 2^(-8/H), and its powers, where H is a power of 2; else those of
    the power of 2 below it, and every other one of the next. Both directions are penalised alike
    where the mask lets a query see later keys, of which the paper has none. A bias of the
    workload comes on top.
    """

    family: ClassVar[str] = "alibi"
    biased: ClassVar[bool] = True
    permutation_equivariant: ClassVar[bool] = False

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Build the distances, which all heads share; times the slopes they are added timed."""
        distance, slopes = _distance(mask), _slopes(workload.heads, mask.device)
        if workload.dtype != "float64":
            distance, slopes = distance.float(), slopes.float()

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # In float32 at least: 16 bits hold no whole distance above 256 or 2048.
            scores = torch.addcmul(q @ k.mT * workload.scale, slopes, distance, value=-1)
            return mask.softmax(scores).to(v.dtype) @ v

        return call

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(scale q k^T + bias - slopes distance) v over the attended keys."""
        penalty = _slopes(q.shape[1], mask.device) * _distance(mask)
        return mask.softmax(q @ k.mT * scale - penalty.to(q.dtype)) @ v

    def cost(self, workload: Workload) -> Cost:
        """Every pair, masked or not; time and memory grow with the square of the length."""
        flops = workload.flops_of(workload.all_pairs, backward=2.0)
        return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)


def _distance(mask: Mask) -> Tensor:
    """(R, Lkv) |i + Lkv - Lq - j| in float64: the last query stands at the last key."""
    keys = torch.arange(mask.kv_len, device=mask.device)
    return (mask.rows[:, None] + mask.kv_len - mask.q_len - keys).abs().double()


def _slopes(heads: int, device: torch.device) -> Tensor:
    """(H, 1, 1) in float64."""
    below = 2 ** (heads.bit_length() - 1)
    first = 2.0 ** (-8 * torch.arange(1, below + 1, dtype=torch.float64) / below)
    between = 2.0 ** (-4 * torch.arange(1, 2 * below, 2, dtype=torch.float64) / below)
    return torch.cat([first, between[: heads - below]])[:, None, None].to(device)
