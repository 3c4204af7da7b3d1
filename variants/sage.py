"""SageAttention: scores from q and k in 8 bits (arXiv:2410.02367, 2411.10958)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from harness import Attention, AttentionOp, Cost, Mask, Workload, register

_ATTEND = "sageattn_qk_int8_pv_fp16_triton"
_Q_BLOCK, _KV_BLOCK = 128, 64  # rows that share a scale


@register("sage")
@dataclass(frozen=True)
class Sage(AttentionOp):
    """softmax(q8 k8^T) v, q8 and k8 in INT8 by blocks (Zhang et al. 2024, arXiv:2410.02367).

    Of the package's kernels this is the one in Triton, the algorithm of the first paper: weights
    and v in float16. The ones that `sageattn` prefers on newer GPUs round the weights to FP8 by the
    maximum so far, which no formula without the order of their tiles can state. Under a causal mask
    later keys have a part in how earlier ones are rounded, and in nothing else.
    """

    approximates: ClassVar[str] = "softmax"
    grouped: ClassVar[bool] = True
    rowwise: ClassVar[bool] = False  # the queries of a block share a scale
    permutation_equivariant: ClassVar[bool] = False  # and which block a row is in is its position

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(scale int8(q) int8(k - mean(k))^T) v.

        int8(x) = s round(x / s), s = max|x| / 127 over 128 queries or 64 keys, round half away
        from 0. The mean over the keys adds the same to all scores of a row (section 4.2).
        """
        q8, k8 = _int8(q, _Q_BLOCK), _int8(k - k.mean(2, keepdim=True), _KV_BLOCK)
        weights: Tensor = mask.softmax(q8 @ k8.mT * scale).to(v.dtype)
        return weights @ v

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Import the package."""
        attend = getattr(importlib.import_module("sageattention"), _ATTEND)
        causal = workload.mask_spec.causal

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out: Tensor = attend(
                q, k, v, tensor_layout="HND", is_causal=causal, sm_scale=workload.scale
            )
            return out

        return call

    def unsupported(self, workload: Workload) -> str | None:
        """No GPU, no package, a backward pass, a mask, or what the kernel's own checks refuse."""
        if workload.device == "cpu":
            return "SageAttention runs on NVIDIA GPUs alone, found device=cpu; use device=cuda"
        try:
            package: Any = importlib.import_module("sageattention")
        except Exception as error:  # a binary of another torch fails in many ways
            return f"sageattention does not import: {type(error).__name__}: {error}"
        if not hasattr(package, _ATTEND):
            return f"sageattention has no {_ATTEND}; install version 2, for 1 writes into k"
        return _refusal(workload)

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The kernel that quantises, under the package's name for it."""
        return ("quant_per_block_int8",)

    def cost(self, workload: Workload) -> Cost:
        """An INT8 product counts half, for tensor cores take two in the time of one in float16."""
        pairs = workload.build_mask("cpu").pairs()
        flops = (workload.head_dim + 2 * workload.v_head_dim) * pairs
        return Cost(flops=flops, time_growth=2.0, memory_growth=1.0)


def _int8(x: Tensor, block: int) -> Tensor:
    """Values (B, H, L, D) as they are read back from 8 bits, in float32 or wider."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    whole = pad(x, (0, 0, 0, -x.shape[2] % block))
    blocks = whole.view(*x.shape[:2], -1, block, x.shape[3])
    step = (blocks.abs().amax((-2, -1), keepdim=True) / 127).clamp(min=torch.finfo(x.dtype).tiny)
    rounded = (blocks / step + blocks.sign() / 2).trunc() * step
    return rounded.view(whole.shape)[:, :, : x.shape[2]]


def _refusal(workload: Workload) -> str | None:
    given = f"head_dim={workload.head_dim}, v_head_dim={workload.v_head_dim}"
    if workload.has_gradients:
        return "sageattention has no backward pass; use pass forward or decode"
    if workload.dtype not in ("float16", "bfloat16"):
        return f"sageattention takes float16 or bfloat16, found {workload.dtype}"
    if workload.mask not in ("none", "causal"):
        return f"mask {workload.mask} is not mapped to sageattention; use none or causal"
    if workload.mask == "causal" and workload.q_len != workload.kv_len:
        return (
            "sageattention aligns causal top-left, and here it is bottom-right: "
            f"q_len={workload.q_len}, kv_len={workload.kv_len}; make both lengths equal"
        )
    if workload.head_dim != workload.v_head_dim or workload.head_dim > 128:
        return f"sageattention takes v_head_dim = head_dim up to 128, found {given}"
    return None
