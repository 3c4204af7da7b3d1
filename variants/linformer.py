"""Linformer: attention to a projection of the keys and values (arXiv:2006.04768)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from harness import Attention, AttentionOp, Cost, Mask, Workload, register
from variants import segments


@register("linformer")
@dataclass(frozen=True)
class Linformer(AttentionOp):
    """softmax(scale q (E k)^T) (E v), E (k_proj, Lkv) (Wang et al. 2020, arXiv:2006.04768).

    One E for keys, values and all heads, the paper's key-value sharing, of at most Lkv rows.
    projection: `gaussian`, drawn from `seed` with variance 1 / k_proj (theorem 2); `mean`, over
    segments (section 4, pooling). The paper trains E: untrained, `gaussian` is a poor substitute.
    Hidden keys count as 0, so that every query must see the same ones.
    """

    family: ClassVar[str] = "linformer"
    approximates: ClassVar[str] = "softmax"
    grouped: ClassVar[bool] = True
    permutation_equivariant: ClassVar[bool] = False

    k_proj: int = 256
    projection: Literal["gaussian", "mean"] = "gaussian"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.k_proj < 1:
            raise ValueError(f"k_proj must be at least 1: k_proj={self.k_proj}; write 64 or more")

    def unsupported(self, workload: Workload) -> str | None:
        """Masks that hide other keys from each query."""
        return segments.unequal_rows(workload, self.name, "projects all keys together")

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(scale q (E k)^T) (E v), hidden keys and values taken for 0."""
        length = k.shape[-2]
        rows = min(self.k_proj, length)
        if self.projection == "mean":
            e = segments.averaging(rows, length)
        else:
            e = gaussian(rows, length, self.seed)
        e = e.to(k)
        seen = segments.seen_keys(mask)
        if seen is not None:
            e = e * seen.mT
        return (q @ (e @ k).mT * scale).softmax(-1) @ (e @ v)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Draw the projection."""
        rows = min(self.k_proj, workload.kv_len)
        groups = workload.groups
        seen, e = segments.seen_keys(mask), None
        if self.projection == "gaussian":
            e = gaussian(rows, workload.kv_len, self.seed)
            e = e.to(workload.device, workload.torch_dtype)

        def project(x: Tensor) -> Tensor:
            x = x if seen is None else x.masked_fill(~seen, 0.0)
            short = segments.means(x, rows) if e is None else e @ x
            return short.repeat_interleave(groups, 1) if groups > 1 else short

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return scaled_dot_product_attention(q, project(k), project(v), scale=workload.scale)

        return call

    def cost(self, workload: Workload) -> Cost:
        """The projections, of which backward has one product each, and attention to them.

        Its backward is taken for two forwards, the least: the kernel may keep its weights.
        """
        w, rows = workload, min(self.k_proj, workload.kv_len)
        flops = w.flops_of(w.batch * w.heads * w.q_len * rows, backward=2.0)
        if self.projection == "gaussian":
            times = 2 if w.pass_ == "forward+backward" else 1
            width = w.head_dim + w.v_head_dim
            flops += times * 2 * w.batch * w.kv_heads * rows * w.kv_len * width
        return Cost(flops, time_growth=1.0, memory_growth=1.0)


def gaussian(rows: int, length: int, seed: int) -> Tensor:
    """(rows, length) float64, normal with variance 1 / rows."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((rows, length), generator=generator, dtype=torch.float64).div(rows**0.5)
